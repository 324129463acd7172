"""Scores that are ranked once, against sorting and drawing anew each time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmia import metrics
from jaxmia.metrics import draws, pooled, thresholds


def draw(seed, ties, holes=True, T=5, N=60):
    rng = np.random.default_rng(seed)
    member = rng.random((T, N)) < 0.4
    score = rng.normal(size=(T, N)) + member + rng.normal(size=N)
    score = np.round(score) if ties else score
    score[0, :3] = -np.inf, np.inf, -np.inf
    if holes:
        score[rng.random((T, N)) < 0.2] = np.nan
        score[T - 1] = np.nan
    return score, member


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), ties=st.booleans(), holes=st.booleans())
def test_order_and_curves_are_those_of_sorting(seed, ties, holes):
    score, member = draw(seed, ties, holes)
    ranked = metrics.rank(score, member)
    flat, truth = score.reshape(-1), member.reshape(-1)
    some = [i for i in range(flat.size) if not np.isnan(flat[i])]
    assert ranked.order.tolist() == sorted(some, key=lambda i: -flat[i])
    for curve, s, m in [
        (ranked.curve, flat, truth), *zip(ranked.targets(), score, member, strict=True)
    ]:  # fmt: skip
        cuts = sorted(set(s[~np.isnan(s)].tolist()), reverse=True)
        assert curve.threshold.tolist() == [np.inf, *cuts]
        assert curve.tp.tolist() == [0, *((s >= c)[m].sum() for c in cuts)]
        assert curve.fp.tolist() == [0, *((s >= c)[~m].sum() for c in cuts)]


@pytest.mark.parametrize("ties", [False, True])
def test_draws_of_examples_have_the_tprs_of_the_examples_repeated(ties):
    score, member = draw(4, ties, T=7, N=90)
    weight = draws.weights(90, 40, 1)
    of = pooled.Pooled.of(metrics.rank(score, member))
    size = draws.total(weight, np.stack([of.members, of.others], 1))
    levels = [0.0, 0.003, 0.05, 0.5, 1.0]
    rates = of.replicates(weight, size, levels)
    for w, rate in zip(weight, rates.T, strict=True):
        at = np.repeat(np.arange(90), w)
        np.testing.assert_allclose(rate, metrics.tpr_at_fpr(score[:, at], member[:, at], levels))
    limits = np.arange(80).reshape(2, 40)
    for one in (pooled.passed, pooled.weighed):
        exact = one(weight, of.outside, limits, np.float64)
        np.testing.assert_array_equal(one(weight, of.outside, limits, np.float32), exact)


@pytest.mark.parametrize("ties", [False, True])
def test_influence_of_examples_is_the_sum_over_their_scores(ties):
    score, member = draw(6, ties, T=7, N=90)
    influence = pooled.influence(metrics.rank(score, member))
    area = metrics.auc(score, member)
    inside, outside = score[member & ~np.isnan(score)], score[~member & ~np.isnan(score)]
    want = np.zeros(90)
    for (_, n), s in np.ndenumerate(score):
        is_member = member[_, n]
        if np.isnan(s):
            continue
        other = outside if is_member else inside
        wins = ((s > other).sum() + 0.5 * (s == other).sum()) / len(other)
        share = wins if is_member else 1 - wins
        want[n] += (share - area) / (len(inside) if is_member else len(outside))
    np.testing.assert_allclose(influence[0], want, atol=1e-12)
    assert abs(influence[1].sum()) < 1e-12  # projections have mean 0


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_thresholds_leave_out_who_leaves(seed, ties):
    score, member = draw(seed, ties, T=6, N=40)
    score = np.clip(score, -9, 9)  # no threshold is above an infinite score
    leaving = np.array([[t, t ^ 1] for t in range(6)])
    best = thresholds.best(score, member, leaving)
    cuts = thresholds.at_fpr(score, member, leaving, [0.0, 0.1])
    beside = np.array([[(t + 2 + n) % 6 if n % 3 else -1 for n in range(40)] for t in range(6)])
    less = thresholds.at_fpr(score, member, leaving, [0.1], beside)[0]
    for t, pair in enumerate(leaving):
        rest = score.copy()
        rest[pair] = np.nan
        single = np.flatnonzero(beside[t] >= 0)
        rest[beside[t][single], single] = np.nan
        want = thresholds.at_fpr(rest, member, np.full((1, 1), -1), [0.1])[0, 0]
        np.testing.assert_equal(less[t], want)
    for t, pair in enumerate(leaving):
        s, m = np.delete(score, pair, 0), np.delete(member, pair, 0)
        there = ~np.isnan(s)
        every = np.unique(score[~np.isnan(score)])[::-1]
        gain = [(s >= c)[there & m].mean() - (s >= c)[there & ~m].mean() for c in every]
        assert np.isclose(gain[int(np.flatnonzero(every == best[t])[0])], max(gain))
        for level, cut in zip((0.0, 0.1), cuts[:, t], strict=True):
            assert (s >= cut)[there & ~m].mean() <= level
            lower = [c for c in every if c < cut]
            assert not lower or (s >= lower[0])[there & ~m].mean() > level or np.isinf(cut)
