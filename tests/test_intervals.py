"""Intervals of every FPR, computed once, wherever they are shown; and what few non-members say."""

import csv
import io
import json
import re

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from jaxmia import design, metrics
from jaxmia.attacks import leave_out
from jaxmia.command import app
from jaxmia.evaluation import figures, no_false_alarm, own_fpr
from jaxmia.evaluation.exposure import LEVELS, Exposure, by_class, level_key, levels
from jaxmia.evaluation.intervals import FPRS
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.summary import summarise
from jaxmia.report import charts
from jaxmia.report.table import remarks, table
from jaxmia.report.write import write


def rows_of(path):
    with open(path, newline="") as file:
        return {row["figure"]: row for row in csv.DictReader(file)}


def embedded(path):
    text = path.read_text()
    return json.loads(text.split('id="data">')[1].split("</script>")[0])


def text_of(summary):
    console = Console(file=(out := io.StringIO()), width=80, highlight=False)
    console.print(table(summary), *remarks(summary), sep="\n")
    return " ".join(out.getvalue().split())


def test_every_place_shows_the_bootstraps_interval_of_every_fpr(tmp_path):
    rng = np.random.default_rng(3)
    member = rng.random((20, 900)) < 0.5
    score = rng.normal(size=(20, 900)) + member * rng.exponential(1.5, 900)
    ranked = {"lira_online": metrics.rank(score, member)}
    summary = summarise(ranked, member, queries=1, about={})
    write(tmp_path, ranked, member, None, summary)
    want = dict(zip(map(level_key, FPRS), metrics.bootstrap(score, member, FPRS)[2], strict=True))
    spans = summary["attacks"]["lira_online"]["intervals"]
    every = {k: ends for k, ends in spans["by_fpr"].items() if ends}
    assert set(want) - set(every) == {"0.00001", "0.00002", "0.00005"}  # .45 of 9000 at most
    for level, ends in every.items():
        np.testing.assert_allclose(ends, want[level])
    assert spans["tpr_at_fpr"] == {k: spans["by_fpr"][k] for k in figures.LEVELS}
    page = embedded(tmp_path / "report/index.html")
    shown_of = page["attacks"][0]
    rows = rows_of(tmp_path / "report/attacks.csv")
    for i, level in enumerate(map(level_key, page["levels"])):
        if level in every:
            low, high = want[level]
            np.testing.assert_allclose([shown_of["low"][i], shown_of["high"][i]], [low, high], 1e-4)
            row = rows[f"tpr_at_fpr_{level}"]
            np.testing.assert_allclose([float(row["low"]), float(row["high"])], [low, high], 1e-4)
            assert float(row["value"]) == pytest.approx(shown_of["tpr"][i], rel=1e-4)
    assert (outline := charts.band(spans["by_fpr"])) is not None
    fpr, tpr = outline
    for level, (low, high) in every.items():
        at = np.flatnonzero(np.isclose(fpr, float(level)))
        np.testing.assert_allclose(tpr[at], [high, low])


def test_nobody_found_is_not_certainty():
    rng = np.random.default_rng(0)
    member = np.tile(np.arange(400) % 2 == 0, (6, 1))
    score = np.where(member, rng.normal(size=(6, 400)), 9 + rng.normal(size=(6, 400)))
    attacks = summarise({"x": metrics.rank(score, member)}, member, queries=1, about={})["attacks"]
    spans = attacks["x"]["intervals"]
    assert attacks["x"]["tpr_at_fpr"]["0.01"] == 0 and spans["kind"]["by_fpr"]["0.01"] != "bca"
    np.testing.assert_allclose(spans["by_fpr"]["0.01"], [0, 1 - 0.025 ** (1 / 200)])


