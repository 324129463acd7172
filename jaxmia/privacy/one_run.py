"""Audits of one training run: many canaries, each of them in or out by a fair coin of its own.

The coins must be independent (`design.canaries`, `design.poisson(0.5)`, never complementary
halves), the number of guesses fixed beforehand. Canaries of one training run may share luck: a
bound that takes their answers as independent is above the truth far too often for some mechanisms
that keep their promise (`python -m experiments.studies.one_run_bounds`). The bounds here hold for
whatever the run does, unless `channels="independent"` says that each canary has noise of its own.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import bdtr, betaincinv, ndtr, ndtri

from jaxmia.metrics import scorable
from jaxmia.privacy.bounds import check, gaussian_epsilon, largest
from jaxmia.types import Array

CHANNELS = ("any", "independent")
NODES = 400  # of the mean over where the surest guesses begin


class OneRun(NamedTuple):
    """Of `canaries`, the membership of `guesses` was guessed, `correct` of them rightly."""

    canaries: int
    guesses: int
    correct: int


def guessed(
    score: Float[Array, " N"],
    member: Bool[Array, " N"],
    inside: int,
    outside: int = 0,
    seed: int = 0,
) -> OneRun:
    """Guesses from scores: the `inside` highest are in, the `outside` lowest out, others abstained.

    Fix both numbers before looking. A canary whose score is NaN is abstained from and counts; equal
    scores are put in a random order, so that the order of a file tells nothing. Raises `ValueError`
    if there are fewer scores than guesses.
    """
    canaries = np.asarray(score).size
    score, truth = scorable(score, member)
    if inside < 0 or outside < 0 or inside + outside > len(score):
        raise ValueError(
            f"inside={inside}, outside={outside} must be 0 or more, together at most the "
            f"{len(score)} scored canaries"
        )
    order = np.lexsort((np.random.default_rng(seed).permutation(len(score)), -score))
    right = truth[order[:inside]].sum() + (~truth[order[len(order) - outside :]]).sum()
    return OneRun(canaries, inside + outside, int(right))


def epsilon_one_run(
    canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95
) -> float:
    """A lower bound of the add/remove epsilon from one training run with many canaries.

    Steinke, Nasr & Jagielski 2023, theorem 5.2. Raises `ValueError` for numbers that do not fit.
    """
    check(0.0, delta)
    _check_run(canaries, guesses, correct, confidence)
    return largest(
        lambda epsilon: _chance(canaries, guesses, correct, epsilon, delta) < 1 - confidence
    )


def _chance(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """The largest chance of so many right guesses under (epsilon, delta)."""
    if not correct:
        return 1.0
    q = 1 / (1 + np.exp(-epsilon))
    under = bdtr(np.arange(-1, correct), guesses, q)  # P(right <= k), k from -1 to correct - 1
    under[0] = 0.0
    wider = under[-1] - under[-2::-1]  # P(correct - i <= right < correct), i from 1 to correct
    slope = (wider / np.arange(1, correct + 1)).max()
    return min(1.0, float(1 - under[-1] + 2 * canaries * delta * slope))


def one_run_refutes(
    canaries: int,
    guesses: int,
    correct: int,
    inverse: Callable[[float], float],
    confidence: float = 0.95,
) -> bool:
    """Whether so many right guesses refute a claim of f-differential privacy, so confidently.

    Mahloujifar, Melis & Chaudhuri 2024: `inverse(x)` is the largest FPR at which the claim allows a
    TPR of x, such as `Phi(Phi^-1(x) - mu)`. The chances r_i of i right guesses or more, and h_i of
    the wrong ones beside them, are followed downwards from their values if `correct` were reached
    with a chance of just 1 - confidence; if they then exceed what a chance can be, the claim falls.
    """
    _check_run(canaries, guesses, correct, confidence)
    right = (1 - confidence) * correct / canaries
    wrong = (1 - confidence) * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        least = inverse(min(right, 1.0))
        if least <= wrong:
            break  # nothing moves from here on
        right, wrong = right + i / (guesses - i) * (least - wrong), least
    return bool(right + wrong > guesses / canaries)


def mu_one_run(
    canaries: int, guesses: int, correct: int, confidence: float = 0.95, channels: str = "any"
) -> float:
    """A lower bound of mu in Gaussian differential privacy from one training run.

    With `channels="any"` that of Mahloujifar, Melis & Chaudhuri 2024, for every mechanism that is
    mu-Gaussian private. `channels="independent"` is sharper, and exact, where each canary's coin
    reaches the score through noise of its own: a white-box audit with orthogonal gradients, full
    batches and Gaussian noise. Raises `ValueError` for numbers that do not fit.
    """
    if channels not in CHANNELS:
        raise ValueError(f"channels={channels!r} is not one of {CHANNELS}")
    _check_run(canaries, guesses, correct, confidence)
    if channels == "independent":
        chance = partial(_chance_if_independent, canaries, guesses, correct)
        return largest(lambda mu: chance(mu) < 1 - confidence)

    def refuted(mu: float) -> bool:
        claim = lambda x: float(ndtr(ndtri(x) - mu))  # noqa: E731
        return one_run_refutes(canaries, guesses, correct, claim, confidence)

    return largest(refuted)


def _chance_if_independent(canaries: int, guesses: int, correct: int, mu: float) -> float:
    """The chance of at most so many wrong guesses by the best attack on independent channels.

    A canary is as sure as `t = |z - mu / 2|` of `z ~ N(mu, 1)` or `N(0, 1)`. Where the guesses are
    the canaries above T, the largest t of those abstained from, each of them is wrong independently
    with the chance `Phi(-T - mu / 2) / P(t > T)`, and `P(t > T)` follows a beta distribution.
    """
    if guesses == 0:
        return 1.0
    wrong = guesses - correct
    if guesses == canaries:
        return float(bdtr(wrong, guesses, ndtr(-mu / 2)))
    above = betaincinv(guesses + 1, canaries - guesses, (np.arange(NODES) + 0.5) / NODES)
    return float(bdtr(wrong, guesses, _wrong_above(above, mu)).mean())


def _wrong_above(share: np.ndarray, mu: float) -> np.ndarray:
    """How often a guess is wrong among this share of the canaries, the surest of them."""
    low, high = np.zeros(len(share)), np.full(len(share), mu / 2 + 40.0)
    for _ in range(60):
        middle = (low + high) / 2
        more = ndtr(mu / 2 - middle) + ndtr(-middle - mu / 2) > share
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return np.minimum(ndtr(-low - mu / 2) / share, 0.5)


def correct_of_ideal(canaries: int, guesses: int, mu: float) -> int:
    """How many guesses the best attack on a mu-Gaussian mechanism has right, on the average."""
    _check_run(canaries, guesses, 0, 0.5)
    share = np.array([guesses / canaries])
    return round(guesses * float(1 - _wrong_above(share, mu)[0])) if guesses else 0


def epsilon_one_run_gaussian(
    canaries: int,
    guesses: int,
    correct: int,
    delta: float,
    confidence: float = 0.95,
    channels: str = "any",
) -> float:
    """A lower bound of epsilon at a delta from one run, of a mechanism that is a Gaussian one.

    It is that of `mu_one_run`: sharper than `epsilon_one_run`, for the family it assumes.
    """
    mu = mu_one_run(canaries, guesses, correct, confidence, channels)
    return gaussian_epsilon(delta, mu)


def _check_run(canaries: int, guesses: int, correct: int, confidence: float) -> None:
    if not 0 <= correct <= guesses <= canaries or canaries < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"canaries={canaries}, guesses={guesses}, correct={correct} must not rise, "
            f"confidence={confidence} must be above 0 and below 1"
        )
