"""Lower bounds of epsilon, mu and gamma from how often events happened in independent trials."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtri

from jaxmia.metrics import RocCounts, clopper_pearson, roc_counts, scorable
from jaxmia.privacy.bounds import check, checked_prior
from jaxmia.types import Array

THRESHOLDS = ("split", "corrected")
CANDIDATES = 64  # thresholds that are looked at on the first half


class Event(NamedTuple):
    """How often {score >= threshold} happened, with the threshold fixed beforehand.

    Four whole numbers, or arrays of them for many events, each taken by itself.
    """

    tp: int | np.integer | np.ndarray
    positives: int | np.integer | np.ndarray
    fp: int | np.integer | np.ndarray
    negatives: int | np.integer | np.ndarray


Bound = float | np.ndarray


def epsilon_of_event(event: Event, delta: float = 0.0, confidence: float = 0.95) -> Bound:
    """A lower bound of epsilon, from one event: Clopper-Pearson, half of the error for each rate.

    `max{0, log((TPR - delta) / FPR), log((1 - FPR - delta) / (1 - TPR))}` with the lower end of the
    TPR and the upper end of the FPR, the same two for both (Nasr et al. 2021, section IV).
    """
    check(0.0, delta)
    return _plain(_epsilon(*_rates(event, confidence), delta))


def mu_of_event(event: Event, confidence: float = 0.95) -> Bound:
    """A lower bound of mu in Gaussian differential privacy, from one event."""
    return _plain(_mu(*_rates(event, confidence)))


def gamma_of_event(event: Event, prior: float = 0.5, confidence: float = 0.95) -> Bound:
    """A lower bound of gamma in positive membership privacy, from one event at a prior.

    `max(P / p, (1 - p) / (1 - P))` with P the precision at the lower TPR and the upper FPR.
    """
    return _plain(_gamma(*_rates(event, confidence), float(checked_prior(prior))))


def _rates(event: Event, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """The lower end of the TPR and the upper end of the FPR, wrong together at most so often."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be above 0 and below 1")
    # the two-sided interval at this confidence errs half as often on each of its sides
    tpr, _ = clopper_pearson(event.tp, event.positives, confidence)
    _, fpr = clopper_pearson(event.fp, event.negatives, confidence)
    return tpr, fpr


