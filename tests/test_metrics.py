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
    curve = metrics.roc(score, member)
    np.testing.assert_allclose(curve.fpr, fpr)
    np.testing.assert_allclose(curve.tpr, tpr)
    assert np.isclose(metrics.auc(score, member), roc_auc_score(member, score))
    assert np.isclose(metrics.advantage(score, member), (tpr - fpr).max())
    for alpha in (0.0, 0.01, 0.1, 1.0):
        assert metrics.tpr_at_fpr(score, member, alpha) == tpr[fpr <= alpha].max()
    figures = metrics.figures(score, member, [0.01, 0.1])
    assert np.isclose(figures.auc, metrics.auc(score, member))
    assert np.isclose(figures.balanced_accuracy, metrics.balanced_accuracy(score, member))
    np.testing.assert_allclose(figures.tpr_at_fpr, metrics.tpr_at_fpr(score, member, [0.01, 0.1]))


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


def test_precision_at_a_prior():
    assert np.isclose(metrics.precision(0.1, 0.001, 0.5), 0.1 / 0.101)
    assert np.isclose(metrics.precision(0.1, 0.001, 0.01), 0.001 / (0.001 + 0.00099))
    with pytest.raises(ValueError, match=r"prior=0\.0"):
        metrics.precision(0.1, 0.1, 0.0)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), ties=st.booleans(), holes=st.booleans())
def test_many_targets_equal_each_alone(seed, ties, holes):
    rng = np.random.default_rng(seed)
    member = rng.random((5, 80)) < 0.4
    score = rng.normal(size=(5, 80)) + member
    score = np.round(score) if ties else score
    score[0, :3] = -np.inf, np.inf, -np.inf
    if holes:
        score[rng.random((5, 80)) < 0.2] = np.nan
    member[4] = True
    levels = [0.0, 0.01, 0.1, 1.0]
    figures = metrics.figures_per_target(score, member, levels)
    for t in range(4):
        want = metrics.figures(score[t], member[t], levels)
        assert np.isclose(figures.auc[t], want.auc, rtol=1e-12)
        assert np.isclose(figures.balanced_accuracy[t], want.balanced_accuracy, rtol=1e-12)
        np.testing.assert_array_equal(figures.tpr_at_fpr[t], want.tpr_at_fpr)
    assert np.isnan(figures.auc[4]) and np.isnan(figures.tpr_at_fpr[4]).all()


def resampled(score, member, level, rng, draws=2000):
    """The bootstrap by its definition: examples drawn with replacement, figures anew."""
    score, member = np.atleast_2d(score, member)
    groups = [np.arange(score.shape[1])]
    if len(score) == 1:
        groups = [np.flatnonzero(member[0]), np.flatnonzero(~member[0])]
    figures, curve = [], metrics.roc(score, member)
    cut = curve.threshold[np.argmax(curve.tpr - curve.fpr)]
    for _ in range(draws):
        at = np.concatenate([rng.choice(g, len(g)) for g in groups])
        s, m = score[:, at], member[:, at]
        called = s >= cut
        right = (called[m].mean() + 1 - called[~m].mean()) / 2
        figures.append([metrics.auc(s, m), metrics.tpr_at_fpr(s, m, level), right])
    return np.array(figures)


@pytest.mark.parametrize("targets", [1, 6])
def test_the_bootstrap_is_that_of_drawing_examples(targets):
    rng = np.random.default_rng(3)
    member = rng.random((targets, 400)) < 0.5
    score = rng.normal(size=(targets, 400)) + member + rng.normal(size=400)
    score[0, 7] = np.nan
    sample = resampled(score, member, 0.05, rng)
    intervals = metrics.bootstrap(score, member, [0.05], kind="percentile", draws=2000)
    want = np.quantile(sample, [0.025, 0.975], axis=0)
    for i, ours in ((0, intervals.auc), (2, intervals.balanced_accuracy)):
        np.testing.assert_allclose(ours, want[:, i], atol=0.15 * np.ptp(want[:, i]))
    np.testing.assert_allclose(intervals.tpr_at_fpr[0], want[:, 1], atol=0.15 * np.ptp(want[:, 1]))