def test_spread_over_targets_is_not_shown_where_no_false_alarm_is_allowed(tmp_path):
    rng = np.random.default_rng(1)
    member = rng.random((3, 3000)) < 0.5  # 1500 non-members of each: 1.5 at 0.1 %
    score = rng.normal(size=member.shape) + member
    for n, less in ((3000, {"0.00001"}), (1000, {"0.00001", "0.001"})):
        ranked = {"x": metrics.rank(score[:, :n], member[:, :n])}
        summary = summarise(ranked, member[:, :n], queries=1, about={})
        attack = summary["attacks"]["x"]
        none = {f.level for f in figures.FIGURES if figures.spread(f, attack) is None}
        assert none == less
        write(tmp_path / str(n), ranked, member[:, :n], None, summary)
        rows = rows_of(tmp_path / str(n) / "report/attacks.csv")
        assert {k for k in figures.LEVELS if not rows[f"tpr_at_fpr_{k}"]["sd_over_targets"]} == less
        assert text_of(summary).count("±") == 5 - len(less)
        own = (tmp_path / str(n) / "report/index.html").read_text().split("The same for each")[1]
        assert own.split("</details>")[0].count("<small>±") == 5 - len(less)


@pytest.fixture
def one(tmp_path, capsys):
    """Two scored folders of one given target, with 300 and with 4000 non-members."""

    def go(name, examples, *flags):
        rng = np.random.default_rng(4)
        member = design.complementary_halves(0, 17 + 1, examples)
        phi = rng.normal(size=member.shape) + 2 * member + rng.normal(size=examples)
        for k, array in {"p": phi[2:], "m": member[2:], "t": phi[0], "tm": member[0]}.items():
            np.save(tmp_path / f"{k}.npy", array)
        files = ("--signals", "p"), ("--member", "m"), ("--target", "t"), ("--target-member", "tm")
        words = [w for flag, k in files for w in (flag, str(tmp_path / f"{k}.npy"))]
        app.main(["score", *words, "--attacks", "lira_online", "global_threshold", *flags,
                  "--out", str(tmp_path / name), "--json"])  # fmt: skip
        output = capsys.readouterr()
        return json.loads(output.out), " ".join(output.err.split())

    return go


@pytest.mark.parametrize("stream", ["never", "always"])
def test_one_target_has_no_tpr_where_its_non_members_are_too_few(one, tmp_path, stream):
    summary, said = one("few", 600, "--stream", stream)
    attack = summary["attacks"]["lira_online"]
    assert attack["tpr_at_fpr"] == {"0.01": pytest.approx(attack["tpr_at_fpr"]["0.01"]),
                                    "0.001": None, "0.00001": None}  # fmt: skip
    none = attack["at_no_false_alarm"]
    assert none["n"] == 300 and none["fpr_at_most"] == pytest.approx(1 - 0.05 ** (1 / 300))
    with np.load(tmp_path / "few/scores.npz") as archive:
        score, member = archive["lira_online"][0], archive["member"][0]
    best = score[~member].max()
    assert none["tpr"] == pytest.approx((score[member] > best).mean(), abs=0.02)
    words = no_false_alarm.words(attack)
    assert words == f"{none['tpr']:.2%} at no false alarm among 300 (FPR ≤ 0.99 %, 95 %)"
    assert f"lira_online: TPR {words}" in said
    if stream == "never":
        assert words in attack["states"]["tpr_at_fpr"]["0.001"]
        assert "at 0.001 FPR" in attack["states"]["tpr_at_fpr"]["0.001"]


def test_the_page_of_one_target_says_so(one, tmp_path):
    summary, _ = one("few", 600)
    attack = summary["attacks"]["lira_online"]
    text = (tmp_path / "few/report/index.html").read_text()
    words = " ".join(re.sub(r"<[^>]*>", "", text).split()).replace("&lt;", "<")
    assert "may not be wrong once in 300" in words
    assert no_false_alarm.where(attack) in words and "too few non-members" in words
    page = embedded(tmp_path / "few/report/index.html")
    assert (
        page["levels"] == [1e-3, 1e-2, 2e-2, 5e-2, 0.1] and page["steps"][0]["level"] == "0 of 300"
    )
    assert page["attacks"][0]["low"][0] is None and page["attacks"][0]["grid"][0] is None
    rows = rows_of(tmp_path / "few/report/attacks.csv")
    assert rows["tpr_at_fpr_0.001"]["value"] == "" and "tpr_at_no_false_alarm_of_300" in rows
    assert "tpr_at_fpr_0.02" in rows and "tpr_at_fpr_0.002" not in rows
    with open(tmp_path / "few/report/roc.csv", newline="") as file:
        curve = [r for r in csv.DictReader(file) if r["panel"] == "roc"]
    assert min(float(r["x"]) for r in curve if r["series"] == "lira_online") >= 3 / 300 - 1e-12


