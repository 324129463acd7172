"""Intervals from counts by example and panel are those of the bootstrap that has all scores."""

import numpy as np
import pytest

from jaxmia import metrics
from jaxmia.evaluation import counted
from jaxmia.evaluation.counted_intervals import Tally
from jaxmia.evaluation.exposure import exposures, reach
from jaxmia.evaluation.intervals import FPRS
from jaxmia.metrics import draws

T, N = 24, 900


def population(seed=0, digits=None):
    """Float32 scores of targets that share their examples; some are NaN, with `digits` many tie."""
    rng = np.random.default_rng(seed)
    member = rng.random((T, N)) < 0.5
    effect = 0.2 + 3 * (rng.random(N) < 0.05)
    score = rng.normal(size=(T, N)) + member * effect + 0.3 * rng.normal(size=N)
    score[rng.random((T, N)) < 0.01] = np.nan
    score = score if digits is None else np.round(score, digits)
    return score.astype(np.float32), member


def tally_of(score, member, targets=7):
    """Of panels of examples, some targets after the others."""
    curve = counted.curve(zip(score, member, strict=True))
    assert curve is not None
    tally, size = Tally(curve, FPRS, score.shape[1]), len(score)
    for at, weight in draws.weights_of_panels(score.shape[1], 1000, 0):
        some = [slice(i, i + targets) for i in range(0, size, targets)]
        tally.add(at, weight, ((score[t, at], member[t, at]) for t in some))
    return tally


@pytest.mark.parametrize("panel", [1 << 13, 250])
@pytest.mark.parametrize("digits", [None, 1])
def test_ends_are_those_of_all_scores(monkeypatch, panel, digits):
    monkeypatch.setattr(draws, "PANEL", panel)
    score, member = population(digits=digits)
    of, want = tally_of(score, member).intervals(), metrics.bootstrap(score, member, FPRS)
    np.testing.assert_allclose(of.auc, want.auc, atol=1e-5)
    np.testing.assert_allclose(of.balanced_accuracy, want.balanced_accuracy, atol=1e-5)
    width = want.tpr_at_fpr[:, 1] - want.tpr_at_fpr[:, 0]
    assert (np.abs(of.tpr_at_fpr - want.tpr_at_fpr).max(1) <= 0.04 * width).all()
    few = [fpr * (~member).sum() < 5 for fpr in FPRS]  # each of the highest has its own cell
    np.testing.assert_allclose(of.tpr_at_fpr[few], want.tpr_at_fpr[few], rtol=1e-9)


def test_whom_the_finds_fall_on_is_counted_with_them(monkeypatch):
    monkeypatch.setattr(draws, "PANEL", 250)
    score, member = population(digits=1)
    tally, ranked = tally_of(score, member), metrics.rank(score, member)
    for of, want in zip(
        tally.exposures(), exposures(ranked, reach(ranked.curve, FPRS).threshold), strict=True
    ):
        for a, b in zip(of, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    assert tally.examples == (N, N)


def test_draws_of_panels_are_draws_of_all(monkeypatch):
    whole = draws.weights(300, 2000, 3)
    monkeypatch.setattr(draws, "PANEL", 128)
    parts = list(draws.weights_of_panels(300, 2000, 3))
    assert [at.start for at, _ in parts] == [0, 128, 256] and parts[-1][0].stop == 300
    weight = np.concatenate([w for _, w in parts], axis=1)
    for of in (whole, weight):
        assert (of.sum(1) == 300).all()
        covariance = np.cov(of[:, [0, 127, 128, 299]].T)  # 1 - 1/n, and -1/n between two
        np.testing.assert_allclose(covariance, np.eye(4) - 1 / 300, atol=0.15)
