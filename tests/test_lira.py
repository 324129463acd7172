"""LiRA against a refit in float64 NumPy, written another way: plain loops over targets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxmia import design, metrics
from jaxmia.attacks import lira

RNG = np.random.default_rng(0)


def draw(M=20, N=30, Q=2, seed=0, member=None):
    rng = np.random.default_rng(seed)
    member = design.poisson(0.5)(seed, M, N) if member is None else member
    phi = rng.normal(size=(*member.shape, Q)) * rng.gamma(2, 1, (1, member.shape[1], Q)) + 3
    phi += member[..., None] * rng.gamma(1, 1, (1, member.shape[1], 1))
    phi[rng.random(phi.shape) < 0.02] += 500  # outliers, where careless downdating fails
    return phi.astype(np.float32), member


def oracle(phi_t, phi, member, mode, variance, centre):
    """One target against its references, example by example."""
    phi_t, phi = phi_t.astype(np.float64), phi.astype(np.float64)
    middle = {"mean": np.mean, "median": np.median}[centre]
    N, Q = phi_t.shape
    sides = {}
    for name, side in (("in", member), ("out", ~member)):
        cells = [[phi[side[:, j], j, q] for q in range(Q)] for j in range(N)]
        residuals = np.concatenate([c - c.mean() for row in cells for c in row if len(c)])
        pooled = np.sqrt(np.mean(residuals**2))
        mean = np.array([[middle(c) if len(c) else np.nan for c in row] for row in cells])
        own = np.array([[c.std() if len(c) else np.nan for c in row] for row in cells])
        sides[name] = mean, np.full_like(own, pooled) if variance == "global" else own
    (mu_in, s_in), (mu_out, s_out) = sides["in"], sides["out"]
    if mode == "online":
        law = stats.norm.logpdf
        return (law(phi_t, mu_in, s_in) - law(phi_t, mu_out, s_out)).mean(1)
    return -stats.norm.logsf((phi_t - mu_out) / s_out).mean(1)


def usable(member, keep, mode, least):
    enough = (~member[keep]).sum(0) >= least
    return enough & (member[keep].sum(0) >= least) if mode == "online" else enough


@pytest.mark.parametrize("mode", lira.MODES)
@pytest.mark.parametrize("variance", ["per_example", "global"])
@pytest.mark.parametrize("centre", lira.CENTRES)
def test_equals_a_refit(mode, variance, centre):
    phi, member = draw()
    scores = lira.leave_one_out(phi, member, mode, "none", variance, centre)
    least = 1 if variance == "global" else 2
    for t in range(len(phi)):
        keep = np.arange(len(phi)) != t
        ok = usable(member, keep, mode, least)
        want = oracle(phi[t], phi[keep], member[keep], mode, variance, centre)
        np.testing.assert_allclose(scores[t, ok], want[ok], rtol=1e-5, atol=1e-8)
        assert np.isnan(scores[t, ~ok]).all()
        given_target = getattr(lira, mode)(phi[t], phi[keep], member[keep], variance, centre)
        np.testing.assert_allclose(scores[t], given_target, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", [1e4, 1e8, 1e30])
@pytest.mark.parametrize("centre", lira.CENTRES)
@pytest.mark.parametrize("kind", ["none", "pair"])
def test_a_target_of_any_size_is_held_against_all_digits_of_the_rest(size, centre, kind):
    member = design.complementary_halves(0, 16, 12)
    phi = np.random.default_rng(1).normal(3, 1, member.shape) + member
    for t, j in ((4, 3), (4, 5), (9, 5), (11, 7)):
        phi[t, j] = size * (1 if t != 9 else -1)
    pairs = np.arange(16) // 2
    scores = lira.leave_one_out(phi, member, "online", kind, "per_example", centre, pairs=pairs)
    for t in range(16):
        keep = (pairs != pairs[t]) if kind == "pair" else np.arange(16) != t
        want = lira.online(phi[t], phi[keep], member[keep], "per_example", centre)
        np.testing.assert_allclose(scores[t], want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("mode", lira.MODES)
@pytest.mark.parametrize("centre", lira.CENTRES)
def test_leaves_partners_out_together(mode, centre):
    phi, member = draw(member=design.complementary_halves(3, 12, 25))
    scores = lira.leave_one_out(phi, member, mode, "auto", "per_example", centre)
    for t in range(len(phi)):
        keep = ~np.isin(np.arange(12), (t, t ^ 1))
        want = oracle(phi[t], phi[keep], member[keep], mode, "per_example", centre)
        np.testing.assert_allclose(scores[t], want, rtol=1e-5, atol=1e-8)
    shuffle = RNG.permutation(
        12
    )  # partners are found by `pairs` when they no longer stand together
    pairs = (np.arange(12) // 2)[shuffle]
    other = lira.leave_one_out(
        phi[shuffle], member[shuffle], mode, "auto", "per_example", centre, pairs=pairs
    )
    np.testing.assert_allclose(other, scores[shuffle], rtol=1e-6, atol=1e-9)


def test_balanced_columns_leave_one_of_the_opposite_side():
    phi, member = draw(M=16, N=40, Q=1, member=design.balanced_columns(0.5)(0, 16, 40))
    scores = lira.leave_one_out(phi, member, "online", "auto", "per_example")
    for t in range(0, 16, 5):
        for j in range(0, 40, 7):
            opposite = np.flatnonzero(member[:, j] != member[t, j])
            choices = []
            for r in opposite:
                keep = ~np.isin(np.arange(16), (t, r))
                one = oracle(
                    phi[t, j : j + 1], phi[keep, j : j + 1], member[keep, j : j + 1],
                    "online", "per_example", "mean",
                )  # fmt: skip
                choices.append(one[0])
            assert np.isclose(choices, scores[t, j], rtol=1e-5, atol=1e-8).sum() >= 1


def official_oracle(phi_t, phi, member, mode, fixed):
    """As the published script does it: lists per example, cut to the shortest."""
    inside = [phi[member[:, j], j] for j in range(phi.shape[1])]
    outside = [phi[~member[:, j], j] for j in range(phi.shape[1])]
    n_in, n_out = min(map(len, inside)), min(map(len, outside))
    dat_in = np.array([c[:n_in] for c in inside], np.float64)
    dat_out = np.array([c[:n_out] for c in outside], np.float64)
    mean_in, mean_out = np.median(dat_in, 1), np.median(dat_out, 1)
    if fixed:
        std_in = std_out = np.std(dat_in) if mode == "online" else np.std(dat_out)
    else:
        std_in, std_out = np.std(dat_in, 1), np.std(dat_out, 1)
    p_in = stats.norm.logpdf(phi_t, mean_in, std_in + 1e-30)
    p_out = stats.norm.logpdf(phi_t, mean_out, std_out + 1e-30)
    return (p_in - p_out).mean(1) if mode == "online" else -p_out.mean(1)


@pytest.mark.parametrize("mode", lira.MODES)
@pytest.mark.parametrize("variance", ["per_example", "global"])
def test_official_convention_number_for_number(mode, variance):
    phi, member = draw(M=15, N=20)
    member[:6] = [[True], [False]] * 3  # enough of both on every example
    scores = lira.leave_one_out(phi, member, mode, "none", variance, "median", "official")
    for t in range(15):
        keep = np.arange(15) != t
        want = official_oracle(
            phi[t].astype(float), phi[keep], member[keep], mode, variance == "global"
        )
        np.testing.assert_allclose(scores[t], want, rtol=1e-6)


def test_student_t_equals_a_refit():
    phi, member = draw(M=14, N=60, Q=1, member=design.complementary_halves(1, 14, 60))
    scores = lira.leave_one_out(phi, member, "online", variance="student_t")
    off = lira.leave_one_out(phi, member, "offline", variance="student_t")
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    for t in (0, 5, 13):
        keep = ~np.isin(np.arange(14), (t, t ^ 1))
        total = 0.0
        for sign, side in ((1, member[keep]), (-1, ~member[keep])):
            cells = [phi[keep][side[:, j], j, 0].astype(float) for j in range(60)]
            n = np.array([len(c) for c in cells])
            mean, v = np.array([c.mean() for c in cells]), np.array([c.var() for c in cells])
            u = n * v / (n - 1)
            e = np.log(u) - digamma((n - 1) / 2) + np.log((n - 1) / 2)
            gap = e.var() - polygamma(1, (n - 1) / 2).mean()
            assert gap > 0
            nu0 = 2 * brentq(lambda x, gap=gap: polygamma(1, x) - gap, 1e-3, 1e6)
            s0 = np.exp(e.mean() + digamma(nu0 / 2) - np.log(nu0 / 2))
            nu = nu0 + n - 1
            scale = np.sqrt((nu0 * s0 + n * v) / nu * (1 + 1 / n))
            law = stats.t(nu, mean, scale)
            total = total + sign * law.logpdf(phi[t, :, 0].astype(float))
            tail = -law.logsf(phi[t, :, 0].astype(float))
        np.testing.assert_allclose(scores[t], total, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(off[t], tail, rtol=1e-4, atol=1e-7)


def test_gaussians_give_the_auc_of_theory():
    rng, N, d = np.random.default_rng(1), 4000, 1.0
    member = design.complementary_halves(0, 130, N)
    phi = rng.normal(size=member.shape) + d * member
    for mode in lira.MODES:
        score = lira.leave_one_out(phi, member, mode, variance="global")[:10]
        area = metrics.auc(score, member[:10])
        assert abs(area - stats.norm.cdf(d / np.sqrt(2))) < 0.008
    two_sided = lira.leave_one_out(phi, member, "offline", variance="per_example", centre="median",
                                   convention="official")[:10]  # fmt: skip
    one = stats.norm.cdf(d / np.sqrt(2))
    assert abs(metrics.auc(two_sided, member[:10]) - (one**2 + (1 - one) ** 2)) < 0.02


VARIANTS = [(m, v) for m in lira.MODES for v in ("per_example", "global", "student_t")]


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), variance=st.sampled_from(["per_example", "global", "student_t"]))
def test_order_of_examples_and_models_means_nothing(seed, variance):
    phi, member = draw(M=12, N=15, seed=seed)
    rng = np.random.default_rng(seed)
    models, examples = rng.permutation(12), rng.permutation(15)
    want = lira.leave_one_out(phi, member, balance="none", variance=variance)
    scores = lira.leave_one_out(
        phi[models][:, examples], member[models][:, examples], balance="none", variance=variance
    )
    np.testing.assert_allclose(scores, want[models][:, examples], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("mode", "variance"), VARIANTS)
def test_degenerate_input(mode, variance):
    phi, member = draw(M=10, N=12, member=design.complementary_halves(0, 10, 12))
    phi[:, 0] = 7.25  # constant
    phi[:, 1] = np.where(member[:, 1], 4, -4)[:, None]  # no deviation on either side
    phi[3] = np.nan  # a diverged model
    score = lira.leave_one_out(phi, member, mode, variance=variance)
    assert np.isnan(score[3]).all()
    rest = np.delete(score, 3, axis=0)
    assert np.isfinite(rest).all()
    if variance == "per_example":
        assert np.ptp(rest[:, 0]) < 1e-6
        inside = np.delete(member[:, 1], 3)
        assert rest[inside, 1].min() > rest[~inside, 1].max()


def test_too_few_references_are_not_scored():
    member = np.zeros((6, 3), bool)
    member[:2, 1] = member[:4, 2] = True  # never in; in two; in four
    score = lira.leave_one_out(
        RNG.normal(size=(6, 3)), member, balance="none", variance="per_example"
    )
    assert np.isnan(score[:, 0]).all()
    assert np.isnan(score[:2, 1]).all() and np.isfinite(score[2:, 1]).all()
    assert np.isfinite(score[:4, 2]).all() and np.isnan(score[4:, 2]).all()


def test_one_sided_offline_never_ties():
    z = np.linspace(-80, 80, 4001)
    tail = lira.upper_tail(z)
    assert np.isfinite(tail).all() and (np.diff(tail) > 0).all()


def test_posterior_is_calibrated_and_refuses_offline_scores():
    rng = np.random.default_rng(3)
    member = design.complementary_halves(0, 130, 1500)
    shared = rng.normal(size=(130, 1500, 1))
    phi = 0.8 * shared + 0.6 * rng.normal(size=(130, 1500, 9)) + 1.0 * member[..., None]
    score = lira.leave_one_out(phi, member)
    fitted = lira.fit_calibration(score[:65], member[:65])
    posterior = lira.posterior(score[65:], 0.5, fitted)
    for low in (0.2, 0.4, 0.6, 0.8):
        band = (posterior > low) & (posterior < low + 0.1)
        assert abs(member[65:][band].mean() - posterior[band].mean()) < 0.03
    assert np.all(lira.posterior(score[:2], 0.1, fitted) < lira.posterior(score[:2], 0.5, fitted))
    with pytest.raises(ValueError, match="no log-ratios"):
        lira.posterior(lira.leave_one_out(phi, member, "offline"))
    with pytest.raises(ValueError, match=r"prior=1\.0"):
        lira.posterior(score, 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variance": "both"}, "variance='both'"),
        ({"centre": "mode"}, "centre='mode'"),
        ({"mode": "on"}, "mode='on'"),
        ({"balance": "half"}, "balance='half'"),
        ({"balance": "pair"}, "no complements"),
        ({"convention": "official", "variance": "student_t"}, "student_t"),
        ({"pairs": np.zeros(20, int)}, "more than two"),
    ],
)
def test_refuses(change, words):
    phi, member = draw()
    with pytest.raises(ValueError, match=words):
        lira.leave_one_out(phi, member, **change)


def test_refuses_shapes(as_users_run):
    phi, member = draw()
    with pytest.raises(ValueError, match="member: has shape"):
        lira.leave_one_out(phi, member[:, :-1])
    with pytest.raises(ValueError, match="target: has shape"):
        lira.online(phi[0, :-1], phi[1:], member[1:])
