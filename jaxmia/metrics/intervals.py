"""Intervals in closed form: a proportion at a fixed threshold, and the area under the ROC."""

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.metrics.roc import scorable
from jaxmia.types import Array


def clopper_pearson(
    hits: int | np.integer | np.ndarray,
    trials: int | np.integer | np.ndarray,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """The exact interval of a proportion (Clopper & Pearson 1934), two-sided."""
    from scipy.special import betaincinv

    hits, trials = np.asarray(hits, np.float64), np.asarray(trials, np.float64)
    tail = (1 - confidence) / 2
    low = betaincinv(np.maximum(hits, 1e-300), trials - hits + 1, tail)
    high = betaincinv(hits + 1, np.maximum(trials - hits, 1e-300), 1 - tail)
    return np.where(hits == 0, 0.0, low), np.where(hits == trials, 1.0, high)


def auc_interval(
    score: Float[Array, "*T N"], member: Bool[Array, "*T N"], confidence: float = 0.95
) -> tuple[float, float]:
    """DeLong's interval of the AUC (DeLong, DeLong & Clarke-Pearson 1988), from midranks.

    It takes the scores as independent.
    """
    from scipy.special import ndtri

    score, truth = scorable(score, member)
    inside, outside = np.sort(score[truth]), np.sort(score[~truth])
    wins = _share_below(outside, inside)
    losses = 1 - _share_below(inside, outside)
    area = wins.mean()
    spread = sum(v.var(ddof=1) / len(v) if len(v) > 1 else 0.25 for v in (wins, losses))
    half = ndtri(0.5 + confidence / 2) * np.sqrt(spread)
    return float(max(0.0, area - half)), float(min(1.0, area + half))


def _share_below(of: np.ndarray, at: np.ndarray) -> np.ndarray:
    """For each of `at`, the share of the sorted `of` that is below, ties counting half."""
    return (np.searchsorted(of, at) + np.searchsorted(of, at, side="right")) / (2 * len(of))
