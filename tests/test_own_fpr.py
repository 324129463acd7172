"""What is found where nobody may be accused more often than so, and whose the false alarms are."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from jaxmia import design
from jaxmia.attacks.by_example import every_model
from jaxmia.attacks.p_values import p_values
from jaxmia.attacks.references import leave_out
from jaxmia.command import app
from jaxmia.evaluation import own_fpr
from jaxmia.evaluation.adversary import adversary
from jaxmia.evaluation.exposure import exposures, majority
from jaxmia.metrics import rank, tpr_at_fpr
from jaxmia.report.table import headlines, table

T, N = 16, 300
NAMES = ("lira_online", "lira_offline", "bavaria", "global_threshold")


def signals(seed=0, models=T, Q=1):
    """Some examples far more exposed than the others, and noisier without them."""
    rng = np.random.default_rng(seed)
    member = design.complementary_halves(seed, models, N)
    exposed = np.arange(N) % 10 == 0
    phi = rng.normal(size=(models, N, Q)) * np.where(exposed, 2, 1)[:, None] + 4
    return phi + member[..., None] * np.where(exposed, 6, 0.3)[:, None], member


def test_counts_equal_a_loop_over_examples():
    phi, member = signals()
    phi[3, 5] = np.nan
    phi[:, 9] = 2.0  # p-values of exactly 1
    leaves = leave_out(member)
    of = own_fpr.of_every_model(phi, member, NAMES, leaves)
    assert set(of) == {"lira_online", "lira_offline", "bavaria"}
    work = every_model(phi, member, leaves)
    for name, kind in (("lira_online", "ratio"), ("lira_offline", "upper")):
        p, counts = p_values(work, kind), of[name]
        for j in (0, 5, 9, 77):
            for side in (0, 1):
                own = [x for x, m in zip(p[:, j], member[:, j], strict=True) if m == side]
                own = [x for x in own if x == x]
                assert counts.targets[side, j] == len(own)
                for i in (0, 5, 9, 15):
                    below = sum(x <= own_fpr.NOMINAL[i] for x in own)
                    assert counts.called[i, side, j] == below
        for i, level in enumerate(own_fpr.NOMINAL):
            assert counts.rate(1)[i] == (p <= level)[member].sum() / (~np.isnan(p[member])).sum()
            assert counts.rate(0)[i] == (p <= level)[~member].sum() / (~np.isnan(p[~member])).sum()


def test_given_targets_are_counted_as_the_models_themselves():
    phi, member = signals()
    for_one = own_fpr.of_targets(phi[:1], member[:1], phi[2:], member[2:], NAMES)
    every = own_fpr.of_every_model(phi, member, NAMES, leave_out(member))
    several = own_fpr.of_targets(phi[:2], member[:2], phi[2:], member[2:], NAMES)
    for name in ("lira_online", "lira_offline"):
        p = p_values(every_model(phi, member, leave_out(member)), name_kind(name))[:2]
        for one, rows in ((for_one, slice(1)), (several, slice(2))):
            for i, level in enumerate(own_fpr.NOMINAL):
                want = ((p[rows] <= level) & member[rows]).sum(0)
                np.testing.assert_array_equal(one[name].called[i, 1], want)
        assert every[name].targets[1].sum() == member.sum()


def name_kind(name):
    return own_fpr.kinds_of([name])[name]


def test_there_are_none_with_fewer_than_six_references():
    for models, there in ((6, False), (8, True)):
        phi, member = signals(models=models)
        of = own_fpr.of_every_model(phi, member, NAMES, leave_out(member))
        assert bool(of) == there
    assert own_fpr.of_every_model(phi, member, ("global_threshold",), leave_out(member)) == {}


def of_population(rng, rates, targets):
    """Counts of targets whose examples are called with these rates, `[N]` of either side."""
    inside = rng.binomial(targets, 0.5, len(rates[0]))
    sizes = np.stack([targets - inside, inside])
    called = np.stack([rng.binomial(n, r) for n, r in zip(sizes, rates, strict=True)])
    return own_fpr.CountsByExample(sizes, np.repeat(called[None], len(own_fpr.NOMINAL), 0))


@pytest.mark.parametrize("few", [False, True])
def test_intervals_cover_the_truth_of_a_population(few):
    """Of targets that share their examples, most of which are never found and some always."""
    rng, size, targets = np.random.default_rng(few), 300 if few else 1000, 64
    share = 0.01 if few else 0.05
    kinds = np.array([[0.001, 0.01], [0.02, 0.9]])  # rates without and with it, of two kinds
    truth = (1 - share) * kinds[0] + share * kinds[1]
    hits = np.zeros((2, 2))
    repetitions = 120
    for _ in range(repetitions):
        which = (rng.random(size) < share).astype(int)
        of = of_population(rng, kinds[which].T, targets)
        for side in (0, 1):
            one = own_fpr.Side(of.targets[side], of.called[:1, side])
            (low, high) = own_fpr.intervals([one], 400, 1)[0][0]
            total, n = int(of.called[0, side].sum()), int(of.targets[side].sum())
            fixed = np.stack(own_fpr.clopper_pearson(total, n))  # as if all were independent
            hits[0, side] += low <= truth[side] <= high
            hits[1, side] += fixed[0] <= truth[side] <= fixed[1]
    hits /= repetitions
    assert (hits[0] >= (0.8 if few else 0.88)).all(), hits
    assert hits[0, 1] > hits[1, 1] + 0.2


def test_intervals_are_scipys_of_a_ratio_of_sums():
    rng, size = np.random.default_rng(5), 150
    targets = rng.integers(20, 40, size)
    hits = rng.binomial(targets, np.where(np.arange(size) < 8, 0.9, 0.01))
    (ends,) = own_fpr.intervals([own_fpr.Side(targets, hits[None])], 8000)
    other = stats.bootstrap(
        (hits, targets), lambda h, n, axis: h.sum(axis) / n.sum(axis), paired=True,
        vectorized=True, method="BCa", n_resamples=8000, rng=1,
    ).confidence_interval  # fmt: skip
    width = other.high - other.low
    np.testing.assert_allclose(ends[0], [other.low, other.high], atol=0.03 * width)


def test_nobody_called_is_no_proof_that_nobody_is():
    nobody = own_fpr.Side(np.full(200, 64), np.zeros((1, 200), int))
    low, high = own_fpr.intervals([nobody], 100)[0][0]
    assert low == 0 and high == pytest.approx(1 - 0.025 ** (1 / 200))


def test_own_false_alarms_and_whom_they_fall_on_equal_a_loop():
    rng = np.random.default_rng(1)
    member = design.poisson(0.5)(0, 40, 90)
    score = rng.normal(size=member.shape).round(1) + member * (np.arange(90) % 9 == 0) * 4
    score[:, 0] += 1.5  # found always, and often where it is not in
    score[2, 3] = np.nan
    inside = np.flatnonzero(member[:, 1])
    score[inside, 1] = np.where(np.arange(len(inside)) < len(inside) // 2, 9, -9)  # half at most
    ranked = rank(score, member)
    for cut in (1.0, 2.5, np.inf):
        (of,) = exposures(ranked, [cut])
        finds = 0
        many, own, within = 0, [], 0
        for j in range(90):
            pairs = [(s, m) for s, m in zip(score[:, j], member[:, j], strict=True) if s == s]
            inside, outside = [s for s, m in pairs if m], [s for s, m in pairs if not m]
            hits, alarms = sum(s >= cut for s in inside), sum(s >= cut for s in outside)
            assert (of.hits[j], of.models[j]) == (hits, len(inside))
            assert (of.alarms[j], of.others[j]) == (alarms, len(outside))
            assert of.own_fpr[j] == pytest.approx(alarms / len(outside))
            finds += hits
            if hits / len(inside) > 0.5:
                many, within = many + 1, within + hits
                own.append(alarms / len(outside))
        most = majority(of)
        assert most.examples == many
        assert most.share_of_finds == pytest.approx(within / finds if finds else 0)
        assert most.own_fpr == (pytest.approx(np.mean(own)) if own else None)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    phi, member = signals(3, models=24)
    np.save(folder / "phi.npy", phi[..., 0])
    np.save(folder / "member.npy", member)
    app.main([
        "score", "--signals", str(folder / "phi.npy"), "--member", str(folder / "member.npy"),
        "--out", str(folder / "out"), "--attacks", *NAMES, "lira_online_global_variance",
    ])  # fmt: skip
    summary = json.loads((folder / "out" / "summary.json").read_text())
    return SimpleNamespace(path=folder / "out", summary=summary, phi=phi, member=member)


def test_the_summary_has_the_figure_its_interval_and_how_it_is_calibrated(scored):
    of, member = scored.summary["attacks"], scored.member
    p = p_values(every_model(scored.phi, member, leave_out(member)), "upper")
    offline = of["lira_offline"]
    for level, alpha in own_fpr.LEVELS.items():
        assert offline["tpr_at_own_fpr"][level] == pytest.approx((p <= alpha)[member].mean())
        assert offline["p_values"]["fpr"][level] == pytest.approx((p <= alpha)[~member].mean())
        low, high = offline["intervals"]["tpr_at_own_fpr"][level]
        assert low <= offline["tpr_at_own_fpr"][level] <= high
        words = offline["states"]["tpr_at_own_fpr"][level]
        assert f"own FPR is to be {alpha:g}" in words and "of each record alone" in words
        assert f"really err on {offline['p_values']['fpr'][level]:.2%}" in words
    curve = offline["p_values"]["calibration"]
    assert curve["nominal"][0] == 1e-3 and curve["nominal"][-1] == 1
    for x, y in zip(curve["nominal"], curve["real"], strict=True):
        assert y == pytest.approx((p <= x)[~member].mean())
    low, real, high = (np.array(curve[k]) for k in ("low", "real", "high"))
    assert (low <= real).all() and (real <= high).all()
    assert of["bavaria"]["tpr_at_own_fpr"] == of["lira_online"]["tpr_at_own_fpr"]
    for name in ("global_threshold", "lira_online_global_variance"):
        assert of[name]["tpr_at_own_fpr"] is None and "p_values" not in of[name]
        assert "tpr_at_own_fpr" not in of[name]["states"]


def test_the_exposed_bear_more_false_alarms_than_the_average_says(scored):
    for name, of in scored.summary["attacks"].items():
        with np.load(scored.path / "scores.npz") as scores:
            score = scores[name]
        threshold = 1e-2
        rate = tpr_at_fpr(score, scored.member, threshold)
        (cut,) = [np.sort(score[~scored.member])[::-1][int(threshold * (~scored.member).sum())]]
        called = score > cut
        assert (called & scored.member).sum() / scored.member.sum() == pytest.approx(rate)
        hits = (called & scored.member).sum(0) / scored.member.sum(0)
        most = of["concentration"]["0.01"]
        assert most["examples"] == (hits > 0.5).sum()
        if most["examples"]:
            own = (called & ~scored.member).sum(0) / (~scored.member).sum(0)
            assert most["own_fpr"] == pytest.approx(own[hits > 0.5].mean())
    assert scored.summary["attacks"]["lira_online"]["concentration"]["0.01"]["own_fpr"] > 0.015


def test_the_terminal_says_both_figures_and_who_the_attacker_is(scored):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))
    console.print(table(scored.summary))
    lines = console.export_text().splitlines()
    rows = [line.split() for line in lines if "own FPR" in line]
    of = scored.summary["attacks"]
    want = [
        [f"{100 * of[n]['tpr_at_own_fpr'][level]:.2f}" for level in own_fpr.LEVELS]
        for n in ("lira_online", "lira_offline", "bavaria")
    ]
    assert [row[-2:] for row in rows] == want and max(map(len, lines)) <= 80
    who, nobody, uneven = headlines(scored.summary)
    assert who == (
        "attacker: knows a pool of 300 records, of which a random half are the members; trains 22 "
        "models the same way on others drawn so; rates are averages over records and targets"
    )
    best = min(
        ("lira_online", "lira_offline", "bavaria"),
        key=lambda n: (abs(of[n]["p_values"]["fpr"]["0.001"] - 1e-3), -float(
            of[n]["tpr_at_own_fpr"]["0.001"])),
    )  # fmt: skip
    assert f"TPR {of[best]['tpr_at_own_fpr']['0.001']:.2%}" in nobody and best in nobody
    assert "once in 1,000" in nobody and "their own FPR is" in uneven
    for attack in of.values():
        assert who.split("; trains")[0].removeprefix("attacker: ") in attack["states"]["auc"]
    assert "trains" not in of["global_threshold"]["states"]["auc"]


def test_p_values_that_do_not_hold_say_nothing(tmp_path):
    """As of a forest: most answers are exactly 0 or 1, which no Gaussian or Student-t fits."""
    rng = np.random.default_rng(5)
    phi, member = signals(5, models=24)
    sure = rng.random(member.shape) < np.where(member, 0.6, 0.03)
    phi = np.where(sure, np.inf, np.clip(phi[..., 0], -1, 1))
    np.save(tmp_path / "phi.npy", phi)
    np.save(tmp_path / "member.npy", member)
    app.main([
        "score", "--signals", str(tmp_path / "phi.npy"), "--member", str(tmp_path / "member.npy"),
        "--out", str(tmp_path / "out"), "--attacks", "lira_offline", "base",
    ])  # fmt: skip
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    real = summary["attacks"]["lira_offline"]["p_values"]["fpr"]
    assert real["0.01"] > 0.02 and real["0.001"] > 0.002
    console = Console(width=80, record=True, file=open("/dev/null", "w"))
    console.print(table(summary))
    (row,) = [line.split() for line in console.export_text().splitlines() if "own FPR" in line]
    assert row[-2:] == ["–", "–"]
    line = headlines(summary)[1]
    assert line.startswith("no p-values hold here") and f"{100 * real['0.001']:.2f}%" in line
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "No p-values hold here" in page and 'class="own"' not in page


def test_the_files_have_them(scored):
    with open(scored.path / "report" / "attacks.csv") as file:
        rows = {(r["attack"], r["figure"]): r for r in csv.DictReader(file)}
    of = scored.summary["attacks"]["lira_offline"]
    row = rows["lira_offline", "tpr_at_own_fpr_0.001"]
    assert float(row["value"]) == pytest.approx(of["tpr_at_own_fpr"]["0.001"], rel=1e-5)
    ends = [float(row["low"]), float(row["high"])]
    assert ends == pytest.approx(of["intervals"]["tpr_at_own_fpr"]["0.001"], rel=1e-5)
    row = rows["lira_offline", "fpr_of_p_values_0.01"]
    assert float(row["value"]) == pytest.approx(of["p_values"]["fpr"]["0.01"], rel=1e-5)
    assert ("global_threshold", "tpr_at_own_fpr_0.001") not in rows
    lead = max(scored.summary["attacks"].items(), key=lambda a: a[1]["tpr_at_fpr"]["0.001"])[0]
    with np.load(scored.path / "scores.npz") as scores:
        score = scores[lead]
    member = scored.member
    cut = np.sort(score[~member])[::-1][int(1e-3 * (~member).sum())]
    with open(scored.path / "report" / "examples.csv") as file:
        for j, r in enumerate(csv.DictReader(file)):
            alarms, others = (score[:, j] > cut)[~member[:, j]].sum(), (~member[:, j]).sum()
            assert (int(r["false_alarms"]), int(r["others"])) == (alarms, others)
            assert float(r["own_fpr"]) == pytest.approx(alarms / others, rel=1e-5)
    with open(scored.path / "report" / "p_values.csv") as file:
        chart = [r for r in csv.DictReader(file) if r["series"] == "lira_offline"]
    assert [float(r["y"]) for r in chart] == pytest.approx(
        of["p_values"]["calibration"]["real"], rel=1e-5
    )


def test_the_page_says_both_figures(scored):
    page = (scored.path / "report" / "index.html").read_text()
    text = " ".join(page.replace("\u00a0", " ").split())
    assert "An attacker who knows the pool and, on average, <span data-words>" in text
    own = own_fpr.nearest(scored.summary["attacks"])
    of = scored.summary["attacks"][own]
    assert f'<strong class="own">{100 * of["tpr_at_own_fpr"]["0.001"]:.2f} %</strong>' in text
    assert f"which err on {100 * of['p_values']['fpr']['0.001']:.2f} % of non-members" in text
    assert "knows a pool of 300 records, of which a random half are the members" in text
    assert "own false alarms" in text and 'data-chart="p_values"' in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (design.complementary_halves, "a random half are"),
        (design.fixed_size(30), "30 at random are"),
        (design.poisson(0.25), "about 25 % at random are"),
        (design.canaries(index=list(range(20))), "all but the canaries, and each of these by a"),
        (design.one_unknown(candidates=[1, 2, 3]), "all but the candidates, and one of these,"),
    ],
)
def test_the_attacker_is_who_the_design_says(name, words):
    who = adversary(name(0, 64, 200), design=repr(name), models=62)
    assert f"a pool of 200 records, of which {words}" in who.sentence()
    assert "trains 62 models" in who.sentence() and "trains" not in who.sentence(shadows=False)


def test_of_persons_the_pool_is_persons():
    person = np.repeat(np.arange(50), 4)
    member = design.of_people(design.complementary_halves, person)(0, 8, 200)
    who = adversary(member, person)
    assert who.sentence().startswith("knows a pool of 50 persons, of which a random half are")
    assert "trains" not in who.sentence()
