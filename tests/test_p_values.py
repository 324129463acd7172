"""P-values under each example's own OUT law, against SciPy example by example, and known truths."""

import numpy as np
import pytest
from scipy import optimize, special, stats

from jaxmia import design
from jaxmia.attacks import lira
from jaxmia.attacks.by_example import Inputs, every_model
from jaxmia.attacks.p_values import KINDS, by_chunk, p_values
from jaxmia.attacks.references import leave_out

M, N = 14, 60


def draw(seed=0, Q=1):
    rng = np.random.default_rng(seed)
    member = design.complementary_halves(1, M, N)
    spread = rng.gamma(2, 1, (2, 1, N, 1))
    phi = rng.normal(size=(M, N, Q)) * np.where(member[..., None], *spread)
    return phi + member[..., None] * rng.normal(1, 1, (1, N, 1)), member


def job(phi, member):
    return every_model(phi, member, leave_out(member))


def law(cells):
    """Every example's predictive Student-t, the prior by moments of its own (Smyth 2004)."""
    n, mean = (np.array([f(c) for c in cells]) for f in (len, np.mean))
    squares = np.array([((c - c.mean()) ** 2).sum() for c in cells])
    half = (n - 1) / 2
    e = np.log(squares / (n - 1)) - special.digamma(half) + np.log(half)
    gap = e.var() - special.polygamma(1, half).mean()
    assert gap > 0
    half0 = optimize.brentq(lambda x: special.polygamma(1, x) - gap, 1e-3, 1e6)
    s0 = np.exp(e.mean() + special.digamma(half0) - np.log(half0))
    nu = 2 * half0 + n - 1
    return nu, mean, np.sqrt((2 * half0 * s0 + squares) / nu * (1 + 1 / n))


def ratio_test(x, inside, outside):
    """P(the log-ratio of the normals is as large), by the roots of its quadratic."""
    (_, mu, s), (nu, m, r) = inside, outside

    def log_ratio(y):
        return stats.norm.logpdf(y, mu, s) - stats.norm.logpdf(y, m, r)

    a, b = 1 / r**2 - 1 / s**2, 2 * (mu / s**2 - m / r**2)
    other = -b / a - x  # the two roots of a y^2 + b y + c = 0 sum to -b / a
    assert log_ratio(other) == pytest.approx(log_ratio(x), abs=1e-6)
    low, high = sorted((x, other))
    f = stats.t(nu, m, r).cdf
    pieces = {-np.inf: f(low), low: f(high) - f(low), high: 1 - f(high)}
    middles = (low - 1, (low + high) / 2, high + 1)
    return sum(
        p for p, y in zip(pieces.values(), middles, strict=True) if log_ratio(y) > log_ratio(x)
    )


@pytest.mark.parametrize("Q", [1, 3])
def test_equal_a_refit_of_every_target(Q):
    phi, member = draw(Q=Q)
    upper, ratio = (p_values(job(phi, member), kind) for kind in KINDS)
    mean, kinds = phi.mean(-1), set()
    for t in (0, 5, 13):
        keep = ~np.isin(np.arange(M), (t, t ^ 1))
        of = mean[keep]
        sides = [
            np.stack(law([of[side[keep][:, j], j] for j in range(N)])) for side in (member, ~member)
        ]
        for j in range(N):
            x, inside, outside = mean[t, j], sides[0][:, j], sides[1][:, j]
            nu, m, s = outside
            assert upper[t, j] == pytest.approx(stats.t.sf((x - m) / s, nu), rel=1e-6, abs=1e-9)
            want = ratio_test(x, inside, outside)
            assert ratio[t, j] == pytest.approx(want, rel=1e-5, abs=1e-9)
            kinds.add(bool(inside[2] < s))
    assert kinds == {True, False}  # the set lies between the roots for some, and beyond for others


def test_the_upper_one_is_what_lira_offline_scores():
    phi, member = draw()
    score = lira.leave_one_out(phi, member, "offline", variance="student_t")
    np.testing.assert_allclose(p_values(job(phi, member), "upper"), np.exp(-score), rtol=1e-9)


def test_far_tails_keep_their_digits():
    phi, member = draw()
    phi[0, 0], phi[1, 1] = 400, -400
    p = p_values(job(phi, member), "upper")
    score = lira.leave_one_out(phi, member, "offline", variance="student_t")
    assert p[0, 0] == pytest.approx(np.exp(-score[0, 0]), rel=1e-9) and 0 < p[0, 0] < 1e-9
    assert p[1, 1] > 1 - 1e-9


