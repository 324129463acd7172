"""Many ROCs at once: one for each target, from one sort of `[T, N]` scores."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.types import Array

CHUNK = 1 << 22  # scores that are worked on at once


class TargetFigures(NamedTuple):
    """The usual figures of every target; NaN without scored members and non-members."""

    auc: Float[np.ndarray, " T"]
    balanced_accuracy: Float[np.ndarray, " T"]
    tpr_at_fpr: Float[np.ndarray, "T L"]


class Blocks(NamedTuple):
    """The blocks of tied scores of every target, highest first, as one list over all targets.

    Target t has the blocks `start[t]` to `start[t + 1]`; `tp` and `fp` count its members and
    non-members down to the end of a block, `tp_above` and `fp_above` down to its beginning.
    """

    start: Int[np.ndarray, " T1"]
    tp: Int[np.ndarray, " B"]
    fp: Int[np.ndarray, " B"]
    tp_above: Int[np.ndarray, " B"]
    fp_above: Int[np.ndarray, " B"]
    order: Int[np.ndarray, "T N"]  # the examples, highest score first, what is NaN last
    length: Int[np.ndarray, " B"]

    @property
    def members(self) -> Int[np.ndarray, " T"]:
        """Scored members of each target."""
        return self.tp[self.start[1:] - 1]

    @property
    def non_members(self) -> Int[np.ndarray, " T"]:
        """Scored non-members of each target."""
        return self.fp[self.start[1:] - 1]

    @property
    def target(self) -> Int[np.ndarray, " B"]:
        """Whose block it is."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))


def blocks(score: Float[Array, "T N"], member: Bool[Array, "T N"]) -> Blocks:
    """All targets' ROCs in whole numbers."""
    score, member = np.asarray(score, np.float64), np.asarray(member, bool)
    scored = ~np.isnan(score)
    key = score if scored.all() else np.where(scored, score, -np.inf)
    order = np.argsort(-key, axis=1)
    key = np.take_along_axis(key, order, 1)
    truth = np.take_along_axis(member & scored, order, 1)
    others = np.take_along_axis(~member & scored, order, 1)
    last = np.ones(score.shape, bool)
    last[:, :-1] = key[:, 1:] != key[:, :-1]
    ends = np.flatnonzero(last)
    start = np.append(0, np.cumsum(last.sum(1)))
    true, false = (np.cumsum(a, axis=1).reshape(-1)[ends] for a in (truth, others))
    tp_above, fp_above = (np.append(0, count[:-1]) for count in (true, false))
    tp_above[start[:-1]] = fp_above[start[:-1]] = 0
    length = np.diff(ends, prepend=-1)
    return Blocks(start, true, false, tp_above, fp_above, order, length)


def figures_per_target(
    score: Float[Array, "T N"], member: Bool[Array, "T N"], levels: Sequence[float]
) -> TargetFigures:
    """AUC, best balanced accuracy and TPR at each FPR of every target alone."""
    score, member = np.asarray(score, np.float64), np.asarray(member, bool)
    rows = max(1, CHUNK // max(1, score.shape[1]))
    parts = [
        _figures(blocks(score[i : i + rows], member[i : i + rows]), levels)
        for i in range(0, len(score), rows)
    ]
    return TargetFigures(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _figures(b: Blocks, levels: Sequence[float]) -> TargetFigures:
    first, members, others = b.start[:-1], b.members, b.non_members
    area = (b.fp - b.fp_above) * (b.tp + b.tp_above)  # twice, in whole numbers
    with np.errstate(invalid="ignore", divide="ignore"):
        fpr, tpr = b.fp / others[b.target], b.tp / members[b.target]
        auc = np.add.reduceat(area.astype(np.float64), first) / (2.0 * members * others)
        gain = np.maximum(np.maximum.reduceat(tpr - fpr, first), 0)
        rates = [
            np.maximum.reduceat(np.where(fpr <= level, b.tp, 0), first) / members
            for level in levels
        ]
    lone = (members == 0) | (others == 0)
    rates = np.stack(rates, 1) if rates else np.empty((len(first), 0))
    return TargetFigures(
        np.where(lone, np.nan, auc),
        np.where(lone, np.nan, (1 + gain) / 2),
        np.where(lone[:, None], np.nan, rates),
    )


class Influence(NamedTuple):
    """What each score has to say in its target's figures; what is NaN has no say.

    Weights w for the scores move the AUC by `sum (w - 1) auc` and the balanced accuracy, at the
    threshold that is best for the unweighted ones, by the like (Hajek's projections).
    """

    auc: Float[np.ndarray, "T N"]
    balanced_accuracy: Float[np.ndarray, "T N"]


def influence(
    score: Float[Array, "T N"], member: Bool[Array, "T N"], b: Blocks | None = None
) -> Influence:
    """In the AUC, a member has the share of non-members below it, a non-member of members above.

    Minus the AUC, over the number of the score's class, ties counting half (DeLong et al. 1988). In
    the balanced accuracy, half of whether it is called what it is, minus how often its class is.
    """
    b = b or blocks(score, member)
    target, first = b.target, b.start[:-1]
    members, others = b.members[target], b.non_members[target]
    with np.errstate(invalid="ignore", divide="ignore"):
        area = _figures(b, ()).auc[target]
        tpr, fpr = b.tp / members, b.fp / others
        gain = tpr - fpr
        most = np.maximum(np.maximum.reduceat(gain, first), 0)
        tops = np.flatnonzero(gain >= most[target])[::-1]
        best = np.full(len(first), -1)
        best[target[tops]] = tops  # the first of equals
        called = np.arange(len(gain)) <= best[target]
        at = [np.where(best >= 0, r[best], 0.0)[target] for r in (tpr, fpr)]
        values = (
            (1 - (b.fp + b.fp_above) / (2 * others) - area) / members,
            ((b.tp + b.tp_above) / (2 * members) - area) / others,
            (called - at[0]) / (2 * members),
            (at[1] - called) / (2 * others),
        )
    truth = np.take_along_axis(np.asarray(member, bool), b.order, 1)
    block = np.repeat(np.arange(len(b.length)), b.length).reshape(b.order.shape)
    missing = np.isnan(np.asarray(score, np.float64))
    says = []
    for inside, outside in (values[:2], values[2:]):
        say = np.empty(b.order.shape)
        np.put_along_axis(say, b.order, np.where(truth, inside[block], outside[block]), 1)
        says.append(np.where(missing, 0.0, say))
    return Influence(*says)
