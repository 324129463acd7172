import base64
import csv
import hashlib
import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.metrics import roc_auc_score, roc_curve

from jaxmia import metrics
from jaxmia.attacks.references import LeaveOut, nobody_else
from jaxmia.evaluation.exposure import by_class, count, exposures, histogram, levels, reach
from jaxmia.evaluation.posteriors import Shadows, mean_posterior
from jaxmia.evaluation.summary import summarise
from jaxmia.metrics import rank, rank_all
from jaxmia.report import charts, compare, gallery, svg
from jaxmia.report.inputs import ReportInputs, Training, training
from jaxmia.report.inputs import of_run as shown_of
from jaxmia.report.table import remarks, table
from jaxmia.report.write import report, save, write
from jaxmia.types import Data

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
    leaves = LeaveOut("pair", np.arange(8) ^ 1)
    shadows = Shadows(rank_all(scores, member), member, leaves)
    summary = summarise(rank_all(scores, member), member, queries=1, about={}, shadows=shadows)
    good = summary["attacks"]["good"]
    at = good["at_shadow_threshold"]["0.01"]
    assert abs(at["fpr"] - 0.01) < 0.004 and abs(at["tpr"] - good["tpr_at_fpr"]["0.01"]) < 0.02
    for prior, precision in at["precision"].items():
        p = float(prior)
        assert np.isclose(precision, p * at["tpr"] / (p * at["tpr"] + (1 - p) * at["fpr"]))
    best = good["balanced_accuracy_shadow_threshold"]
    assert good["balanced_accuracy"] - 0.02 < best <= good["balanced_accuracy"]
    moved = {"good": scores["good"] + 5}  # another model's scores: its thresholds do not fit
    one = Shadows(rank_all(scores, member), member, None)
    summary = summarise(rank_all(moved, member), member, queries=1, about={}, shadows=one)
    good = summary["attacks"]["good"]
    assert good["at_shadow_threshold"]["0.001"]["fpr"] > 0.5
    json.dumps(good, allow_nan=False)


def test_the_curve_is_drawn(tmp_path):
    at = {"auc": 0.6, "tpr_at_fpr": {"0.01": 0.1, "0.001": 0.0, "0.00001": 0.0}}
    rows = [
        {"models": 2, "references": 0, "attacks": {}},
        *({"models": m, "references": m - 2, "attacks": {n: at for n in HOSTILE}} for m in (4, 8)),
    ]
    files = save(tmp_path, {"curve": charts.power_chart(rows, HOSTILE)})
    assert {f.name for f in files} == {"curve.svg", "curve.png", "curve.csv"}
    ElementTree.parse(tmp_path / "curve.svg")


def test_summary_equals_scikit_learn():
    scores, member = draw()
    scores["good"][0, :5] = np.nan
    summary = summarise(rank_all(scores, member), member, queries=1, about={"seed": 3})
    facts = [summary[k] for k in ("models", "examples", "queries", "seed")]
    assert facts == [6, 300, 1, 3]
    good = summary["attacks"]["good"]
    keep = ~np.isnan(scores["good"])
    s, m = scores["good"][keep], member[keep]
    assert np.isclose(good["auc"], roc_auc_score(m, s)) and good["not_scorable"] == 5
    fpr, tpr, _ = roc_curve(m, s, drop_intermediate=False)
    for level in ("0.01", "0.001", "0.00001"):
        assert np.isclose(good["tpr_at_fpr"][level], tpr[fpr <= float(level)].max())
        if ends := good["intervals"]["tpr_at_fpr"][level]:
            assert ends[0] <= good["tpr_at_fpr"][level] <= ends[1]
    assert good["intervals"]["tpr_at_fpr"]["0.00001"] is None  # of 900 non-members
    assert np.isclose(good["balanced_accuracy"], (1 + (tpr - fpr).max()) / 2)
    each = [roc_auc_score(member[t][keep[t]], scores["good"][t][keep[t]]) for t in range(6)]
    np.testing.assert_allclose(good["targets"]["auc"], [np.mean(each), np.std(each)])
    assert good["members"] + good["non_members"] == keep.sum()
    assert any("no false positive at all" in n for n in good["notes"])
    json.dumps(summary, allow_nan=False)


