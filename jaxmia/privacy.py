"""What differential and membership privacy allow an attacker, and what an attack shows of them.

Bounds say what no attack can pass; lower bounds say, at a confidence, that a mechanism is no more
private than so. A lower bound holds for independent trials, such as one canary in each of many
runs; over the examples of one model, or over pooled targets, it is an estimate. NumPy in float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import bdtr, log_ndtr, ndtr, ndtri

from jaxmia.metrics import clopper_pearson, scorable
from jaxmia.types import Array

LARGEST = 100.0  # an epsilon above which nothing is looked for


def tpr_bound(
    fpr: Float[Array, "*P"] | float, epsilon: float, delta: float = 0.0
) -> Float[np.ndarray, "*P"] | float:
    """The largest TPR at an FPR that (epsilon, delta)-differential privacy allows any attack.

    `min(e^eps fpr + delta, 1 - e^-eps (1 - delta - fpr))` (Kairouz, Oh & Viswanath 2015). Raises
    `ValueError` for a negative epsilon or a delta outside [0, 1].
    """
    _check(epsilon, delta)
    fpr = np.asarray(fpr, np.float64)
    low = np.exp(min(epsilon, 700.0)) * fpr + delta
    high = 1 - np.exp(-epsilon) * (1 - delta - fpr)
    return np.clip(np.minimum(low, high), 0, 1)


def gaussian_tpr_bound(
    fpr: Float[Array, "*P"] | float, mu: float
) -> Float[np.ndarray, "*P"] | float:
    """The largest TPR under mu-Gaussian privacy (Dong, Roth & Su 2022, section 2.2)."""
    return np.asarray(ndtr(ndtri(np.asarray(fpr, np.float64)) + mu))


def gaussian_delta(
    epsilon: Float[Array, "*P"] | float, mu: float
) -> Float[np.ndarray, "*P"] | float:
    """The delta that mu-Gaussian differential privacy has at an epsilon (the same, section 2.4)."""
    epsilon = np.asarray(epsilon, np.float64)
    if mu <= 0:
        return np.zeros(epsilon.shape)
    a, b = -epsilon / mu + mu / 2, -epsilon / mu - mu / 2
    return np.asarray(ndtr(a) - np.exp(np.minimum(epsilon + log_ndtr(b), 0)))


def gaussian_epsilon(delta: float, mu: float) -> float:
    """The epsilon that mu-Gaussian differential privacy has at a delta."""
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta} must be above 0 and below 1")
    return _largest(lambda epsilon: float(gaussian_delta(epsilon, mu)) > delta)


def posterior_bound(
    epsilon: float, prior: Float[Array, "*P"] | float
) -> Float[np.ndarray, "*P"] | float:
    """The largest posterior of membership under epsilon-differential privacy, at a prior.

    `e^eps p / (1 - p + e^eps p)` (Li et al. 2013, section 4).
    """
    _check(epsilon, 0.0)
    p = _prior(prior)
    return p / (p + (1 - p) * np.exp(-epsilon))


def identifiability_bound(epsilon: float, candidates: int) -> float:
    """The largest posterior of one of m candidates, of whom exactly one is in.

    `e^eps / (m - 1 + e^eps)` (Lee & Clifton 2012), for a replace-one epsilon.
    """
    _check(epsilon, 0.0)
    if candidates < 2:
        raise ValueError(f"candidates={candidates} must be 2 or more")
    return float(1 / (1 + (candidates - 1) * np.exp(-epsilon)))


def membership_gamma(
    epsilon: float, prior: Float[Array, "*P"] | float
) -> Float[np.ndarray, "*P"] | float:
    """The gamma of positive membership privacy that epsilon-differential privacy gives at a prior.

    Li et al. 2013, definition 3.1: posterior <= gamma p and 1 - posterior >= (1 - p) / gamma. Over
    all priors it is e^eps.
    """
    _check(epsilon, 0.0)
    p, e = _prior(prior), np.exp(epsilon)
    return np.maximum(e / (1 - p + p * e), 1 - p + p * e)


def posterior_allowed(gamma: float, prior: float) -> float:
    """The largest posterior that positive membership privacy at gamma allows."""
    if gamma < 1:
        raise ValueError(f"gamma={gamma} must be 1 or more")
    p = float(_prior(prior))
    return min(gamma * p, 1 - (1 - p) / gamma)


class Event(NamedTuple):
    """How often {score >= threshold} happened, with the threshold fixed beforehand."""

    true: int
    members: int
    false: int
    non_members: int


def epsilon_of_event(event: Event, delta: float = 0.0, confidence: float = 0.95) -> float:
    """A lower bound of epsilon, from one event: Clopper-Pearson, half of the error for each rate.

    `max{0, log((TPR - delta) / FPR), log((1 - FPR - delta) / (1 - TPR))}` with the lower end of the
    TPR and the upper end of the FPR, the same two for both (Nasr et al. 2021, section IV).
    """
    _check(0.0, delta)
    tpr, fpr = _rates(event, confidence)
    with np.errstate(divide="ignore"):
        found = max(
            np.log(max(tpr - delta, 0.0)) - np.log(fpr),
            np.log(max(1 - fpr - delta, 0.0)) - np.log(1 - tpr),
        )
    return max(0.0, float(found))


def mu_of_event(event: Event, confidence: float = 0.95) -> float:
    """A lower bound of mu in Gaussian differential privacy, from one event."""
    tpr, fpr = _rates(event, confidence)
    return max(0.0, float(ndtri(tpr) - ndtri(fpr)))


def gamma_of_event(event: Event, prior: float = 0.5, confidence: float = 0.95) -> float:
    """A lower bound of gamma in positive membership privacy, from one event at a prior.

    `max(P / p, (1 - p) / (1 - P))` with P the precision at the lower TPR and the upper FPR.
    """
    p = float(_prior(prior))
    tpr, fpr = _rates(event, confidence)
    precision = p * tpr / (p * tpr + (1 - p) * fpr)
    return max(1.0, precision / p, (1 - p) / (1 - precision))


def _rates(event: Event, confidence: float) -> tuple[float, float]:
    """The lower end of the TPR and the upper end of the FPR, wrong together at most so often."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be above 0 and below 1")
    # the two-sided interval at this confidence errs half as often on each of its sides
    tpr, _ = clopper_pearson(event.true, event.members, confidence)
    _, fpr = clopper_pearson(event.false, event.non_members, confidence)
    return float(tpr), float(fpr)