def test_bca_equals_scipy():
    """Against `scipy.stats.bootstrap`, two samples, whose jackknife and draws are its own."""
    score, member = draw(5, 120)
    inside, outside = score[member], score[~member]

    def area(a, b):
        return metrics.auc(np.append(a, b), np.arange(len(a) + len(b)) < len(a))

    def rate(a, b):
        cut = np.sort(b)[::-1][int(0.1 * len(b))]
        return (a > cut).mean()

    intervals = metrics.bootstrap(score, member, [0.1], draws=20_000)
    for statistic, ours in ((area, intervals.auc), (rate, intervals.tpr_at_fpr[0])):
        want = stats.bootstrap(
            (inside, outside), statistic, vectorized=False, n_resamples=2000, method="BCa",
            rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        np.testing.assert_allclose(ours, want, atol=0.1 * (want.high - want.low))


def test_the_bootstrap_per_target_is_each_targets_own():
    rng = np.random.default_rng(8)
    member = rng.random((3, 900)) < 0.5
    member[2] = False
    score = rng.normal(size=(3, 900)) + np.array([[0.5], [2.0], [1.0]]) * member
    intervals = metrics.bootstrap_per_target(score, member, [0.01, 0.1])
    assert np.isnan(intervals.auc[2]).all() and np.isnan(intervals.tpr_at_fpr[2]).all()
    for t in range(2):
        near = metrics.auc_interval(score[t], member[t])
        np.testing.assert_allclose(intervals.auc[t], near, atol=0.2 * (near[1] - near[0]))
        for i, level in enumerate((0.01, 0.1)):
            low, high = intervals.tpr_at_fpr[t, i]
            assert low <= metrics.tpr_at_fpr(score[t], member[t], level) <= high


def covered(draws, each=200, seed=0):
    """How often BCa intervals hold the truth: Gaussian scores, targets sharing their examples."""
    rng, inside = np.random.default_rng(seed), np.zeros(3)
    truth = stats.norm.cdf(1 / np.sqrt(2)), stats.norm.sf(stats.norm.isf(0.1) - 1)
    shared = stats.norm.cdf(1 / np.sqrt(2 * 1.5)), None
    for _ in range(draws):
        member = np.arange(2 * each) % 2 == 0
        score = rng.normal(size=2 * each) + member
        intervals = metrics.bootstrap(score, member, [0.1], draws=400)
        inside[0] += intervals.auc[0] <= truth[0] <= intervals.auc[1]
        inside[1] += intervals.tpr_at_fpr[0, 0] <= truth[1] <= intervals.tpr_at_fpr[0, 1]
        member = np.stack([member, ~member] * 4)
        score = rng.normal(size=member.shape) + member + np.sqrt(0.5) * rng.normal(size=2 * each)
        intervals = metrics.bootstrap(score, member, [], draws=400)
        inside[2] += intervals.auc[0] <= shared[0] <= intervals.auc[1]
    return inside / draws


def test_bca_covers():
    assert (covered(150) >= stats.binom.ppf(1e-3, 150, 0.93) / 150).all()


@pytest.mark.soak
def test_bca_covers_in_two_thousand_draws():
    rates = covered(2000)
    print(rates)
    assert (rates >= stats.binom.ppf(1e-3, 2000, 0.94) / 2000).all(), rates


def test_what_a_rate_means_of_few_non_members():
    assert metrics.in_words(1e-5, 25_000).endswith("means no false positive at all")
    assert "at most 3 false positives: the threshold depends on few" in metrics.in_words(1e-3, 3500)
    assert metrics.in_words(0.01, 25_000).endswith("at most 250 false positives")
    for n in (1, 7, 29, 1000, 92_032):
        for fpr in (0.0, 1e-3, 0.01, 0.07, 0.29, 1.0):
            k = metrics.allowed(fpr, n)
            assert k / n <= fpr and (k == n or (k + 1) / n > fpr)


def test_bootstrap_refuses():
    score, member = draw(0)
    with pytest.raises(ValueError, match="kind='bc'"):
        metrics.bootstrap(score, member, kind="bc")
    with pytest.raises(ValueError, match="confidence=1"):
        metrics.bootstrap(score, member, confidence=1.0)
    with pytest.raises(ValueError, match="no members"):
        metrics.bootstrap(score, np.zeros_like(member))