def test_every_figure_states_what_it_rests_on():
    scores, member = draw(T=4, N=6000)
    about = {"attacked": "four models of a test"}
    names = {"lira_online": scores["good"], "made up": scores["noise"]}
    attacks = summarise(rank_all(names, member), member, queries=1, about=about)["attacks"]
    lira = attacks["lira_online"]
    for text in (lira["states"]["auc"], lira["states"]["tpr_at_fpr"]["0.001"]):
        for word in ("a test", "black-box", "without the record", "n = ", "prior 0.498"):
            assert word in text
        assert "estimate" in text and str(lira["members"]) in text
    spans = lira["intervals"]
    kinds = {"0.01": "bca", "0.001": "bca", "0.00001": None}  # .12 false positives
    assert spans["kind"]["tpr_at_fpr"] == kinds
    want = metrics.bootstrap(scores["good"], member, [0.01])
    np.testing.assert_allclose(spans["tpr_at_fpr"]["0.01"], want.tpr_at_fpr[0])
    assert attacks["made up"]["attacker"]["access"] == "not stated"
    assert lira["prior"] == lira["members"] / (lira["members"] + lira["non_members"])


def test_an_attack_that_scored_nothing_is_said_so():
    _, member = draw()
    summary = summarise(
        rank_all({"none": np.full(member.shape, np.nan)}, member), member, queries=1, about={}
    )
    assert summary["attacks"]["none"]["auc"] is None
    assert "none" in printout(summary)
    json.dumps(summary, allow_nan=False)


def printout(summary, width=80):
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    console.print(table(summary))
    for line in remarks(summary):
        console.print(line)
    return out.getvalue()


def test_table_fits_eighty_columns():
    scores, member = draw()
    about = {"generalization_gap": 0.1, "train_accuracy": 0.9, "test_accuracy": 0.8}
    names = {"lira_online_per_example_variance": scores["good"], "noise": scores["noise"]}
    text = printout(summarise(rank_all(names, member), member, queries=1, about=about))
    assert max(map(len, text.splitlines())) <= 80
    assert "generalization gap 0.100" in text and "±" in text and "6 targets" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name, tmp_path):
    scores, member = draw(2, 50)
    summary = summarise(rank_all({name: scores["good"]}, member), member, queries=1, about={})
    printout(summary)
    charts_ = {"roc": charts.roc_chart(count(rank_all({name: scores["good"]}, member)), {})}
    save(tmp_path, charts_)
    tree = ElementTree.parse(tmp_path / "roc.svg")
    assert not [e for e in tree.iter() if e.tag.endswith("script")]
    assert (tmp_path / "roc.png").read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "roc.csv", newline="") as file:
        assert {row["series"] for row in csv.DictReader(file)} > {"chance"}


def material(T=6, N=300, seed=0, names=("good",)):
    """All that a page can show, of made-up models."""
    rng = np.random.default_rng(seed)
    member = rng.random((T, N)) < 0.5
    phi = (2 * rng.normal(size=(T, N)) + member).astype(np.float32)
    scores = {name: phi + rng.normal(size=(T, N)) for name in names}
    summary = summarise(rank_all(scores, member), member, queries=1, about={"test_accuracy": 0.8})
    training = Training(rng.random((T, 3)), rng.random((T, 3)), 0.8, (1,))
    everything = ReportInputs(
        y=(np.arange(N) % 10).astype(np.int32), names=tuple("abcdefghij"), reference=phi,
        reference_member=member, leave_out=nobody_else(T), training=training,
        x=rng.integers(0, 255, (N, 8, 8, 3)).astype(np.uint8),
    )  # fmt: skip
    return scores, member, phi, summary, everything