def _epsilon(tpr: np.ndarray, fpr: np.ndarray, delta: float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        caught = np.log(np.maximum(tpr - delta, 0)) - np.log(fpr)
        spared = np.log(np.maximum(1 - fpr - delta, 0)) - np.log(1 - tpr)
    return np.asarray(np.fmax(0, np.fmax(caught, spared)))


def _mu(tpr: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.fmax(0, ndtri(tpr) - ndtri(fpr)))


def _gamma(tpr: np.ndarray, fpr: np.ndarray, p: float) -> np.ndarray:
    precision = p * tpr / np.maximum(p * tpr + (1 - p) * fpr, 1e-300)
    with np.errstate(divide="ignore"):
        return np.asarray(np.maximum(1, np.maximum(precision / p, (1 - p) / (1 - precision))))


def _plain(bound: np.ndarray) -> Bound:
    return float(bound) if np.ndim(bound) == 0 else bound


Worth = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of the two rates


def epsilon_lower_bound(
    score: Float[Array, "*T N"],
    member: Bool[Array, "*T N"],
    delta: float = 0.0,
    confidence: float = 0.95,
    seed: int = 0,
    thresholds: str = "split",
) -> float:
    """A lower bound of epsilon from scores of independent trials.

    "split": the event is chosen on a random half of the scores, as the one that looks best there,
    and the bound is that of the other half alone. "corrected": the best event on all scores, each
    held to so high a confidence that all hold together. The search over thresholds spoils neither.
    """
    check(0.0, delta)
    worth = lambda tpr, fpr: _epsilon(tpr, fpr, delta)  # noqa: E731
    return _lower_bound(score, member, worth, confidence, seed, thresholds)


def mu_lower_bound(
    score: Float[Array, "*T N"],
    member: Bool[Array, "*T N"],
    confidence: float = 0.95,
    seed: int = 0,
    thresholds: str = "split",
) -> float:
    """A lower bound of mu from scores of independent trials; see `epsilon_lower_bound`."""
    return _lower_bound(score, member, _mu, confidence, seed, thresholds)


def gamma_lower_bound(
    score: Float[Array, "*T N"],
    member: Bool[Array, "*T N"],
    prior: float = 0.5,
    confidence: float = 0.95,
    seed: int = 0,
    thresholds: str = "split",
) -> float:
    """A lower bound of gamma from scores of independent trials; see `epsilon_lower_bound`."""
    p = float(checked_prior(prior))
    worth = lambda tpr, fpr: _gamma(tpr, fpr, p)  # noqa: E731
    return _lower_bound(score, member, worth, confidence, seed, thresholds)


class Leak(NamedTuple):
    """Lower bounds of epsilon, of mu, and of gamma at each prior, that hold together."""

    epsilon: float
    mu: float
    gamma: Float[np.ndarray, " G"]


def leak(
    score: Float[Array, "*T N"],
    member: Bool[Array, "*T N"],
    priors: Sequence[float] = (0.5,),
    delta: float = 0.0,
    confidence: float = 0.95,
) -> Leak:
    """All of them from one pass, thresholds corrected for; estimates where trials are dependent."""
    return leak_of(roc_counts(score, member), priors, delta, confidence)


def leak_of(
    curve: RocCounts, priors: Sequence[float] = (0.5,), delta: float = 0.0, confidence: float = 0.95
) -> Leak:
    """The same from a ROC that was counted already."""
    check(0.0, delta)
    rates = _corrected_rates(curve, confidence)
    gamma = [_gamma(*rates, float(checked_prior(p))).max() for p in priors]
    return Leak(
        float(_epsilon(*rates, delta).max()), float(_mu(*rates).max()), np.array(gamma, np.float64)
    )


def _lower_bound(score, member, worth: Worth, confidence: float, seed: int, how: str) -> float:
    if how not in THRESHOLDS:
        raise ValueError(f"thresholds={how!r} is not one of {THRESHOLDS}")
    if how == "corrected":
        return float(worth(*_corrected_rates(roc_counts(score, member), confidence)).max())
    score, truth = scorable(score, member)
    return float(worth(*_rates(_held_out_event(score, truth, worth, confidence, seed), confidence)))


def _held_out_event(
    score: np.ndarray, truth: np.ndarray, worth: Worth, confidence: float, seed: int
) -> Event:
    """The second half's counts at the threshold that is worth most on the first half."""
    rng = np.random.default_rng(seed)
    first = np.zeros(len(score), bool)
    for side in (truth, ~truth):
        at = np.flatnonzero(side)
        first[rng.permutation(at)[: len(at) // 2]] = True
    cut = np.inf
    if (truth & first).any() and (~truth & first).any():
        curve = roc_counts(score[first], truth[first])
        last = len(curve.tp) - 1  # the point 0 calls nobody a member
        steps = np.concatenate([np.arange(16), np.geomspace(16, max(16, last), CANDIDATES)])
        ranks = np.minimum(steps.astype(int), last - 1)  # dense in both tails
        at = np.unique(np.concatenate([1 + ranks, last - ranks]))
        events = Event(curve.tp[at], curve.tp[-1], curve.fp[at], curve.fp[-1])
        value = worth(*_rates(events, confidence))
        cut = curve.threshold[at[len(at) - 1 - np.argmax(value[::-1])]]  # the lowest of equals
    rest, called = ~first, score >= cut
    return Event(
        int((called & truth & rest).sum()),
        int((truth & rest).sum()),
        int((called & ~truth & rest).sum()),
        int((~truth & rest).sum()),
    )


def _corrected_rates(curve: RocCounts, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Both rates at thresholds that single scores set, all of them true at once so confidently.

    A threshold just above the (c + 1)-th highest non-member has an FPR whose upper end is that of c
    false positives (a uniform order statistic), and what members do there is binomial; likewise
    just below the (c + 1)-th lowest member. The numbers c are fixed beforehand.
    """
    members, others = int(curve.tp[-1]), int(curve.fp[-1])
    ranks = [_ranks(others), _ranks(members)]
    # each event errs at two ends, of which a two-sided interval has half of its error
    each = 1 - (1 - confidence) / sum(map(len, ranks))
    above = np.searchsorted(curve.fp, ranks[0], side="right") - 1  # the point before its own
    tpr = [clopper_pearson(curve.tp[above], members, each)[0]]
    fpr = [clopper_pearson(ranks[0], others, each)[1]]
    below = np.searchsorted(curve.tp, members - ranks[1])  # its own point
    tpr.append(1 - clopper_pearson(ranks[1], members, each)[1])
    fpr.append(1 - clopper_pearson(others - curve.fp[below], others, each)[0])
    return np.concatenate(tpr), np.concatenate(fpr)


def _ranks(count: int) -> np.ndarray:
    """0, 1, 2, 4, 8, ... below a count."""
    powers = 2 ** np.arange(int(np.log2(count)) + 1) if count > 1 else np.zeros(0, int)
    return np.append(0, powers[powers < count]).astype(np.int64)
