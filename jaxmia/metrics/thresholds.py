"""Thresholds that are fitted on other models' scores, never on the target's own truth.

For each target, on all models but those that leave with it: `leaving [T, L]` names their rows, -1
for none. NumPy; scores that are NaN are left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

GRID = 4096  # candidates at most; beyond, every so many-th of the sorted scores


def best(
    score: Float[np.ndarray, "M n"],
    member: Bool[np.ndarray, "M n"],
    leaving: Int[np.ndarray, "T L"],
) -> Float[np.ndarray, " T"]:
    """The threshold with the greatest TPR - FPR, the highest of equals; NaN if a side is empty.

    Exact up to `GRID` distinct scores; else within 1/GRID of the scores' ranks.
    """
    seen = ~np.isnan(score)
    if not seen.any():
        return np.full(len(leaving), np.nan)
    candidates = np.unique(score[seen])
    if len(candidates) > GRID:
        ordered = np.sort(score[seen])
        candidates = np.unique(ordered[np.linspace(0, len(ordered) - 1, GRID).astype(np.int64)])
    at = np.searchsorted(candidates, score, side="right") - 1
    row = np.arange(len(score))[:, None] * len(candidates)

    def above(chosen: np.ndarray) -> np.ndarray:
        """How many of each target's references lie at or above each candidate."""
        count = np.bincount((row + at)[chosen], minlength=len(score) * len(candidates))
        count = count.reshape(len(score), -1)
        return np.cumsum(_without(count, leaving)[:, ::-1], axis=1)

    true, false = above(seen & member), above(seen & ~member)
    gain = true * false[:, -1:] - false * true[:, -1:]  # in whole numbers, so that ties are ties
    found = candidates[::-1][np.argmax(gain, axis=1)]
    return np.where((true[:, -1] > 0) & (false[:, -1] > 0), found, np.nan)


def _without(count: np.ndarray, leaving: np.ndarray) -> np.ndarray:
    """Sums over all models but those that leave."""
    total = np.broadcast_to(count.sum(0), (len(leaving), count.shape[1])).copy()
    for models in leaving.T:
        total -= np.where((models >= 0)[:, None], count[models], 0)
    return total


def at_fpr(
    score: Float[np.ndarray, "M n"],
    member: Bool[np.ndarray, "M n"],
    leaving: Int[np.ndarray, "T L"],
    levels: Sequence[float],
) -> Float[np.ndarray, "F T"]:
    """For each level the lowest threshold that no greater share of the others' non-members reach.

    NaN without a non-member.
    """
    seen = ~np.isnan(score) & ~member
    owner = np.broadcast_to(np.arange(len(score))[:, None], score.shape)[seen]
    value = score[seen]
    order = np.argsort(-value, kind="stable")
    owner, value = owner[order], value[order]
    own = np.append(np.bincount(owner, minlength=len(score)), 0)  # -1 takes the 0
    out = np.full((len(levels), len(leaving)), np.nan)
    for t, models in enumerate(leaving):
        gone = int(own[models].sum())
        count = len(value) - gone
        for i, level in enumerate(levels if count else ()):
            allowed = int(level * count)
            head = slice(0, allowed + 1 + gone)
            kept = value[head][~np.isin(owner[head], models)]
            limit = kept[allowed] if allowed < len(kept) else -np.inf  # the first one too many
            out[i, t] = np.nextafter(limit, np.inf) if np.isfinite(limit) else limit
    return out


class Reached(NamedTuple):
    """What thresholds that were fitted elsewhere really give, over all targets."""

    tpr: float
    fpr: float


def reached(
    score: Float[np.ndarray, "T n"], member: Bool[np.ndarray, "T n"], cut: Float[np.ndarray, " T"]
) -> Reached:
    """TPR and FPR of each target's scores at its threshold; NaN where a class has no score."""
    scored = ~np.isnan(score) & ~np.isnan(cut)[:, None]
    with np.errstate(invalid="ignore"):
        called = (score >= cut[:, None]) & scored
        inside, outside = scored & member, scored & ~member
        return Reached(
            float(np.divide(called[inside].sum(), inside.sum())),
            float(np.divide(called[outside].sum(), outside.sum())),
        )