def test_a_report_is_these_files(tmp_path):
    scores, member, phi, summary, everything = material()
    at = {"auc": 0.6, "tpr_at_fpr": {"0.001": 0.1}}
    summary["curve"] = [{"references": n, "attacks": {"good": at}} for n in (2, 4)]
    files = write(tmp_path, rank_all(scores, member), member, phi, summary, everything)
    names = ("roc", "curve", "memory", "exposure", "phi", "gaussians", "training")
    assert {f.relative_to(tmp_path).as_posix() for f in files} == {
        "scores.npz", "summary.json", "report/index.html", "report/attacks.csv",
        "report/examples.csv", "report/records.csv",
        *(f"report/{n}.{e}" for n in names for e in ("svg", "png", "csv")),
    }  # fmt: skip
    with np.load(tmp_path / "scores.npz") as archive:
        assert set(archive.files) == {"good", "member"}
    with open(tmp_path / "report/examples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    cut = metrics.threshold_at_fpr(scores["good"], member, 1e-3)
    assert [int(r["found"]) for r in rows] == ((scores["good"] >= cut) & member).sum(0).tolist()
    assert [int(r["models"]) for r in rows] == member.sum(0).tolist()
    i = np.flatnonzero(member.any(0))[5]
    one = phi[member[:, i], i].mean()
    assert float(rows[i]["phi_in"]) == pytest.approx(one, rel=1e-4)
    assert rows[i]["label"] == str(i % 10)


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.text, self._data = [], [], "", False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        names = ("src", "href", "srcset", "data", "action", "xlink:href")
        self.sources += [v for k, v in attrs if k in names]
        assert not any(k.startswith("on") for k, _ in attrs)

    def handle_data(self, data):
        self.text += data


def test_the_page_holds_everything_and_asks_for_nothing(tmp_path):
    scores, member, phi, summary, everything = material(names=HOSTILE)
    about = {"name": HOSTILE[0], "device": "1 x cpu"}
    summary |= {"experiment": about, "command": f"python -m x --data '{HOSTILE[0]}'"}
    hostile = everything._replace(names=tuple(HOSTILE) * 2)
    write(tmp_path, rank_all(scores, member), member, phi, summary, hostile)
    text = (tmp_path / "report/index.html").read_text()
    page = Reader()
    page.feed(text)
    assert page.tags.count("script") == 2 and len(text) < 5_000_000  # the data, and the one script
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in page.sources)
    assert "alert(1)" in page.text and "default-src 'none'" in text
    rates = [a["tpr_at_fpr"]["0.001"] for a in summary["attacks"].values()]
    words = " ".join(page.text.split())
    assert f"identifies {100 * max(rates):.2f} % of the training examples" in words
    data = text.split('id="data">')[1].split("</script>")[0]
    assert "<" not in data and len(json.loads(data)["attacks"]) == len(HOSTILE)
    digest = base64.b64encode(
        hashlib.sha256(text.split("<script>")[1].split("</script>")[0].encode()).digest()
    )
    assert f"script-src 'sha256-{digest.decode()}'" in text  # no other script can run


def test_examples_are_shown_only_where_they_may_be(tmp_path):
    scores, member, phi, summary, everything = material()
    write(tmp_path, rank_all(scores, member), member, phi, summary, everything._replace(x=None))
    assert "data:image/png" not in (tmp_path / "report/index.html").read_text()
    models, y = len(phi), everything.y
    mine, private = of_data(public=True), of_data(public=False)
    assert shown_of([], models, y, mine).x is mine.x
    assert shown_of([], models, y, private).x is None
    assert shown_of([], models, y, private, True).x is private.x
    people = replace(mine, person=np.arange(300))
    assert shown_of([], models, y, people).x is None


def of_data(public):
    x, y = np.zeros((300, 4), np.float32), np.zeros(300, np.int32)
    return Data("mine", x, y, x[:2], y[:2], 2, public=public)


def test_training_is_read_from_the_records():
    records = [
        {"loss": {"0": [2, 1], "2": [None, None]}, "accuracy": {"0": [0.5, 1]}, "diverged": [2]},
        {"loss": {"1": [3, 2], "9": [7, 7]}, "test_accuracy": {"0": 0.9, "1": 0.7, "9": 0.1}},
    ]
    history = training(records, 3)
    np.testing.assert_array_equal(history.loss, [[2, 1], [3, 2], [np.nan, np.nan]])
    np.testing.assert_array_equal(history.accuracy[0], [0.5, 1])
    assert history.test_accuracy == pytest.approx(0.8) and history.diverged == (2,)
    assert training([], 3) is None