def population(delta, width, R=150, T=200, N=400, seed=0):
    """Targets beside R references of either side; all laws normal, as said, about own means."""
    rng = np.random.default_rng(seed)
    centre, s = rng.normal(5, 3, N), rng.gamma(4, 0.25, N)
    truth = rng.random((T, N)) < 0.5
    member = np.repeat([True, False], R)[:, None] & np.ones(N, bool)

    def phi(inside):
        noise = rng.normal(size=inside.shape)
        return centre + s * np.where(inside, delta + width * noise, noise)

    target, reference = phi(truth)[..., None], phi(member)[..., None]
    return Inputs(target, reference, member, None), truth


def power(delta, width, kind, alpha):
    """How often a member is called, by the theory of normals whose laws are known."""
    if kind == "upper" or width == 1:
        return stats.norm.sf((stats.norm.isf(alpha) - delta) / width)
    middle = delta / (1 - width**2)  # of the parabola; narrower IN laws: within a distance of it
    assert width < 1
    inner = optimize.brentq(
        lambda d: stats.norm.cdf(middle + d) - stats.norm.cdf(middle - d) - alpha, 0, 50
    )
    ends = (np.array([middle - inner, middle + inner]) - delta) / width
    return float(np.diff(stats.norm.cdf(ends))[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("delta", "width"), [(2.0, 1.0), (1.5, 0.4)])
def test_everybody_has_the_same_false_positive_rate_and_the_power_of_theory(kind, delta, width):
    work, truth = population(delta, width)
    p = p_values(work, kind)
    # uniform for those who are no members, of every example
    apart = [stats.kstest(p[~truth[:, j], j], "uniform").pvalue for j in range(p.shape[1])]
    assert np.mean(np.array(apart) < 0.01) < 0.04
    for alpha in (0.1, 0.01):
        rate = (p <= alpha)[~truth].mean()
        assert rate == pytest.approx(alpha, rel=0.12)
        want = power(delta, width, kind, alpha)
        assert (p <= alpha)[truth].mean() == pytest.approx(want, abs=0.02)


DESIGNS = {
    "halves": design.complementary_halves,
    "poisson": design.poisson(0.5),
    "balanced": design.balanced_columns(0.5),
    "fixed": lambda seed, M, N: design.fixed_size(N // 2)(seed, M, N),
}


@pytest.mark.parametrize("models", [8, 16])
@pytest.mark.parametrize("name", DESIGNS)
def test_noise_is_called_as_often_as_is_said_whether_or_not_a_member(name, models):
    size = 8000
    rng = np.random.default_rng(models)
    member = DESIGNS[name](0, models, size)
    phi = rng.normal(size=member.shape) * rng.gamma(4, 0.25, size) + rng.normal(3, 3, size)
    for kind in KINDS:
        p = p_values(job(phi[..., None], member), kind)
        fine = ~np.isnan(p)
        assert fine.mean() > 0.97
        for alpha in (0.1, 0.01):
            rates = [(p <= alpha)[side & fine].mean() for side in (member, ~member)]
            n = size * models / 2
            slack = 5 * np.sqrt(alpha / n)
            assert abs(rates[0] - rates[1]) < 2 * slack, (kind, rates)
            if kind == "upper":
                assert rates[1] == pytest.approx(alpha, abs=slack + 0.1 * alpha)


def test_what_is_missing_and_what_is_all_the_same():
    phi, member = draw()
    phi[3, 4] = np.nan
    phi[:, 7] = 2.0
    member = member.copy()
    member[:, 9] = False  # nobody was trained on it
    for kind in KINDS:
        p = p_values(job(phi, member), kind)
        assert np.isnan(p[3, 4])
        assert (p[:, 7] >= 0.4).all()
        assert np.isnan(p[:, 9]).all() == (kind == "ratio")
        rest = np.delete(p, [7, 9], 1)
        assert ((rest >= 0) & (rest <= 1) | np.isnan(rest)).all() and np.isnan(rest).sum() == 1


def test_a_wrong_kind_is_named():
    with pytest.raises(ValueError, match="kind='lower' is not one of"):
        by_chunk(job(*draw()), ("lower",), lambda at, p: None)
