import io
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score, roc_curve

from jaxmia import report

HOSTILE = [
    "</script><script>alert(1)</script>",
    "../../x",
    "[/bad]",
    "[red]",
    "$\\frac{$",
    "_x" + "y" * 10_000,
    "a\x1b[31mb\n",
]


def draw(T=6, N=300, seed=0):
    rng = np.random.default_rng(seed)
    member = rng.random((T, N)) < 0.5
    return {"good": rng.normal(size=(T, N)) + member, "noise": rng.normal(size=(T, N))}, member


def test_thresholds_of_shadows_reach_what_they_promise():
    scores, member = draw(T=8, N=4000)
    leaving = np.stack([np.arange(8), np.arange(8) ^ 1], 1)
    shadows = report.Shadows(scores, member, leaving)
    found = report.summarise(scores, member, queries=1, about={}, shadows=shadows)
    good = found["attacks"]["good"]
    at = good["at_shadow_threshold"]["0.01"]
    assert abs(at["fpr"] - 0.01) < 0.004 and abs(at["tpr"] - good["tpr_at_fpr"]["0.01"]) < 0.02
    for prior, precision in at["precision"].items():
        p = float(prior)
        assert np.isclose(precision, p * at["tpr"] / (p * at["tpr"] + (1 - p) * at["fpr"]))
    best = good["balanced_accuracy_shadow_threshold"]
    assert good["balanced_accuracy"] - 0.02 < best <= good["balanced_accuracy"]
    moved = {"good": scores["good"] + 5}  # another model's scores: its thresholds do not fit
    one = report.Shadows(scores, member, np.full((8, 1), -1))
    found = report.summarise(moved, member, queries=1, about={}, shadows=one)["attacks"]["good"]
    assert found["at_shadow_threshold"]["0.001"]["fpr"] > 0.5
    json.dumps(found, allow_nan=False)


def test_the_curve_is_drawn(tmp_path):
    at = {"auc": 0.6, "tpr_at_fpr": {"0.01": 0.1, "0.001": 0.0, "0.00001": 0.0}}
    rows = [
        {"models": 2, "references": 0, "attacks": {}},
        *({"models": m, "references": m - 2, "attacks": {n: at for n in HOSTILE}} for m in (4, 8)),
    ]
    files = report.draw_curve(tmp_path, rows)
    assert {f.name for f in files} == {"curve.svg", "curve.png"}
    ElementTree.parse(tmp_path / "curve.svg")


def test_summary_equals_scikit_learn():
    scores, member = draw()
    scores["good"][0, :5] = np.nan
    found = report.summarise(scores, member, queries=1, about={"seed": 3})
    assert (found["models"], found["examples"], found["queries"], found["seed"]) == (6, 300, 1, 3)
    good = found["attacks"]["good"]
    keep = ~np.isnan(scores["good"])
    s, m = scores["good"][keep], member[keep]
    assert np.isclose(good["auc"], roc_auc_score(m, s)) and good["not_scorable"] == 5
    fpr, tpr, _ = roc_curve(m, s, drop_intermediate=False)
    for level in ("0.01", "0.001", "0.00001"):
        assert np.isclose(good["tpr_at_fpr"][level], tpr[fpr <= float(level)].max())
        low, high = good["intervals"]["tpr_at_fpr"][level]
        assert low <= good["tpr_at_fpr"][level] <= high
    assert np.isclose(good["balanced_accuracy"], (1 + (tpr - fpr).max()) / 2)
    each = [roc_auc_score(member[t][keep[t]], scores["good"][t][keep[t]]) for t in range(6)]
    np.testing.assert_allclose(good["targets"]["auc"], [np.mean(each), np.std(each)])
    assert good["members"] + good["non_members"] == keep.sum()
    assert any("no false positive at all" in n for n in good["notes"])
    json.dumps(found, allow_nan=False)


def test_an_attack_that_scored_nothing_is_said_so():
    _, member = draw()
    found = report.summarise({"none": np.full(member.shape, np.nan)}, member, queries=1, about={})
    assert found["attacks"]["none"]["auc"] is None
    assert "none" in shown(found)
    json.dumps(found, allow_nan=False)


def shown(summary, width=80):
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    console.print(report.table(summary))
    for line in report.remarks(summary):
        console.print(line)
    return out.getvalue()


def test_table_fits_eighty_columns():
    scores, member = draw()
    about = {"generalization_gap": 0.1, "train_accuracy": 0.9, "test_accuracy": 0.8}
    names = {"lira_online_per_example_variance": scores["good"], "noise": scores["noise"]}
    text = shown(report.summarise(names, member, queries=1, about=about))
    assert max(map(len, text.splitlines())) <= 80
    assert "generalization gap 0.100" in text and "±" in text and "6 targets" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name, tmp_path):
    scores, member = draw(2, 50)
    summary = report.summarise({name: scores["good"]}, member, queries=1, about={})
    shown(summary)
    files = report.write(tmp_path, {"x": scores["good"]}, member, scores["good"], summary)
    report.draw(tmp_path / "named", {name: scores["good"]}, member, None)
    tree = ElementTree.parse(tmp_path / "named" / "roc.svg")
    assert not [e for e in tree.iter() if e.tag.endswith("script")]
    assert (tmp_path / "named" / "roc.png").read_bytes().startswith(b"\x89PNG")
    assert {f.relative_to(tmp_path).as_posix() for f in files} == {
        "scores.npz", "report/roc.svg", "report/roc.png", "report/phi.svg", "report/phi.png",
        "summary.json",
    }  # fmt: skip
    with np.load(tmp_path / "scores.npz") as held:
        assert set(held.files) == {"x", "member"}


def test_figures_are_the_same_every_time(tmp_path):
    scores, member = draw()
    for folder in ("a", "b"):
        report.draw(tmp_path / folder, scores, member, scores["good"])
    for name in ("roc.svg", "roc.png", "phi.svg", "phi.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_curves_are_thinned_but_not_in_the_tail():
    from jaxmia.metrics import roc
    from jaxmia.report.figures import _thinned

    rng = np.random.default_rng(0)
    member = np.arange(100_000) % 2 == 0
    curve = roc(rng.normal(size=100_000) + member, member)
    x, y = _thinned(curve)
    assert len(x) < 10_000
    tail = curve.fpr < 1e-3
    assert set(curve.tpr[tail]) <= set(y)
    assert x[-1] == 1 and y[-1] == 1