def test_pictures_of_examples():
    def pixels(uri):
        raw = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
        return np.asarray(Image.open(io.BytesIO(raw)))

    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    np.testing.assert_array_equal(pixels(gallery.picture(image)), image)
    digit = np.arange(64, dtype=np.uint8).clip(0, 16)
    assert pixels(gallery.picture(digit, (8, 8))).shape == (8, 8)
    assert pixels(gallery.picture(np.ones((200, 300, 3), np.uint8) * 77)).shape == (40, 60, 3)
    row = pixels(gallery.picture(np.linspace(-1, 1, 500)))
    assert row.shape == (1, 256) and row[0, 0] == 0


def test_a_page_without_anything_to_score(tmp_path):
    scores, member = {"x": np.full((2, 5), np.nan)}, np.eye(2, 5, dtype=bool)
    summary = summarise(rank_all(scores, member), member, queries=1, about={})
    write(tmp_path, rank_all(scores, member), member, None, summary)
    assert "No attack could be scored" in (tmp_path / "report/index.html").read_text()


def test_the_most_exposed_are_those_found_in_most_of_their_models():
    scores, member = draw(T=9)
    score = scores["good"]
    score[:, 7] = np.where(member[:, 7], 99, -99)
    ranked = rank_all({"x": score}, member)
    (exposed,) = exposures(ranked["x"], reach(count(ranked)["x"], [1e-3]).threshold)
    outside = np.sort(score[~member])[::-1]
    cut = outside[int(0.001 * len(outside))]  # the first false alarm too many
    hits = ((score > cut) & member).sum(0)
    np.testing.assert_array_equal(exposed.hits, hits)
    np.testing.assert_array_equal(exposed.models, member.sum(0))
    np.testing.assert_array_equal(exposed.alarms, ((score > cut) & ~member).sum(0))
    np.testing.assert_array_equal(exposed.others, (~member).sum(0))
    order = exposed.order()
    assert order[0] == 7 and hits[7] == member[:, 7].sum()
    share = hits / member.sum(0)
    assert (np.diff(share[order]) <= 0).all()
    most = np.sort(hits)[::-1][: round(exposed.half() * 300)]
    assert most.sum() >= hits.sum() / 2 > most[:-1].sum()
    y = (np.arange(300) % 3).astype(np.int32)
    for c, n, of in zip(*by_class(exposed, y)[:3], strict=True):
        assert n == hits[y == c].sum() and of == member[:, y == c].sum()
    bins = histogram(exposed)
    assert bins.sum() == 300 and bins[0] == (share == 0).sum()
    assert bins[10] == (share > 0.9).sum() and bins[5] == ((share > 0.4) & (share <= 0.5)).sum()


def test_what_is_reached_equals_scikit_learn_at_every_level():
    scores, member = draw(T=8, N=2000)
    score = scores["good"]
    fpr, tpr, _ = roc_curve(member.ravel(), score.ravel(), drop_intermediate=False)
    curve = count(rank_all({"x": score}, member))["x"]
    at = levels(int((~member).sum()))
    rates = reach(curve, at)
    np.testing.assert_allclose(rates.tpr, [tpr[fpr <= v].max() for v in at])
    for value, cut in zip(at, rates.threshold, strict=True):
        assert (score[~member] >= cut).mean() <= value
    assert 1e-3 in at and at == sorted(at)
    assert np.isnan(rates.low).all()  # intervals are the summary's


def test_posteriors_are_calibrated_on_other_targets():
    rng = np.random.default_rng(0)
    member = rng.random((20, 500)) < 0.5
    ratio = 2 * rng.normal(size=(20, 500)) + np.where(member, 2.0, -2.0)  # its own log-ratio
    alone = nobody_else(20)
    mean = mean_posterior(rank(5 * ratio, member), alone, {})  # stated five times too sure
    want = np.where(member, 1 / (1 + np.exp(-ratio)), np.nan)
    np.testing.assert_allclose(mean, np.nanmean(want, 0), atol=0.05)
    from_summary = mean_posterior(
        rank(5 * ratio, member), None, {"calibration": {"a": 0.2, "b": 0.0}}
    )
    np.testing.assert_allclose(from_summary, np.nanmean(want, 0), atol=1e-9)
    member[:, 3] = False
    assert np.isnan(mean_posterior(rank(ratio, member), alone, {})[3])


