"""Intervals in closed form: a proportion at a fixed threshold, and the area under the ROC."""

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.metrics.ranked import RocCounts, roc_counts
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
    return auc_interval_of(roc_counts(score, member), confidence)


def auc_interval_of(curve: RocCounts, confidence: float = 0.95) -> tuple[float, float]:
    """The same from a ROC that was counted already."""
    from scipy.special import ndtri

    true, false = np.diff(curve.tp), np.diff(curve.fp)
    members, others = int(curve.tp[-1]), int(curve.fp[-1])
    wins = 1 - (curve.fp[1:] + curve.fp[:-1]) / (2 * others)  # of a member, ties half
    losses = (curve.tp[1:] + curve.tp[:-1]) / (2 * members)
    area = float(true @ wins) / members
    spread = sum(
        float(count @ (share - area) ** 2) / (n - 1) / n if n > 1 else 0.25
        for share, count, n in ((wins, true, members), (losses, false, others))
    )
    half = ndtri(0.5 + confidence / 2) * np.sqrt(spread)
    return float(max(0.0, area - half)), float(min(1.0, area + half))
