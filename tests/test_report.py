import io
import json
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score, roc_curve

from jaxmia import metrics, report
from jaxmia.report.page import exposed

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


def test_every_figure_states_what_it_rests_on():
    scores, member = draw(T=4, N=6000)
    about = {"attacked": "four models of a test"}
    names = {"lira_online": scores["good"], "made up": scores["noise"]}
    found = report.summarise(names, member, queries=1, about=about)["attacks"]
    lira = found["lira_online"]
    for text in (lira["states"]["auc"], lira["states"]["tpr_at_fpr"]["0.001"]):
        for word in ("a test", "black-box", "without the record", "n = ", "prior 0.498"):
            assert word in text
        assert "estimate" in text and str(lira["members"]) in text
    spans = lira["intervals"]
    kinds = {"0.01": "bca", "0.001": "bca", "0.00001": "clopper_pearson"}  # 12 false positives
    assert spans["kind"]["tpr_at_fpr"] == kinds
    want = metrics.bootstrap(scores["good"], member, [0.01])
    np.testing.assert_allclose(spans["tpr_at_fpr"]["0.01"], want.tpr_at_fpr[0])
    fixed = metrics.clopper_pearson(
        round(lira["tpr_at_fpr"]["0.00001"] * lira["members"]), lira["members"]
    )
    np.testing.assert_allclose(spans["tpr_at_fpr"]["0.00001"], fixed)
    assert found["made up"]["attacker"]["access"] == "not stated"
    assert lira["prior"] == lira["members"] / (lira["members"] + lira["non_members"])


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
    plain = report.summarise({"x": scores["good"]}, member, queries=1, about={})
    files = report.write(tmp_path, {"x": scores["good"]}, member, scores["good"], plain)
    report.draw(tmp_path / "named", {name: scores["good"]}, member, None)
    tree = ElementTree.parse(tmp_path / "named" / "roc.svg")
    assert not [e for e in tree.iter() if e.tag.endswith("script")]
    assert (tmp_path / "named" / "roc.png").read_bytes().startswith(b"\x89PNG")
    assert {f.relative_to(tmp_path).as_posix() for f in files} == {
        "scores.npz", "report/roc.svg", "report/roc.png", "report/phi.svg", "report/phi.png",
        "report/index.html",
        "summary.json",
    }  # fmt: skip
    with np.load(tmp_path / "scores.npz") as held:
        assert set(held.files) == {"x", "member"}


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]
        assert not any(k.startswith("on") for k, _ in attrs)

    def handle_data(self, data):
        self.text += data


def test_the_page_holds_everything_and_asks_for_nothing(tmp_path):
    rng = np.random.default_rng(0)
    member = rng.random((6, 300)) < 0.5
    scores = {name: rng.normal(size=(6, 300)) + member for name in HOSTILE}
    about = {"experiment": {"name": HOSTILE[0], "device": "1 x cpu"}, "train_accuracy": 0.9,
             "test_accuracy": None, "models_per_hour": None}  # fmt: skip
    summary = report.summarise(scores, member, queries=1, about=about)
    y = np.arange(300, dtype=np.int32) % 10
    report.write(tmp_path, scores, member, None, summary, y)
    text = (tmp_path / "report/index.html").read_text()
    page = Reader()
    page.feed(text)
    assert "script" not in page.tags and len(text) < 5_000_000
    assert page.sources and all(s.startswith("data:image/svg+xml;base64,") for s in page.sources)
    assert "alert(1)" in page.text and "default-src 'none'" in text
    rates = [a["tpr_at_fpr"]["0.001"] for a in summary["attacks"].values()]
    assert f"{100 * max(rates):.2f} % of the training examples" in " ".join(page.text.split())


def test_a_page_without_anything_to_score(tmp_path):
    scores, member = {"x": np.full((2, 5), np.nan)}, np.eye(2, 5, dtype=bool)
    summary = report.summarise(scores, member, queries=1, about={})
    report.write(tmp_path, scores, member, None, summary)
    assert "No attack could be scored" in (tmp_path / "report/index.html").read_text()


def test_the_most_exposed_are_those_found_in_most_of_their_models():
    scores, member = draw(T=9)
    score = scores["good"]
    score[:, 7] = np.where(member[:, 7], 99, -99)
    rows, share = exposed(score, member, np.arange(300, dtype=np.int32))
    outside = np.sort(score[~member])[::-1]
    cut = outside[int(0.001 * len(outside))]  # the first false alarm too many
    found = ((score > cut) & member).sum(0)
    assert rows[0].example == rows[0].label == 7 and rows[0].found == member[:, 7].sum()
    for row in rows:
        assert row.found == found[row.example] and row.models == member[:, row.example].sum()
    assert [r.found / r.models for r in rows] == sorted(r.found / r.models for r in rows)[::-1]
    most = np.sort(found)[::-1][: round(share * 300)]
    assert most.sum() >= found.sum() / 2 > most[:-1].sum()


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
