import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from jaxmia import metrics


def draw(seed, n=200, ties=False):
    rng = np.random.default_rng(seed)
    member = rng.random(n) < 0.4
    member[:2] = True, False
    score = rng.normal(size=n) + member
    return (np.round(score) if ties else score), member


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_equal_scikit_learn(seed, ties):
    score, member = draw(seed, ties=ties)
    fpr, tpr, _ = roc_curve(member, score, drop_intermediate=False)
    got = metrics.roc(score, member)
    np.testing.assert_allclose(got.fpr, fpr)
    np.testing.assert_allclose(got.tpr, tpr)
    assert np.isclose(metrics.auc(score, member), roc_auc_score(member, score))
    assert np.isclose(metrics.advantage(score, member), (tpr - fpr).max())
    for alpha in (0.0, 0.01, 0.1, 1.0):
        assert metrics.tpr_at_fpr(score, member, alpha) == tpr[fpr <= alpha].max()
    found = metrics.figures(score, member, [0.01, 0.1])
    assert np.isclose(found.auc, metrics.auc(score, member))
    assert np.isclose(found.balanced_accuracy, metrics.balanced_accuracy(score, member))
    np.testing.assert_allclose(found.tpr_at_fpr, metrics.tpr_at_fpr(score, member, [0.01, 0.1]))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_only_the_order_counts(seed):
    score, member = draw(seed)
    other = np.exp(score / 3)
    assert metrics.auc(score, member) == metrics.auc(other, member)
    assert metrics.tpr_at_fpr(score, member, 0.05) == metrics.tpr_at_fpr(other, member, 0.05)


def test_all_ties_are_one_point():
    member = np.arange(10) < 5
    assert metrics.auc(np.zeros(10), member) == 0.5
    assert metrics.tpr_at_fpr(np.zeros(10), member, 0.5) == 0.0
    assert len(metrics.roc(np.zeros(10), member).fpr) == 2


def test_a_circular_roc_has_area_pi_over_four():
    n = 4000
    x = (np.arange(n) + 0.5) / n  # non-members' scores fall evenly; members' along the circle
    members = -(1 - np.sqrt(1 - x**2))
    score = np.concatenate([members, -x])
    member = np.arange(2 * n) < n
    assert abs(metrics.auc(score, member) - np.pi / 4) < 1e-3


def test_threshold_really_gives_the_rate():
    score, member = draw(0, 5000)
    for alpha in (0.001, 0.03):
        at = metrics.threshold_at_fpr(score, member, alpha)
        called = score >= at
        assert called[~member].mean() <= alpha
        assert called[member].mean() == metrics.tpr_at_fpr(score, member, alpha)


def test_what_cannot_be_scored_is_left_out():
    score, member = draw(1)
    hole = score.copy()
    hole[10:20] = np.nan
    keep = ~np.isnan(hole)
    assert metrics.auc(hole, member) == metrics.auc(score[keep], member[keep])
    both = metrics.per_target(metrics.auc, np.stack([hole, score]), np.stack([member, member]))
    assert both[0] == metrics.auc(hole, member) and both[1] == metrics.auc(score, member)


@pytest.mark.parametrize(
    ("score", "member", "words"),
    [
        (np.zeros(3), np.ones(3, bool), "no non-members"),
        (np.zeros(3), np.zeros(3, bool), "no members"),
        (np.full(3, np.nan), np.ones(3, bool), "no members"),
        (np.zeros(3), np.array([0, 1, 2]), "other than 0 and 1"),
        (np.zeros(3), np.zeros(4, bool), "has shape"),
    ],
)
def test_refuses(score, member, words, as_users_run):
    with pytest.raises(ValueError, match=words):
        metrics.auc(score, member)


def test_clopper_pearson_equals_scipy():
    for hits, trials in ((0, 10), (3, 10), (10, 10), (50, 1000)):
        want = stats.binomtest(hits, trials).proportion_ci(0.95, "exact")
        low, high = metrics.clopper_pearson(hits, trials)
        assert np.isclose(low, want.low) and np.isclose(high, want.high)


def test_intervals_cover():
    rng = np.random.default_rng(0)
    truth = stats.norm.cdf(1 / np.sqrt(2))
    inside = 0
    for _ in range(200):
        member = np.arange(300) < 150
        low, high = metrics.auc_interval(rng.normal(size=300) + member, member)
        inside += low <= truth <= high
    assert inside >= stats.binom.ppf(0.001, 200, 0.95)
    score, member = draw(4, 400)
    low, high = metrics.bootstrap_interval(metrics.auc, score, member, draws=400)
    near = metrics.auc_interval(score, member)
    assert abs(low - near[0]) < 0.02 and abs(high - near[1]) < 0.02


def test_precision_at_a_prior():
    assert np.isclose(metrics.precision(0.1, 0.001, 0.5), 0.1 / 0.101)
    assert np.isclose(metrics.precision(0.1, 0.001, 0.01), 0.001 / (0.001 + 0.00099))
    with pytest.raises(ValueError, match=r"prior=0\.0"):
        metrics.precision(0.1, 0.1, 0.0)
