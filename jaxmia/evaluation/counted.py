"""ROCs by counting: of float32 scores that are rounded towards 0 to `MANTISSA` bits.

Rows of scores are added one after the other, in memory that does not depend on how many they are.
Each threshold of the curve is a valid one; its area is off by at most `rounding`.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt32

from jaxmia.evaluation import figures
from jaxmia.metrics import RocCounts

MANTISSA = 13
SHIFT = 23 - MANTISSA
BINS = 2 << (32 - SHIFT)


def curve(
    rows: Iterable[tuple[Float32[np.ndarray, " N"], Bool[np.ndarray, " N"]]],
) -> RocCounts | None:
    """Of all rows of scores and membership; None if nothing could be scored."""
    counts = nothing()
    for score, member in rows:
        add(counts, score, member)
    return roc(counts)


def nothing() -> Int[np.ndarray, " B"]:
    """Counts of no scores."""
    return np.zeros(BINS, np.int64)


def add(
    counts: Int[np.ndarray, " B"],
    score: Float32[np.ndarray, " N"],
    member: Bool[np.ndarray, " N"],
) -> None:
    """Counts a target's scores, in place."""
    keep = ~np.isnan(score)
    counts += np.bincount(bin_of(score[keep], member[keep]), minlength=BINS)


def bin_of(
    score: Float32[np.ndarray, "*n"], member: Bool[np.ndarray, "*n"]
) -> Int[np.ndarray, "*n"]:
    """Where each score is counted; NaN, too, where no number is."""
    return (ordered(score) >> SHIFT).astype(np.int64) * 2 + member


def bins_of(curve: RocCounts) -> Int[np.ndarray, " P"]:
    """Where the non-members of each step of a counted curve are counted, its members next to it."""
    return bin_of(curve.threshold[1:].astype(np.float32), np.zeros(len(curve.tp) - 1, bool))


def roc(counts: Int[np.ndarray, " B"]) -> RocCounts | None:
    """The ROC of counts by rounded score; a threshold is the lowest score of its count."""
    pairs = counts.reshape(-1, 2)[::-1]
    some = np.flatnonzero(pairs.any(1))
    if not len(some):
        return None
    false, true = np.cumsum(pairs[some], axis=0).T
    keys = ((len(pairs) - 1 - some).astype(np.uint32)) << np.uint32(SHIFT)
    lowest = unordered(keys)
    lowest = np.where(np.isnan(lowest), np.float32(-np.inf), lowest)  # -inf rounded down
    threshold = np.append(np.inf, lowest.astype(np.float64))
    return RocCounts(np.append(0, true), np.append(0, false), threshold)


def rounding(of: RocCounts) -> float:
    """By how much the area is off at most: half of what ties make of it."""
    ties = (np.diff(of.tp) * np.diff(of.fp).astype(np.float64)).sum() / 2
    return float(ties / int(of.tp[-1]) / int(of.fp[-1]))


def figures_of_target(
    score: Float32[np.ndarray, " N"], member: Bool[np.ndarray, " N"]
) -> list[float] | None:
    """The exact figures of one target, by one sort of whole numbers; None if there are none."""
    keep = ~np.isnan(score)
    both = np.sort(ordered(score[keep]).astype(np.uint64) << np.uint64(1) | member[keep])[::-1]
    key, inside = both >> np.uint64(1), np.cumsum(both & np.uint64(1), dtype=np.int64)
    if not len(key) or not 0 < inside[-1] < len(key):
        return None
    last = np.append(np.flatnonzero(key[1:] != key[:-1]), len(key) - 1)
    true, false = np.append(0, inside[last]), np.append(0, last + 1 - inside[last])
    threshold = np.append(np.inf, unordered(key[last].astype(np.uint32)).astype(np.float64))
    return figures.values_of(RocCounts(true, false, threshold))


def ordered(score: Float[np.ndarray, "*n"]) -> UInt32[np.ndarray, "*n"]:
    """float32 as uint32 of the same order; both zeros are one."""
    bits = (score + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def unordered(key: UInt32[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
    """The float32 that `ordered` makes of each."""
    return np.where(key >> 31, key & np.uint32(0x7FFFFFFF), ~key).view(np.float32)
