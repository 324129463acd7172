"""The joint exact test: both rates of one event are held against a promise at once.

Two Clopper-Pearson intervals each allow for the worst case, though both are hardly ever that bad
together. Here the chance of counts at least as telling as those that came is computed exactly under
the promise, for every FPR that the false alarms leave open (Berger & Boos 1994). The event's
threshold must be fixed without looking at the trials that are counted: `pilot`.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, ndtr, ndtri, xlog1py, xlogy

from jaxmia.metrics import clopper_pearson
from jaxmia.privacy.bounds import check, gaussian_tpr_bound, largest, tpr_bound
from jaxmia.privacy.events import Event

BEYOND = 0.001  # the chance that the FPR lies outside the interval that is searched
GRID = 33  # FPRs of that interval, and as many again around the most likely of them

Allowed = Callable[[Float[np.ndarray, " F"]], Float[np.ndarray, " F"]]


def mu_joint(event: Event, confidence: float = 0.95) -> float:
    """A lower bound of mu in Gaussian differential privacy, exact, from one event.

    The largest mu that `joint_p_value` refutes; 0 if it refutes none. Sharper than `mu_of_event`.
    Raises `ValueError` as that does, or for a confidence outside (0, 0.999).
    """
    _check_confidence(confidence)
    return largest(
        lambda mu: joint_p_value(event, lambda f: gaussian_tpr_bound(f, mu)) < 1 - confidence
    )


def epsilon_joint(event: Event, delta: float = 0.0, confidence: float = 0.95) -> float:
    """A lower bound of epsilon at a delta, exact and of any mechanism, from one event.

    As `mu_joint`, with the TPR that (epsilon, delta)-differential privacy allows.
    """
    check(0.0, delta)
    _check_confidence(confidence)
    return largest(
        lambda epsilon: (
            joint_p_value(event, lambda f: tpr_bound(f, epsilon, delta)) < 1 - confidence
        )
    )


def joint_p_value(event: Event, allowed: Allowed) -> float:
    """The chance of an event as telling as this one under a promise, at the worst FPR.

    `allowed` maps FPRs to the largest TPRs that the promise allows, such as `Profile.tpr_bound` of
    an accountant or `gaussian_tpr_bound`; it must not fall. Events are ordered by
    `Phi^-1((tp + 1/2) / (positives + 1)) - Phi^-1((fp + 1/2) / (negatives + 1))`. The p-value is
    the largest chance over the FPRs of a 99.9 % interval, and 0.001 for what lies outside it
    (Berger & Boos 1994). Raises `ValueError` for counts that are no whole numbers of trials.
    """
    tp, positives, fp, negatives = _counts(event)
    least = _least(tp, positives, fp, negatives)
    floor = 1e-6 / negatives  # below it nobody is called, above 1 less it everybody
    ends = np.clip(clopper_pearson(fp, negatives, 1 - BEYOND), floor, 1 - floor)
    low, high = ndtri(ends)
    highest = 0.0
    for _ in range(2):  # the second time around the highest of the first: promises have corners
        grid = np.linspace(low, high, GRID)
        fpr = ndtr(grid)
        chance = _chance(least, positives, negatives, fpr, np.clip(allowed(fpr), 0, 1))
        at, highest = int(chance.argmax()), max(highest, float(chance.max()))
        low, high = grid[max(at - 1, 0)], grid[min(at + 1, GRID - 1)]
    return min(1.0, highest + BEYOND)


def _least(tp: int, positives: int, fp: int, negatives: int) -> np.ndarray:
    """For every number of false alarms, the fewest hits that make it as telling as this event."""
    statistic = ndtri((tp + 0.5) / (positives + 1)) - ndtri((fp + 0.5) / (negatives + 1))
    beside = ndtri((np.arange(negatives + 1) + 0.5) / (negatives + 1))
    # the event itself must count, whatever rounding does
    hits = np.ceil((positives + 1) * ndtr(statistic + beside) - 0.5 - 1e-6)
    return np.clip(hits, 0, positives + 1).astype(np.int64)


def _chance(
    least: np.ndarray, positives: int, negatives: int, fpr: np.ndarray, tpr: np.ndarray
) -> np.ndarray:
    """The chance of an event as telling, at each pair of rates."""
    first_fp, of_fp = _binomial(negatives, fpr)
    first_tp, of_tp = _binomial(positives, tpr)
    at_least = np.cumsum(of_tp[:, ::-1], 1)[:, ::-1]
    at_least = np.concatenate([at_least, np.zeros((len(fpr), 1))], 1)
    hits = least[first_fp[:, None] + np.arange(of_fp.shape[1])]
    at = np.clip(hits - first_tp[:, None], 0, of_tp.shape[1])
    return (of_fp * np.take_along_axis(at_least, at, 1)).sum(1)


def _binomial(trials: int, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of the counts around `trials * rate`, and the chance of each of them.

    What lies outside has a chance below 1e-14.
    """
    reach = int(9 * np.sqrt(trials * (rate * (1 - rate)).max()) + 40)
    width = min(trials, 2 * reach) + 1
    first = np.clip(np.round(trials * rate).astype(np.int64) - reach, 0, trials + 1 - width)
    count = first[:, None] + np.arange(width)
    factorial = gammaln(np.arange(trials + 1) + 1.0)  # its logarithm
    ways = factorial[-1] - factorial[count] - factorial[trials - count]
    p = rate[:, None]
    return first, np.exp(ways + xlogy(count, p) + xlog1py(trials - count, -p))


def _counts(event: Event) -> tuple[int, int, int, int]:
    tp, positives, fp, negatives = (int(n) for n in event)
    if not (0 <= tp <= positives and 0 <= fp <= negatives and positives and negatives):
        raise ValueError(
            f"event: tp={event.tp} of positives={event.positives}, fp={event.fp} of "
            f"negatives={event.negatives}: each must be from 0 to its trials, of which 1 or more "
            "are needed"
        )
    return tp, positives, fp, negatives


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1 - BEYOND:
        raise ValueError(f"confidence={confidence} must be above 0 and below {1 - BEYOND:g}")
