"""Intervals in closed form: proportions, the TPR of one target, and the area under the ROC."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.metrics.ranked import RocCounts, roc_counts
from jaxmia.metrics.roc import allowed
from jaxmia.types import Array


def clopper_pearson(
    hits: int | float | np.number | np.ndarray,
    trials: int | float | np.number | np.ndarray,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """The exact interval of a proportion (Clopper & Pearson 1934), two-sided."""
    from scipy.special import betaincinv

    hits, trials = np.asarray(hits, np.float64), np.asarray(trials, np.float64)
    tail = (1 - confidence) / 2
    low = betaincinv(np.maximum(hits, 1e-300), trials - hits + 1, tail)
    high = betaincinv(hits + 1, np.maximum(trials - hits, 1e-300), 1 - tail)
    return np.where(hits == 0, 0.0, low), np.where(hits == trials, 1.0, high)


def clustered(
    hits: Int[np.ndarray, " N"],
    trials: Int[np.ndarray, " N"],
    group: Int[np.ndarray, " N"],
    confidence: float = 0.95,
    person: Int[np.ndarray, " N"] | None = None,
) -> tuple[Float[np.ndarray, " G"], Float[np.ndarray, " G"]]:
    """Each group's interval of `sum(hits) / sum(trials)` over its examples, whose trials agree.

    Clopper-Pearson's with as many trials as have the variance that the examples show, their few
    degrees of freedom counted (Korn & Graubard 1998); an example is one trial where all or none are
    hits. With `person`, whose each example is, persons stand in their places. NaN for a group
    without trials.
    """
    from scipy.special import stdtrit

    if person is not None:
        pairs, at = np.unique(np.stack([group, person]), axis=1, return_inverse=True)
        sums = [np.bincount(at.reshape(-1), count) for count in (hits, trials)]
        hits, trials, group = sums[0], sums[1], pairs[0]
    group = np.asarray(group)[trials > 0]
    hits, trials = hits[trials > 0], trials[trials > 0]
    size = int(group.max(initial=-1)) + 1
    total, count = np.bincount(group, trials, size), np.bincount(group, minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.bincount(group, hits, size) / total
        away = np.bincount(group, (hits - share[group] * trials) ** 2, size) / total**2
        variance = away * count / (count - 1)
        tail = (1 + confidence) / 2
        wider = (stdtrit(total - 1, tail) / stdtrit(count - 1, tail)) ** 2
        alike = variance * (total - 1) / (share * (1 - share))  # 1 if trials were independent
        enough = np.minimum(total / alike * wider, total)
        enough = np.where((variance > 0) & np.isfinite(enough), enough, count)
    low, high = clopper_pearson(share * enough, enough, confidence)
    return np.where(count > 0, low, np.nan), np.where(count > 0, high, np.nan)


RULE_OF_THREE = 3  # false positives to be expected before an FPR can be vouched for


def tpr_limits(
    curve: RocCounts,
    levels: Sequence[float],
    confidence: float = 0.95,
    trials: tuple[int, int] | None = None,
) -> Float[np.ndarray, "L 2"]:
    """One target's intervals of the TPR at a true FPR; NaN where non-members are too few for it.

    The threshold of a true FPR may have as many of the non-members above it as Clopper-Pearson's
    interval allows: from the TPR where its upper limit is at most the level to that where its lower
    limit exceeds it. What the members themselves leave open (Clopper-Pearson at the threshold) is
    added to either side in squares, as independent of it (Zou & Donner 2008). Too few are those of
    which fewer than `RULE_OF_THREE` are expected above: no threshold surely has so small an FPR.
    `trials` are the members and the non-members that count, if they are fewer than the scores:
    persons, all of whose records may agree.
    """
    members, others = int(curve.tp[-1]), int(curve.fp[-1])
    inside, outside = trials or (members, others)
    hits = np.arange(others + 1) * (outside / others)
    low, high = clopper_pearson(np.minimum(hits, outside), outside, confidence)
    out = np.full((len(levels), 2), np.nan)
    for row, level in zip(out, levels, strict=True):
        if level * outside < RULE_OF_THREE:
            continue
        counts = [int(np.searchsorted(e, level, side="right")) - 1 for e in (high, low)]
        few, at, many = _hits(curve, [counts[0], allowed(level, others), counts[1]])
        below, above = clopper_pearson(min(at * inside / members, inside), inside, confidence)
        row[0] = max(0.0, at / members - np.hypot((at - few) / members, at / members - below))
        row[1] = min(1.0, at / members + np.hypot((many - at) / members, above - at / members))
    return out


def _hits(curve: RocCounts, false: Sequence[int]) -> list[int]:
    """The most members above a threshold with at most so many non-members; none for -1."""
    at = np.searchsorted(curve.fp, false, side="right") - 1
    return np.where(at >= 0, curve.tp[at], 0).tolist()


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

    area, sd = auc_and_sd(curve)
    half = ndtri(0.5 + confidence / 2) * sd
    return float(max(0.0, area - half)), float(min(1.0, area + half))


def auc_and_sd(curve: RocCounts) -> tuple[float, float]:
    """The AUC and DeLong's estimate of its standard deviation, over members and non-members."""
    true, false = np.diff(curve.tp), np.diff(curve.fp)
    members, others = int(curve.tp[-1]), int(curve.fp[-1])
    wins = 1 - (curve.fp[1:] + curve.fp[:-1]) / (2 * others)  # of a member, ties half
    losses = (curve.tp[1:] + curve.tp[:-1]) / (2 * members)
    area = float(true @ wins) / members
    spread = sum(
        float(count @ (share - area) ** 2) / (n - 1) / n if n > 1 else 0.25
        for share, count, n in ((wins, true, members), (losses, false, others))
    )
    return area, float(np.sqrt(spread))
