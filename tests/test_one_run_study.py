"""The study of bounds from one run: reference values, and rates against the library's own."""

import numpy as np
import pytest
from row_pages import check_page

from experiments.pages import one_run
from experiments.studies import one_run_bounds as study
from jaxmia import privacy


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "mu"),
    [(1000, 1000, 680, 0.7383), (1000, 100, 96, 0.9591), (400, 80, 68, 0.5730),
     (100, 100, 68, 0.3060), (1000, 50, 50, 1.0875)],
)  # fmt: skip
def test_the_order_statistics_bound_against_reference_values(canaries, guesses, correct, mu):
    below = study.order_statistics_p_value(canaries, guesses, correct, mu - 0.003)
    above = study.order_statistics_p_value(canaries, guesses, correct, mu + 0.003)
    assert below < 0.05 < above


def test_rates_of_refutation_are_those_of_draws():
    rng, mu, (canaries, guesses) = np.random.default_rng(0), 0.9, (60, 20)
    coin = rng.random((40_000, canaries)) < 0.5
    z = rng.normal(size=coin.shape) + mu * coin - mu / 2
    surest = np.argsort(-np.abs(z), 1)[:, :guesses]
    right = np.take_along_axis((z > 0) == coin, surest, 1).sum(1)
    level = np.abs(z[:, 0])  # one canary's, for all
    shared = rng.binomial(guesses, 1 / (1 + np.exp(-mu * level)))
    for least in (0, 12, 16, 21):
        own = study.refuted_if_independent(canaries, guesses, least, mu)
        assert abs(own - (right >= least).mean()) < 0.01
        assert abs(study.refuted_if_shared(guesses, least, mu) - (shared >= least).mean()) < 0.01


def test_the_page_is_made_of_what_the_study_keeps(tmp_path, monkeypatch):
    flags = study.Flags(epsilons=(4.0,), canaries=(200, 100), guesses=(200, 20), results=tmp_path)
    whole, few = study.run(flags)
    least = study.least_refuting(200, lambda c: privacy.mu_one_run(200, 200, c) > whole["mu"])
    assert whole["shared"]["any"] == study.refuted_if_shared(200, least, whole["mu"])
    assert whole["shared"]["order_statistics"] > 0.15 > 0.05 >= whole["shared"]["any"]
    assert few["independent"]["independent"] <= 0.05 < whole["shared"]["independent"]
    check_page(one_run, "one_run_bounds", tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="--guesses: 1 numbers for 2"):
        study.run(study.Flags(canaries=(9, 9), guesses=(3,)))