def test_figures_are_the_same_every_time(tmp_path):
    scores, member, phi, summary, everything = material()
    for folder in ("a", "b"):
        report(tmp_path / folder, rank_all(scores, member), member, phi, summary, everything)
    files = sorted(f.name for f in (tmp_path / "a").iterdir())
    assert len(files) > 15
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_curves_are_thinned_but_not_in_the_tail():
    rng = np.random.default_rng(0)
    member = np.arange(200_000) % 2 == 0
    curve = metrics.roc_counts(rng.normal(size=200_000) + member, member)
    at = charts.thinned(curve)
    assert len(at) < 1100 and at[-1] == len(curve.tp) - 1
    points = set(curve.fp[at].tolist())
    assert points >= set(range(charts.HEAD))  # the first steps are all there
    for level in np.geomspace(1e-3, 1, 50):  # and none that is left out moves the curve
        true = curve.tp[np.searchsorted(curve.fp / curve.fp[-1], level, "right") - 1]
        place = at[np.searchsorted(curve.fp[at] / curve.fp[-1], level, "right") - 1]
        assert abs(curve.tp[place] - true) / curve.tp[-1] < 0.01


def test_the_drawing_puts_a_curve_where_its_numbers_are():
    scores, member = draw(T=4, N=500)
    chart = charts.roc_chart(count(rank_all(scores, member)), {})
    root = ElementTree.fromstring(svg.inline(chart.panels[0], "x"))
    low, high, log, left, right = map(float, root.get("data-x").split(","))
    assert (low, high, log) == (1e-5, 1, 1)
    dots = root.findall(".//g[@class='dots s0']/circle")
    x = left + (right - left) * np.log(1e-3 / low) / np.log(high / low)
    assert float(dots[1].get("cx")) == pytest.approx(x, abs=0.06)
    low, high, log, bottom, top = map(float, root.get("data-y").split(","))
    tpr = metrics.tpr_at_fpr(scores["good"], member, 1e-3)
    y = bottom + (top - bottom) * np.log(tpr / low) / np.log(high / low)
    assert float(dots[1].get("cy")) == pytest.approx(y, abs=0.06)


def test_fifty_thousand_examples_stay_under_five_megabytes(tmp_path):
    names = ("a", "b", "lira_online")
    *_, summary, _ = material(names=names)  # intervals of so many would take a minute
    scores, member, phi, _, everything = material(8, 50_000, names=())
    scores = {k: phi + np.random.default_rng(i).normal(size=phi.shape) for i, k in enumerate(names)}
    summary["examples"] = 50_000
    files = report(tmp_path, rank_all(scores, member), member, phi, summary, everything)
    assert (tmp_path / "index.html").stat().st_size < 2_500_000
    assert all(f.stat().st_size < 5_000_000 for f in files)


def test_runs_are_compared(tmp_path, capsys, as_users_run):
    from jaxmia.command import app

    for seed, name in enumerate(("strong", "weak", HOSTILE[2][1:-1])):
        scores, member, _, summary, _ = material(8, 400, seed)
        if name != "strong":
            scores = {k: v + 3 * np.random.default_rng(9).normal(size=v.shape)
                      for k, v in scores.items()}  # fmt: skip
            summary = summarise(
                rank_all(scores, member), member, queries=1, about={"test_accuracy": 0.7}
            )
        summary["experiment"] = {"recipe": {"epochs": seed}}
        write(tmp_path / name, rank_all(scores, member), member, None, summary)
    out = tmp_path / "out"
    folders = [str(tmp_path / n) for n in ("strong", "weak")]
    app.main(["report", *folders, "--out", str(out), "--json"])
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert runs["strong"]["tpr_at_fpr"]["0.001"] > runs["weak"]["tpr_at_fpr"]["0.001"]
    text = " ".join((out / "index.html").read_text().split())
    assert "weak gives away least" in text and "recipe.epochs" in text
    assert (out / "frontier.svg").exists() and (out / "roc.png").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as end:
        app.main(["report", folders[0], str(tmp_path / "empty"), "--out", str(out)])
    assert end.value.code == 2 and "has no scores.npz" in capsys.readouterr().err


def test_names_of_runs_are_told_apart():
    unique = compare.unique
    assert unique([Path("/a/x"), Path("/b/y")]) == ["x", "y"]
    assert unique([Path("/a/x"), Path("/b/x")]) == ["a/x", "b/x"]
    assert unique([Path("/a/x"), Path("/a/x")]) == ["1 a/x", "2 a/x"]