def test_runs_of_one_target_are_compared_in_words(one, tmp_path, capsys):
    few, _ = one("few", 600)
    one("many", 8000)
    folders = [str(tmp_path / n) for n in ("few", "many")]
    app.main(["report", *folders, "--out", str(tmp_path / "out"), "--json"])
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert runs["few"]["tpr_at_fpr"]["0.001"] is None and runs["few"]["at_no_false_alarm"]
    text = (tmp_path / "out/index.html").read_text()
    lead = few["attacks"][runs["few"]["attack"]]
    assert no_false_alarm.where(lead) in text and "no false alarm among 300" in text
    assert "too few to compare" in text


def test_levels_of_one_target_begin_with_no_false_alarm():
    assert levels(719, alone=True) == [1e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1]
    assert levels(20_000, alone=True)[:2] == [1e-4, 2e-4]
    assert levels(10**6, alone=True) == list(LEVELS)
    assert [level_key(v) for v in (1e-5, 1e-3, 0.01, 0.5)] == ["0.00001", "0.001", "0.01", "0.5"]


def test_limits_of_one_target_are_those_of_thresholds_that_may_have_the_fpr():
    rng = np.random.default_rng(7)
    member = np.arange(1500) < 500
    score = rng.normal(size=1500) + 2 * member
    curve = metrics.roc_counts(score, member)
    limits = metrics.tpr_limits(curve, [1e-3, 4e-3, 0.05])
    assert np.isnan(limits[0]).all() and not np.isnan(limits[1:]).any()
    outside = np.sort(score[~member])[::-1]
    every = np.arange(1000)
    lower = np.append(0, stats.beta.ppf(0.025, every[1:], 1001 - every[1:]))
    upper = stats.beta.ppf(0.975, every + 1, 1000 - every)

    def tpr(k):  # as many members as can be above a threshold with k non-members
        return (score[member] > outside[k]).mean() if k >= 0 else 0.0

    for (low, high), fpr in zip(limits[1:], (4e-3, 0.05), strict=True):
        few, many = int((upper <= fpr).sum()) - 1, int((lower <= fpr).sum()) - 1
        at = tpr(int(1000 * fpr))
        own = stats.binomtest(round(500 * at), 500).proportion_ci(0.95, "exact")
        assert low == pytest.approx(max(0, at - np.hypot(at - tpr(few), at - own.low)))
        assert high == pytest.approx(at + np.hypot(tpr(many) - at, own.high - at))


