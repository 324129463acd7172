"""Audits of one training run: many canaries, each of them in or out by a fair coin of its own.

The coins must be independent (`design.canaries`, `design.poisson(0.5)`, never complementary
halves), the number of guesses fixed beforehand.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import bdtr, ndtr, ndtri

from jaxmia.metrics import scorable
from jaxmia.privacy.bounds import check, gaussian_epsilon, largest
from jaxmia.types import Array


class OneRun(NamedTuple):
    """Of `canaries`, the membership of `guesses` was guessed, `correct` of them rightly."""

    canaries: int
    guesses: int
    correct: int


def guessed(
    score: Float[Array, " N"], member: Bool[Array, " N"], inside: int, outside: int = 0
) -> OneRun:
    """Guesses from scores: the `inside` highest are in, the `outside` lowest out, others abstained.

    Fix both numbers before looking. Raises `ValueError` if there are fewer scores than guesses.
    """
    score, truth = scorable(score, member)
    if inside < 0 or outside < 0 or inside + outside > len(score):
        raise ValueError(
            f"inside={inside}, outside={outside} must be 0 or more, together at most the "
            f"{len(score)} scored canaries"
        )
    order = np.argsort(-score, kind="stable")
    right = truth[order[:inside]].sum() + (~truth[order[len(order) - outside :]]).sum()
    return OneRun(len(score), inside + outside, int(right))


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


def mu_one_run(canaries: int, guesses: int, correct: int, confidence: float = 0.95) -> float:
    """A lower bound of mu in Gaussian differential privacy from one training run."""

    def refuted(mu: float) -> bool:
        claim = lambda x: float(ndtr(ndtri(x) - mu))  # noqa: E731
        return one_run_refutes(canaries, guesses, correct, claim, confidence)

    return largest(refuted)


def epsilon_one_run_gaussian(
    canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95
) -> float:
    """A lower bound of epsilon at a delta from one run, of a mechanism that is a Gaussian one.

    It is that of `mu_one_run`: sharper than `epsilon_one_run`, for the family it assumes.
    """
    mu = mu_one_run(canaries, guesses, correct, confidence)
    return gaussian_epsilon(delta, mu)


def _check_run(canaries: int, guesses: int, correct: int, confidence: float) -> None:
    if not 0 <= correct <= guesses <= canaries or canaries < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"canaries={canaries}, guesses={guesses}, correct={correct} must not rise, "
            f"confidence={confidence} must be above 0 and below 1"
        )
