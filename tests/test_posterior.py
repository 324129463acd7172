"""Posteriors against their definition, calibration against known laws, people against rows."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

import jaxmia
from jaxmia import data, design, metrics, recipes
from jaxmia.attacks import calibration as P
from jaxmia.attacks import lira, people
from jaxmia.attacks.references import LeaveOut
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.summary import summarise
from jaxmia.metrics import rank_all
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.training.progress import Progress

RNG = np.random.default_rng(0)


def ratios(T=40, N=2000, scale=1.0, d=1.5, seed=0):
    """Log-ratios of two Gaussians a distance apart, told `scale` times too large."""
    rng = np.random.default_rng(seed)
    member = design.complementary_halves(seed, T, N)
    x = rng.normal(size=(T, N)) + d * member
    return scale * (d * x - d * d / 2), member


@pytest.mark.parametrize("knots", [(), P.KNOTS])
def test_a_calibration_finds_the_scale(knots):
    score, member = ratios(scale=3.0)
    fitted = P.fit_calibration(score, member, knots)
    at = np.linspace(-8, 8, 33)
    np.testing.assert_allclose(P.evidence(at, fitted), at / 3, atol=0.15)
    probability = lira.posterior(score, 0.1, fitted)
    np.testing.assert_allclose(probability, expit(score / 3 + logit(0.1)), atol=0.05)


def test_a_line_bends_where_the_evidence_does():
    """A ratio that is right below 0 and twice too large above."""
    score, member = ratios()
    bent = np.where(score > 0, 2 * score, score)
    fitted = P.fit_calibration(bent, member, P.KNOTS)
    np.testing.assert_allclose(
        P.evidence(np.array([-2.0, 0.5, 4.0]), fitted), [-2, 0.25, 2], atol=0.2
    )
    straight = P.fit_calibration(bent, member)
    assert abs(P.evidence(np.array([-2.0]), straight)[0] + 2) > 0.3
    falling = P.fit_calibration(-np.abs(score), member, P.KNOTS)
    slopes = np.cumsum([falling.a, *falling.bends])
    assert (slopes >= -1e-12).all()


def test_very_many_ratios_are_grouped_without_loss():
    score, member = ratios(T=20, N=4000)
    all_of_them = np.array(P.fit_calibration(score, member)[:2])
    few = np.array(P.fit_calibration(score[:1], member[:1])[:2])
    groups, P.GROUPS = P.GROUPS, 10**9
    try:
        np.testing.assert_allclose(P.fit_calibration(score, member)[:2], all_of_them, atol=1e-4)
    finally:
        P.GROUPS = groups
    assert np.abs(few - all_of_them).max() > 1e-3


def test_reliability_counts():
    stated = np.array([0.02, 0.9, 0.93, 0.88, 0.6, np.nan, 1.0])
    member = np.array([False, True, True, False, True, True, True])
    reliability = P.reliability(stated, member)
    np.testing.assert_allclose(reliability.stated, [0.02, 0.6, np.mean([0.9, 0.93, 0.88]), 1.0])
    np.testing.assert_allclose(reliability.true, [0, 1, 2 / 3, 1])
    np.testing.assert_array_equal(reliability.count, [1, 1, 3, 1])
    low, high = metrics.clopper_pearson(2, 3)
    assert np.isclose(reliability.low[2], low) and np.isclose(reliability.high[2], high)
    gaps = np.abs(reliability.stated - reliability.true)
    assert np.isclose(reliability.error, (gaps * reliability.count).sum() / 6)


def test_stated_probabilities_come_true_on_other_targets():
    score, member = ratios(T=60, scale=2.5, seed=4)
    odds = P.crossed(score, member, np.arange(60) // 2)
    assert P.reliability(expit(odds), member).error < 0.01
    assert P.reliability(lira.posterior(score), member).error > 0.05  # as it was told
    with pytest.raises(ValueError, match="two groups"):
        P.crossed(score[:2], member[:2], np.zeros(2, int))
    # a target's own truth moves nothing of its own
    other = member.copy()
    other[:2] = ~other[:2]
    np.testing.assert_array_equal(P.crossed(score, other, np.arange(60) // 2)[:2], odds[:2])


def test_a_prior_for_each_example():
    score, _ = ratios(T=2, N=5)
    prior = np.array([0.1, 0.5, 0.9, 0.3, 0.5])
    posterior = lira.posterior(score, prior)
    for i, p in enumerate(prior.tolist()):
        np.testing.assert_allclose(posterior[:, i], lira.posterior(score[:, i], p))
    with pytest.raises(ValueError, match="prior="):
        lira.posterior(score, np.array([0.1, 0.5, 1.0, 0.3, 0.5]))


def crowd(T=40, persons=300, seed=0, shared=0.8):
    """Records of persons, 1 to 6 each, whose ratios share a part of their noise."""
    rng = np.random.default_rng(seed)
    person = np.repeat(10 * np.arange(persons), rng.integers(1, 7, size=persons))
    person = rng.permutation(person)
    member = design.of_people(design.complementary_halves, person)(seed, T, len(person))
    index = person // 10
    noise = np.sqrt(shared) * rng.normal(size=(T, persons))[:, index]
    noise = noise + np.sqrt(1 - shared) * rng.normal(size=member.shape)
    return person, member, (noise + member) - 0.5  # log-ratio of each by itself: d = 1


def test_people_are_in_or_out_whole():
    person, member, score = crowd()
    who = people.people(person)
    inside = people.member_of_people(member, who)
    for i in (0, 7, 299):
        rows = np.flatnonzero(person == who.ids[i])
        assert (member[:, rows] == inside[:, i, None]).all()
        total = people.score_of_people(score, who, ratio=True)[:, i]
        np.testing.assert_allclose(total, score[:, rows].sum(1))
        np.testing.assert_allclose(
            people.score_of_people(score, who, ratio=False)[:, i], score[:, rows].mean(1)
        )
    holes, several = score.copy(), np.flatnonzero(np.bincount(who.index) > 1)
    whole, some = np.flatnonzero(who.index == several[0]), np.flatnonzero(who.index == several[1])
    holes[0, whole], holes[1, some[0]] = np.nan, np.nan
    sums = people.score_of_people(holes, who, ratio=True)
    assert np.isnan(sums[0, several[0]])
    assert np.isclose(sums[1, several[1]], score[1, some[1:]].sum())
    member[0, whole[0]] ^= True
    with pytest.raises(ValueError, match=f"the first of them {who.ids[several[0]]}, are in"):
        people.member_of_people(member, who)


def test_the_sum_over_a_person_is_calibrated():
    """Equicorrelated Gaussians: n records say n / (1 + (n - 1) rho) times as much as one."""
    person, member, score = crowd(T=60, persons=500)
    who = people.people(person)
    total, count = people.score_of_people(score, who, True), people.records_of_people(score, who)
    inside = people.member_of_people(member, who)
    fitted = people.fit_people(total, count, inside)
    assert abs(fitted.rho - 0.8) <= 0.1
    odds = people.crossed_people(total, count, inside, np.arange(60) // 2)
    assert P.reliability(expit(odds), inside).error < 0.02
    assert P.reliability(expit(total), inside).error > 0.1  # as if all were independent
    want = norm.cdf(np.sqrt((count[0] / (1 + (count[0] - 1) * 0.8)).mean()) / np.sqrt(2))
    assert abs(metrics.auc(odds, inside) - want) < 0.02


def test_a_design_of_people_has_the_designs_own_law():
    person = np.array([5, 5, 2, 9, 2, 2])
    for make in (design.complementary_halves, design.poisson(0.5), design.fixed_size(2)):
        member = design.of_people(make, person)(3, 8, 6)
        whole = make(3, 8, 3)  # persons 2, 5, 9
        np.testing.assert_array_equal(member, whole[:, [1, 1, 0, 2, 0, 0]])
    with pytest.raises(ValueError, match="the pool has 7"):
        design.of_people(design.poisson(0.5), person)(0, 2, 7)


def test_the_summary_has_people_and_posteriors():
    person, member, score = crowd(T=16, persons=400)
    scores = {"lira_online": score, "global_threshold": RNG.normal(size=score.shape)}
    leaves = LeaveOut("pair", np.arange(16) ^ 1)
    ranked = rank_all(scores, member)
    summary = summarise(
        ranked, member, queries=1, about={}, person=person, relation="replace-one",
        shadows=Shadows(ranked, member, leaves),
    )  # fmt: skip
    rows, whole = summary["attacks"]["lira_online"], summary["people"]["attacks"]["lira_online"]
    assert whole["members"] + whole["non_members"] == 16 * 400
    assert whole["auc"] > rows["auc"] and "persons by all their records" in whole["states"]["auc"]
    assert whole["posterior"]["rho"] > 0.5 and rows["posterior"]["calibration_error"] < 0.02
    assert summary["people"]["count"] == 400 and summary["people"]["records"]["most"] == 6
    assert rows["leak"]["relation"] == "replace-one" and "estimate" in rows["leak"]["kind"]
    assert "posterior" not in summary["attacks"]["global_threshold"]


def test_a_run_calibrates_each_target_on_targets_that_do_not_leave_with_it(tmp_path):
    """Models 2i and 2i + 1 of a design without pairs are no partners."""
    run = jaxmia.run(
        jaxmia.Experiment(
            "small", data.synthetic(300, 8, 3, test=20), recipes.sgd(mlp(16), epochs=10),
            models=8, attacks=("lira_online",), design=design.poisson(0.5),
        ),
        Options(tmp_path / "run", width=1, block=8, progress=Progress(quiet=True)),
    )  # fmt: skip
    score, member = run.scores["lira_online"], run.member
    want = P.at_prior(P.crossed(score, member, np.arange(8)), 0.5)
    np.testing.assert_allclose(run.posterior(), want)
    stated = run.summary["attacks"]["lira_online"]["posterior"]["reliability"]["true"]
    assert P.reliability(want, member).true.tolist() == stated