@pytest.mark.parametrize("targets", [12, 1])
def test_intervals_draw_persons_where_there_are_some(targets):
    """Records of one person that all say the same are no more than one record of each."""
    rng = np.random.default_rng(5)
    member = design.complementary_halves(0, max(2, targets), 500)[:targets]
    score = rng.normal(size=member.shape) + member * rng.exponential(1.5, 500)
    p = rng.random(member.shape) ** (1 + member)
    person = rng.permutation(np.repeat(np.arange(500), 4))

    def of(records, whose):
        s, m = score[:, records], member[:, records]
        ranked = {"lira_online": metrics.rank(s, m)}
        shadows = Shadows(ranked, m, leave_out(m)) if targets > 1 else None
        called = [[(side & (p <= a))[:, records].sum(0) for side in (~member, member)]
                  for a in own_fpr.NOMINAL]  # fmt: skip
        own = own_fpr.CountsByExample(np.stack([(~m).sum(0), m.sum(0)]), np.array(called))
        return summarise(ranked, m, queries=1, about={}, shadows=shadows, person=whose,
                         own={"lira_online": own})["attacks"]["lira_online"]  # fmt: skip

    each, whole, alone = of(np.arange(500), None), of(person, person), of(person, None)
    spans, people = each["intervals"], whole["intervals"]
    assert people["drawn"] == "persons" and "drawn" not in spans
    assert "over persons" in whole["states"]["auc"]
    assert "over persons" in whole["states"]["tpr_at_own_fpr"]["0.01"]
    np.testing.assert_allclose(people["auc"], spans["auc"], atol=1e-3 if targets > 1 else 0.02)
    for level in ("0.01", "0.1") if targets > 1 else ("0.02", "0.1"):
        low, high = spans["by_fpr"][level]
        tolerance = 0.1 * (high - low) if targets > 1 else 1e-9
        np.testing.assert_allclose(people["by_fpr"][level], [low, high], atol=tolerance)
    assert (people["by_fpr"]["0.00001"], people["kind"]["by_fpr"]["0.00001"]) == (None, None)
    own, none = (a["at_no_false_alarm"]["fpr_at_most"] for a in (whole, each))
    assert own == none
    own, none = (a["intervals"]["tpr_at_own_fpr"]["0.01"] for a in (whole, each))
    np.testing.assert_allclose(own, none)
    width = [np.ptp(a["intervals"]["auc"]) for a in (alone, each)]
    assert width[0] < 0.7 * width[1]  # as if records were people of their own
    if targets > 1:
        ends = [[a["posterior"]["reliability"][k] for k in ("low", "high")] for a in (whole, each)]
        np.testing.assert_allclose(ends[0], ends[1], atol=0.02)


def test_shares_of_classes_are_as_sure_as_their_examples():
    one = np.ones(200, np.int64)
    rng = np.random.default_rng(0)
    hits = rng.binomial(1, 0.3, 200)
    y = np.arange(200) % 2
    low, high = metrics.clustered(hits, one, y)
    for c in (0, 1):  # a trial each: Clopper-Pearson's
        want = stats.binomtest(int(hits[y == c].sum()), 100).proportion_ci(0.95, "exact")
        np.testing.assert_allclose([low[c], high[c]], want)
    many = metrics.clustered(64 * hits, 64 * one, y)  # 64 trials that agree are no more than one
    np.testing.assert_allclose(many, [low, high], atol=0.005)
    none = metrics.clustered(0 * hits, 64 * one, y)
    np.testing.assert_allclose(none[1], 1 - 0.025 ** (1 / 100))
    exposed = Exposure(64 * hits, 64 * one, hits.astype(float), 0 * one, 64 * one)
    np.testing.assert_allclose([by_class(exposed, y).low, by_class(exposed, y).high], many)
    records = np.repeat(np.arange(200), 3)
    several = by_class(Exposure(*(a[records] for a in exposed)), y[records], records)
    np.testing.assert_allclose([several.low, several.high], many, atol=1e-3)


def test_a_summary_of_an_earlier_version_is_drawn_without_intervals(tmp_path):
    rng = np.random.default_rng(2)
    member = rng.random((6, 400)) < 0.5
    score = rng.normal(size=member.shape) + member
    for targets in (6, 1):
        ranked = {"x": metrics.rank(score[:targets], member[:targets])}
        summary = summarise(ranked, member[:targets], queries=1, about={})
        attack = summary["attacks"]["x"]
        del attack["at_no_false_alarm"], attack["intervals"]["by_fpr"]
        attack["tpr_at_fpr"] = dict.fromkeys(figures.LEVELS, 0.1)
        write(tmp_path, ranked, member[:targets], None, summary)
        page = embedded(tmp_path / "report/index.html")
        assert "the summary holds none" in page["steps"][-1]["interval"]