def epsilon_lower_bound(
    score: Float[Array, "*T N"],
    member: Bool[Array, "*T N"],
    delta: float = 0.0,
    confidence: float = 0.95,
    seed: int = 0,
) -> float:
    """A lower bound of epsilon from scores of independent trials.

    The event is chosen on a random half of the scores, as the one that looks best there, and the
    bound is that of the other half alone, so that no search over thresholds spoils it.
    """
    event = _held_out_event(score, member, lambda e: epsilon_of_event(e, delta, confidence), seed)
    return epsilon_of_event(event, delta, confidence)


def mu_lower_bound(
    score: Float[Array, "*T N"],
    member: Bool[Array, "*T N"],
    confidence: float = 0.95,
    seed: int = 0,
) -> float:
    """A lower bound of mu from scores of independent trials, split as `epsilon_lower_bound`."""
    event = _held_out_event(score, member, lambda e: mu_of_event(e, confidence), seed)
    return mu_of_event(event, confidence)


CANDIDATES = 64  # thresholds that are looked at on the first half


def _held_out_event(
    score: Array, member: Array, worth: Callable[[Event], float], seed: int
) -> Event:
    """The second half's counts at the threshold that is worth most on the first half."""
    score, truth = scorable(score, member)
    rng = np.random.default_rng(seed)
    first = np.zeros(len(score), bool)
    for side in (truth, ~truth):
        at = np.flatnonzero(side)
        first[rng.permutation(at)[: len(at) // 2]] = True
    cut = np.inf
    if (truth & first).any() and (~truth & first).any():
        ordered = np.unique(score[first])
        last = len(ordered) - 1
        steps = np.concatenate([np.arange(16), np.geomspace(16, max(16, last), CANDIDATES)])
        ranks = np.minimum(steps.astype(int), last)  # dense in both tails
        cuts = np.unique(np.concatenate([ordered[ranks], ordered[last - ranks]]))
        cut = max(cuts, key=lambda cut: worth(_event(score[first], truth[first], cut)))
    return _event(score[~first], truth[~first], cut)


def _event(score: np.ndarray, truth: np.ndarray, cut: float) -> Event:
    called = score >= cut
    return Event(
        int((called & truth).sum()),
        int(truth.sum()),
        int((called & ~truth).sum()),
        int((~truth).sum()),
    )


def epsilon_one_run(
    canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95
) -> float:
    """A lower bound of epsilon from one training run with many canaries, each in by a fair coin.

    Steinke, Nasr & Jagielski 2023, theorem 5.2: of `canaries`, the membership of `guesses` (fixed
    beforehand, the others abstained from) was guessed, `correct` of them rightly. Raises
    `ValueError` for numbers that do not fit.
    """
    _check(0.0, delta)
    if not 0 <= correct <= guesses <= canaries or not 0 < confidence < 1:
        raise ValueError(
            f"canaries={canaries}, guesses={guesses}, correct={correct} must not rise, "
            f"confidence={confidence} must be above 0 and below 1"
        )
    return _largest(
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


def _largest(holds: Callable[[float], bool]) -> float:
    """The largest epsilon up to which a condition holds, 0 if it does nowhere."""
    if not holds(0.0):
        return 0.0
    low, high = 0.0, LARGEST
    if holds(high):
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _check(epsilon: float, delta: float) -> None:
    if not epsilon >= 0 or not 0 <= delta <= 1:
        raise ValueError(f"epsilon={epsilon} must be 0 or more, delta={delta} from 0 to 1")


def _prior(prior: Array | float) -> np.ndarray:
    p = np.asarray(prior, np.float64)
    if not ((p > 0) & (p < 1)).all():
        raise ValueError(f"prior={prior} must be above 0 and below 1")
    return p
