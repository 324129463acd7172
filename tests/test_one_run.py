"""Bounds from one run: reference values; canaries that share luck, or have noise of their own."""

import numpy as np
import pytest
from scipy.stats import binom

from jaxmia import privacy

DELTA = 1e-5


REFERENCE = [  # canaries, guesses, correct: mu of any channels, of independent ones; Steinke's
    (1000, 1000, 600, 0.1638, 0.3722, 0.297), (1000, 1000, 680, 0.3179, 0.7970, 0.640),
    (1000, 100, 90, 0.6025, 0.7537, 1.626), (1000, 100, 96, 0.8375, 1.0342, 2.315),
    (1000, 400, 320, 0.5011, 0.8054, 1.175), (1000, 400, 330, 0.5591, 0.9010, 1.328),
    (400, 80, 68, 0.4972, 0.6600, 1.197), (400, 80, 72, 0.6365, 0.8429, 1.561),
    (400, 100, 88, 0.6147, 0.8453, 1.467), (100, 100, 68, 0.2340, 0.4804, 0.384),
    (1000, 50, 50, 0.9373, 1.0847, 2.756), (5000, 500, 480, 0.9375, 1.2108, 2.783),
]  # fmt: skip


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: "-".join(map(str, row[:3])))
def test_one_run_bounds_against_reference_values(row):
    run, (whichever, independent, pure) = row[:3], row[3:]
    assert abs(privacy.mu_one_run(*run) - whichever) < 1e-4
    assert abs(privacy.mu_one_run(*run, channels="independent") - independent) < 2e-4
    assert abs(privacy.epsilon_one_run(*run, DELTA) - pure) < 1e-3


def shared_level(mu, canaries, guesses, draws, rng):
    """Right guesses where all canaries share a level: each record's pair is the Gaussian one."""
    z = rng.normal(size=draws) + mu * (rng.random(draws) < 0.5)
    right = 1 / (1 + np.exp(-mu * np.abs(z - mu / 2)))
    return rng.binomial(guesses, right)


def own_noise(mu, canaries, guesses, draws, rng):
    """Right guesses of the surest canaries where each coin is released with noise of its own."""
    coin = rng.random((draws, canaries)) < 0.5
    z = rng.normal(size=coin.shape) + mu * coin - mu / 2
    surest = np.argsort(-np.abs(z), 1)[:, :guesses]
    return np.take_along_axis((z > 0) == coin, surest, 1).sum(1)


def refuted(correct, bound, truth):
    """How often a bound, which rises with the right guesses, is above the truth."""
    low, high = 0, int(correct.max()) + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(middle) > truth + 1e-9 else (middle + 1, high)
    return float((correct >= low).mean())


def one_run_errors(mechanism, epsilon, canaries, guesses, draws):
    mu = privacy.gaussian_mu(epsilon, DELTA)
    correct = mechanism(mu, canaries, guesses, draws, np.random.default_rng(7))
    run = canaries, guesses
    independent = lambda c: privacy.mu_one_run(*run, c, channels="independent")  # noqa: E731
    return {
        "any": refuted(correct, lambda c: privacy.mu_one_run(*run, c), mu),
        "pure": refuted(correct, lambda c: privacy.epsilon_one_run(*run, c, DELTA), epsilon),
        "independent": refuted(correct, independent, mu),
    }


@pytest.mark.parametrize("epsilon", [1.0, 4.0, 8.0])
def test_canaries_that_share_a_level_refute_no_default_bound_but_the_independent_one(epsilon):
    errors = one_run_errors(shared_level, epsilon, 1000, 1000, 4000)
    limit = binom.ppf(0.9999, 4000, 0.05) / 4000
    assert errors["any"] <= limit and errors["pure"] <= limit, errors
    assert errors["independent"] > 0.15, errors  # why its assumption is named


@pytest.mark.parametrize(("canaries", "guesses"), [(200, 40), (100, 100)])
def test_independent_canaries_refute_a_true_mu_in_at_most_five_percent(canaries, guesses):
    errors = one_run_errors(own_noise, 4.0, canaries, guesses, 4000)
    limit = binom.ppf(0.9999, 4000, 0.05) / 4000
    assert max(errors.values()) <= limit, errors
    assert errors["independent"] > 0.01, errors  # and it is exact, but for whole numbers


@pytest.mark.soak
@pytest.mark.parametrize("mechanism", [shared_level, own_noise])
@pytest.mark.parametrize("epsilon", [1.0, 4.0, 8.0])
@pytest.mark.parametrize(("canaries", "guesses"), [(1000, 1000), (1000, 100), (400, 80)])
def test_one_run_bounds_in_twenty_thousand_runs(mechanism, epsilon, canaries, guesses):
    errors = one_run_errors(mechanism, epsilon, canaries, guesses, 20_000)
    print(mechanism.__name__, epsilon, canaries, guesses, errors)
    limit = binom.ppf(0.9999, 20_000, 0.05) / 20_000
    assert errors["any"] <= limit and errors["pure"] <= limit, errors
    assert mechanism is shared_level or errors["independent"] <= limit, errors


def test_what_the_best_attack_guesses_rightly():
    rng = np.random.default_rng(8)
    for canaries, guesses in ((400, 80), (100, 100)):
        for mu in (0.0, 0.9, 2.0):
            mean = own_noise(mu, canaries, guesses, 3000, rng).mean()
            assert abs(privacy.correct_of_ideal(canaries, guesses, mu) - mean) < 1.1


def test_equal_scores_do_not_tell_the_order_of_a_file():
    """A file sorted by membership, and scores that say nothing: guesses are right by chance."""
    run = privacy.guessed(np.zeros(1000), np.arange(1000) < 500, 200, 200)
    assert 150 < run.correct < 250
