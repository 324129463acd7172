"""How often each printed 95 % interval holds the truth of a simulated population."""

import numpy as np
import population
import pytest
from scipy import stats
from scipy.special import expit

from jaxmia import metrics
from jaxmia.attacks import calibration
from jaxmia.evaluation import no_false_alarm
from jaxmia.evaluation.exposure import by_class, exposures, level_key
from jaxmia.evaluation.intervals import intervals
from jaxmia.metrics import rank

# of `population.large`, 200 000 examples, which a soak test draws again
RATES = {
    1e-5: 0.00935, 2e-5: 0.01078, 5e-5: 0.01296, 1e-4: 0.01505, 2e-4: 0.01759, 5e-4: 0.02207,
    1e-3: 0.02669, 2e-3: 0.0327, 5e-3: 0.04491, 0.01: 0.05919, 0.02: 0.08081, 0.05: 0.13071,
    0.1: 0.20122, 0.2: 0.32847, 0.5: 0.65904,
}  # fmt: skip
THRESHOLD = 2.3149178  # of 0.1 % FPR
TRUTH = {"auc": 0.62317, "balanced_accuracy": 0.57954}
TRUTH |= {level_key(fpr): tpr for fpr, tpr in RATES.items()}


def holds(score, member):
    """By figure, whether its interval holds the truth; figures without an interval are left out."""
    spans = intervals(rank(score, member))
    ends = {k: spans[k] for k in ("auc", "balanced_accuracy")} | spans["by_fpr"]
    return {k: e[0] <= TRUTH[k] <= e[1] for k, e in ends.items() if e}


def shares(rows):
    """By figure, how often, and of how many."""
    names = {name: [row[name] for row in rows if name in row] for row in rows for name in row}
    return {name: (float(np.mean(v)), len(v)) for name, v in names.items()}


def pooled(draws, examples=1438, seed=0):
    """Of all targets together."""
    samples = (population.sample(seed + i, examples) for i in range(draws))
    return shares([holds(score, member) for score, member in samples])


def alone(draws, each, examples=1438, seed=0):
    """Of single targets, `each` of every draw, alone."""
    rows = []
    for i in range(draws):
        score, member = population.sample(seed + i, examples)
        at = range(0, population.MODELS, population.MODELS // each)
        rows += [holds(score[t : t + 1], member[t : t + 1]) for t in at]
    return shares(rows)


def others(draws, examples=1438, seed=0):
    """Of shares of classes and bins of a reliability diagram, and the FPR at no false alarm."""
    score, member = population.sample(10**6 + seed, 10_000)
    outside, stated = np.sort(score[~member]), calibration.reliability(expit(score), member)
    true = dict(zip(np.digitize(stated.stated, calibration.BINS), stated.true, strict=True))
    rows = []
    for i in range(draws):
        score, member = population.sample(seed + i, examples)
        classes = by_class(exposures(rank(score, member), [THRESHOLD])[0], np.arange(examples) % 4)
        for low, high in zip(classes.low, classes.high, strict=True):
            rows.append({"class": low <= RATES[1e-3] <= high})
        diagram = calibration.reliability(expit(score), member)
        for low, p, high in zip(diagram.low, diagram.stated, diagram.high, strict=True):
            rows.append({"reliability": low <= true[int(np.digitize(p, calibration.BINS))] <= high})
        for s, m in zip(score[::16], member[::16], strict=True):
            none = no_false_alarm.fields(rank(s, m).curve, int((~m).sum()), alone=True)
            at = 1 - np.searchsorted(outside, s[~m].max(), side="right") / len(outside)
            rows.append({"no false alarm": at <= none["at_no_false_alarm"]["fpr_at_most"]})
    return shares(rows)


def of_persons(draws, persons=300, by_person=True):
    """Of records that belong to persons, whose records agree."""
    score, member, _ = population.crowd(10**6, 40_000)
    whole = metrics.figures(score, member, [0.01, 0.1])
    truth = {"auc": whole.auc} | dict(zip(("0.01", "0.1"), whole.tpr_at_fpr, strict=True))
    rows = []
    for seed in range(draws):
        score, member, person = population.crowd(seed, persons)
        spans = intervals(rank(score, member), person if by_person else None)
        ends = {"auc": spans["auc"]} | spans["by_fpr"]
        rows.append({k: ends[k][0] <= true <= ends[k][1] for k, true in truth.items()})
    return shares(rows)


def least(share, draws, tail=1e-3):
    """What a coverage falls short of in one of 1 / tail experiments."""
    return stats.binom.ppf(tail, draws, share) / draws


def test_intervals_of_pooled_targets_cover():
    """At 0.001 % FPR those at a fixed threshold do in one or two of ten draws."""
    coverage = pooled(12, examples=800)
    assert set(coverage) >= {"auc", "balanced_accuracy", "0.01", "0.001", "0.0001", "0.00001"}
    for name, (share, draws) in coverage.items():
        assert share >= least(0.89, draws), (name, share)


def test_intervals_of_one_target_cover():
    coverage = alone(1, each=32)
    assert {"auc", "balanced_accuracy", "0.005", "0.01"} <= set(coverage)
    assert not {"0.002", "0.001", "0.00001"} & set(coverage)  # of 719 non-members
    for name, (share, draws) in coverage.items():
        assert share >= least(0.85, draws), (name, share)  # of the same examples


def test_other_intervals_cover():
    for name, (share, draws) in others(4).items():
        assert share >= least(0.8, draws), (name, share)  # of the same examples


@pytest.mark.soak
def test_intervals_of_pooled_targets_cover_in_three_hundred_draws():
    for name, (share, draws) in pooled(300).items():
        print(f"{name:<20}{share:.3f}")
        error = 3 * np.sqrt(0.93 * 0.07 / draws)
        assert 0.89 - error <= share <= min(0.96 + error, 1), (name, share)


@pytest.mark.soak
def test_intervals_of_one_target_and_others_cover_in_hundreds_of_draws():
    for coverage in (alone(40, each=8), others(100)):
        for name, (share, draws) in coverage.items():
            print(f"{name:<20}{share:.3f}")
            assert share >= 0.89 - 3 * np.sqrt(0.93 * 0.07 / draws), (name, share)


@pytest.mark.soak
def test_intervals_of_persons_cover_and_those_of_their_records_do_not():
    for name, (share, draws) in of_persons(200).items():
        print(f"{name:<20}{share:.3f}")
        assert share >= 0.9 - 3 * np.sqrt(0.93 * 0.07 / draws), (name, share)
    assert of_persons(50, by_person=False)["auc"][0] < 0.8


@pytest.mark.soak
def test_the_truth_is_that_of_another_population():
    inside, outside = population.large(seed=2 * 10**6)
    for fpr, tpr in RATES.items():
        cut = outside[len(outside) - 1 - round(fpr * len(outside))]
        assert (inside > cut).mean() == pytest.approx(tpr, rel=0.1 if fpr < 1e-4 else 0.05)
    below = np.searchsorted(outside, inside) / len(outside)
    assert below.mean() == pytest.approx(TRUTH["auc"], abs=0.002)
