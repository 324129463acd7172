"""Thresholds that are fitted on other models' scores, never on the target's own truth.

For each target, on all models but those that leave with it: `leaving [T, L]` names their rows, -1
for none. NumPy; scores that are NaN are left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.metrics.ranked import Ranked, rank

GRID = 4096  # candidates at most; beyond, every so many-th of the sorted scores


def best(
    score: Float[np.ndarray, "M n"],
    member: Bool[np.ndarray, "M n"],
    leaving: Int[np.ndarray, "T L"],
    beside: Int[np.ndarray, "T n"] | None = None,
) -> Float[np.ndarray, " T"]:
    """The threshold with the greatest TPR - FPR, the highest of equals; NaN if a side is empty.

    `beside` names one more row that leaves on an example alone, -1 for none. Exact up to `GRID`
    distinct scores; else within 1/GRID of the scores' ranks.
    """
    return best_of(rank(score, member), leaving, beside)


def best_of(
    ranked: Ranked,
    leaving: Int[np.ndarray, "T L"],
    beside: Int[np.ndarray, "T n"] | None = None,
) -> Float[np.ndarray, " T"]:
    """The same from scores that are ranked already."""
    curve, order = ranked.curve, ranked.order
    if not len(order):
        return np.full(len(leaving), np.nan)
    called = (curve.tp + curve.fp)[1:]  # scores at or above each distinct one
    if len(called) > GRID:
        ordered = len(order) - 1 - np.linspace(0, len(order) - 1, GRID).astype(np.int64)[::-1]
        called = np.unique(called[np.searchsorted(called, ordered, side="right")])
    candidates = ranked.score.reshape(-1)[order[called - 1]]
    models, step = len(ranked.score), len(called)
    at = np.repeat(np.arange(step), np.diff(called, prepend=0))
    at += order // ranked.score.shape[1] * np.int64(step)
    truth = ranked.member.reshape(-1)[order]

    def above(side: np.ndarray) -> np.ndarray:
        """How many of each target's references lie at or above each candidate."""
        count = np.bincount(at[side], minlength=models * step).reshape(models, step)
        rest = _without(count, leaving)
        if beside is not None:
            rest -= _single(ranked.score.size, order[side], at[side] % step, beside, step)
        return np.cumsum(rest, axis=1)

    true, false = above(truth), above(~truth)
    gain = true * false[:, -1:] - false * true[:, -1:]  # in whole numbers, so that ties are ties
    cut = candidates[np.argmax(gain, axis=1)]
    return np.where((true[:, -1] > 0) & (false[:, -1] > 0), cut, np.nan)


def _without(count: np.ndarray, leaving: np.ndarray) -> np.ndarray:
    """Sums over all models but those that leave."""
    total = np.broadcast_to(count.sum(0), (len(leaving), count.shape[1])).copy()
    for models in leaving.T:
        total -= np.where((models >= 0)[:, None], count[models], 0)
    return total


def _single(
    size: int, places: np.ndarray, at: np.ndarray, beside: np.ndarray, step: int
) -> Int[np.ndarray, "T step"]:
    """How many of the scores that leave on single examples lie at each candidate.

    The scores of one side are at `places` of the flat `size`, and at the candidates `at`.
    """
    candidate = np.full(size, step)  # those of the other side, and what is not known, count nowhere
    candidate[places] = at
    flat = beside * np.int64(beside.shape[1]) + np.arange(beside.shape[1])
    rows = (candidate[row[leaver >= 0]] for row, leaver in zip(flat, beside, strict=True))
    return np.stack([np.bincount(row, minlength=step + 1)[:step] for row in rows])


def at_fpr(
    score: Float[np.ndarray, "M n"],
    member: Bool[np.ndarray, "M n"],
    leaving: Int[np.ndarray, "T L"],
    levels: Sequence[float],
    beside: Int[np.ndarray, "T n"] | None = None,
) -> Float[np.ndarray, "F T"]:
    """For each level the lowest threshold that no greater share of the others' non-members reach.

    `beside` is that of `best`. NaN without a non-member.
    """
    return at_fpr_of(rank(score, member), leaving, levels, beside)


def at_fpr_of(
    ranked: Ranked,
    leaving: Int[np.ndarray, "T L"],
    levels: Sequence[float],
    beside: Int[np.ndarray, "T n"] | None = None,
) -> Float[np.ndarray, "F T"]:
    """The same from scores that are ranked already."""
    models, examples = ranked.score.shape
    others = ranked.order[~ranked.member.reshape(-1)[ranked.order]]
    owner = others // examples
    own = np.append(np.bincount(owner, minlength=models), 0)  # -1 takes the 0
    place = np.full(0 if beside is None else ranked.score.size, -1)
    if beside is not None:
        place[others] = np.arange(len(others))
    out = np.full((len(levels), len(leaving)), np.nan)
    for t, row in enumerate(leaving):
        stays = np.ones(models + 1, bool)
        stays[row] = False
        single = np.zeros(0, np.int64)
        if beside is not None:
            at = np.flatnonzero((beside[t] >= 0) & stays[beside[t]])
            single = place[beside[t][at] * np.int64(examples) + at]
            single = single[single >= 0]
        fewer = int(own[row].sum()) + len(single)
        count = len(others) - fewer
        for i, level in enumerate(levels if count else ()):
            allowed = int(level * count)
            keep = stays[owner[: allowed + 1 + fewer]]
            keep[single[single < len(keep)]] = False
            rest = np.flatnonzero(keep)
            limit = -np.inf
            if allowed < len(rest):  # the first one too many
                limit = ranked.score.reshape(-1)[others[rest[allowed]]]
            out[i, t] = np.nextafter(limit, np.inf) if np.isfinite(limit) else limit
    return out


class Rates(NamedTuple):
    """What thresholds that were fitted elsewhere really give, over all targets."""

    tpr: float
    fpr: float


def rates_at(
    score: Float[np.ndarray, "T n"], member: Bool[np.ndarray, "T n"], cut: Float[np.ndarray, " T"]
) -> Rates:
    """TPR and FPR of each target's scores at its threshold; NaN where a class has no score."""
    scored = ~(np.isnan(score) | np.isnan(cut)[:, None])
    with np.errstate(invalid="ignore"):
        called = (score >= cut[:, None]) & scored
        rates = [
            np.divide(np.count_nonzero(called & side), np.count_nonzero(scored & side))
            for side in (member, ~member)
        ]
    return Rates(*map(float, rates))
