"""Bounds against their definitions and reference values; lower bounds against simulation."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, norm

from jaxmia import metrics, privacy

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (1.0, 0.0), (2.0, 0.05)])
def test_the_roc_of_the_most_leaky_mechanism_lies_on_the_bound(epsilon, delta):
    # with delta tell the truth; else answer rightly with probability e^eps / (1 + e^eps)
    right = np.exp(epsilon) / (1 + np.exp(epsilon))
    tpr, fpr = delta + (1 - delta) * right, (1 - delta) * (1 - right)
    assert np.isclose(privacy.tpr_bound(fpr, epsilon, delta), tpr)
    assert np.isclose(privacy.tpr_bound(0.0, epsilon, delta), delta)
    grid = np.linspace(0, 1, 101)
    bound = privacy.tpr_bound(grid, epsilon, delta)
    assert (np.diff(bound) >= 0).all() and (bound >= grid - 1e-12).all() and bound[-1] == 1


def test_gaussian_privacy_by_integration():
    for mu in (0.5, 1.0, 2.0):
        for epsilon in (0.0, 0.7, 2.0):
            want = quad(
                lambda x, mu=mu, e=epsilon: max(0.0, norm.pdf(x, mu) - np.exp(e) * norm.pdf(x)),
                -12, 14, limit=500, points=[mu / 2 + epsilon / mu],
            )[0]  # fmt: skip
            got = float(privacy.gaussian_delta(epsilon, mu))
            assert np.isclose(got, want, rtol=1e-6, atol=1e-12)
            assert np.isclose(privacy.gaussian_epsilon(got, mu), epsilon, atol=1e-9)
        x = RNG.normal(size=200_000)
        assert abs((x + mu > 1.5).mean() - privacy.gaussian_tpr_bound((x > 1.5).mean(), mu)) < 5e-3
    assert privacy.gaussian_delta(1.0, 0.0) == 0


def test_posteriors_of_membership_privacy():
    assert np.isclose(privacy.posterior_allowed(1.25, 0.8), 0.84)
    assert np.isclose(privacy.posterior_allowed(1.25, 0.2), 0.25)
    epsilon = 1.3
    for p in (0.01, 0.3, 0.9):
        odds = np.exp(epsilon) * p / (1 - p)
        assert np.isclose(privacy.posterior_bound(epsilon, p), odds / (1 + odds))
        gamma = float(privacy.membership_gamma(epsilon, p))
        assert np.isclose(privacy.posterior_allowed(gamma, p), privacy.posterior_bound(epsilon, p))
    assert np.isclose(privacy.membership_gamma(epsilon, 0.5), (1 + np.exp(epsilon)) / 2)
    priors = np.linspace(1e-6, 1 - 1e-6, 10_001)
    assert np.isclose(privacy.membership_gamma(epsilon, priors).max(), np.exp(epsilon), rtol=1e-4)
    assert np.isclose(privacy.identifiability_bound(np.log(3), 4), 0.5)
    assert np.isclose(privacy.identifiability_bound(2.0, 2), privacy.posterior_bound(2.0, 0.5))


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "epsilon"),
    [(1000, 100, 90, 1.626), (1000, 50, 50, 2.756), (1000, 1000, 600, 0.297)],
)
def test_one_run_reference_values(canaries, guesses, correct, epsilon):
    assert abs(privacy.epsilon_one_run(canaries, guesses, correct, 1e-5) - epsilon) < 1e-3


def test_one_run_without_delta_is_a_binomial_test():
    got = privacy.epsilon_one_run(200, 80, 66, 0.0)
    q = 1 / (1 + np.exp(-got))
    assert np.isclose(binom.sf(65, 80, q), 0.05, rtol=1e-6)
    assert privacy.epsilon_one_run(200, 80, 40, 0.0) == 0 == privacy.epsilon_one_run(10, 0, 0, 0.1)


def test_an_events_bound_is_that_of_its_clopper_pearson_ends():
    event = privacy.Event(90, 100, 5, 100)
    tpr = metrics.clopper_pearson(90, 100, 0.95)[0]
    fpr = metrics.clopper_pearson(5, 100, 0.95)[1]
    want = max(np.log((tpr - 0.01) / fpr), np.log((1 - fpr - 0.01) / (1 - tpr)))
    assert np.isclose(privacy.epsilon_of_event(event, 0.01), want)
    assert np.isclose(privacy.mu_of_event(event), norm.ppf(tpr) - norm.ppf(fpr))
    precision = 0.2 * tpr / (0.2 * tpr + 0.8 * fpr)
    want = max(precision / 0.2, 0.8 / (1 - precision))
    assert np.isclose(privacy.gamma_of_event(event, 0.2), want)
    assert privacy.epsilon_of_event(privacy.Event(0, 50, 0, 50)) == 0
    assert privacy.gamma_of_event(privacy.Event(3, 50, 9, 50)) == 1


def responses(epsilon, n, rng):
    """Independent trials of randomized response: the attacker sees the bit, turned now and then."""
    member = rng.random(n) < 0.5
    right = rng.random(n) < 1 / (1 + np.exp(-epsilon))
    return np.where(right, member, ~member).astype(float) + 1e-3 * rng.normal(size=n), member


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_a_lower_bound_is_too_high_in_at_most_five_percent(epsilon):
    rng = np.random.default_rng(1)
    draws, wrong, total = 400, 0, 0.0
    for _ in range(draws):
        score, member = responses(epsilon, 300, rng)
        found = privacy.epsilon_lower_bound(score, member)
        wrong += found > epsilon
        total += found
    assert wrong <= binom.ppf(0.9999, draws, 0.05), wrong
    assert total / draws >= 0.3 * epsilon  # and it is no empty promise


def test_a_gaussian_lower_bound_covers_and_finds():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(200):
        member = rng.random(600) < 0.5
        found.append(privacy.mu_lower_bound(rng.normal(size=600) + 1.0 * member, member))
    assert (np.array(found) > 1.0).sum() <= binom.ppf(0.9999, 200, 0.05)
    assert 0.4 < np.mean(found) < 1.0


def test_one_run_covers_dependent_looking_canaries():
    rng = np.random.default_rng(3)
    epsilon, draws = 1.0, 2000
    right = rng.binomial(100, 1 / (1 + np.exp(-epsilon)), draws)
    found = np.array([privacy.epsilon_one_run(100, 100, int(v), 0.0) for v in np.unique(right)])
    wrong = np.isin(right, np.unique(right)[found > epsilon]).sum()
    assert wrong <= binom.ppf(0.9999, draws, 0.05)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: privacy.tpr_bound(0.1, -1.0), "epsilon=-1"),
        (lambda: privacy.posterior_bound(1.0, 1.0), "prior=1"),
        (lambda: privacy.epsilon_one_run(10, 20, 5, 0.0), "must not rise"),
        (lambda: privacy.identifiability_bound(1.0, 1), "candidates=1"),
        (lambda: privacy.posterior_allowed(0.5, 0.5), "gamma=0.5"),
        (lambda: privacy.gaussian_epsilon(0.0, 1.0), "delta=0"),
        (lambda: privacy.epsilon_of_event(privacy.Event(1, 2, 1, 2), confidence=1.0), "confidence"),
    ],
)
def test_refuses(call, words):
    with pytest.raises(ValueError, match=words):
        call()
