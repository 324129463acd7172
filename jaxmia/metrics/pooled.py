"""The pooled ROC under draws of examples, or of persons, each drawn with all its targets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from jaxmia.metrics import draws
from jaxmia.metrics.ranked import Ranked, RocCounts
from jaxmia.metrics.roc import STEP, allowed, auc_of, best

NEAR = np.array([0.005, 0.05])
AROUND = np.concatenate([1 - NEAR[::-1], [1.0], 1 + NEAR])  # of an expected rank, where edges are


class Pooled(NamedTuple):
    """The pooled ROC, with the example, or the person, that every score belongs to."""

    curve: RocCounts
    inside: Int[np.ndarray, " A"]  # the members' examples or persons, highest score first
    outside: Int[np.ndarray, " Z"]  # the non-members'
    members: Int[np.ndarray, " N"]  # how many scores of each example are members'
    others: Int[np.ndarray, " N"]

    @classmethod
    def of(cls, ranked: Ranked, unit: Int[np.ndarray, " N"] | None = None) -> "Pooled":
        """The examples, or the `unit` that each is drawn with, in the order of their scores."""
        size = ranked.score.shape[1]
        truth, at = ranked.member.reshape(-1)[ranked.order], ranked.order % size
        if unit is not None:
            at, size = unit.astype(at.dtype)[at], int(unit.max()) + 1
        sides = at[truth], at[~truth]
        return cls(ranked.curve, *sides, *(np.bincount(s, minlength=size) for s in sides))

    def above(self, rank: Int[np.ndarray, "*L D"]) -> Int[np.ndarray, "*L D"]:
        """Members strictly above the non-member of a rank (1 is the highest); all beyond."""
        at = np.searchsorted(self.curve.fp[1:], np.minimum(rank, len(self.outside)))
        return np.where(rank > len(self.outside), len(self.inside), self.curve.tp[at])

    def estimate(self, level: float) -> tuple[float, float]:
        """The TPR, and the acceleration from each example's say in it."""
        members, others, examples = len(self.inside), len(self.outside), len(self.members)
        k = allowed(level, others)
        if k >= others:
            return 1.0, 0.0
        hits = int(self.above(np.array([k + 1]))[0])
        tpr = hits / members
        excess = np.bincount(self.inside[:hits], minlength=examples) - tpr * self.members
        alarms = np.bincount(self.outside[:k], minlength=examples) - k / others * self.others
        step = 1 + int(np.ceil(2 * np.sqrt(k)))  # the slope of the ROC, over some of its points
        around = np.array([max(k + 1 - step, 1), min(k + 1 + step, others)])
        rise = np.diff(self.above(around))[0] / max(1, np.diff(around)[0])
        return tpr, draws.acceleration(excess - rise * alarms)

    def replicates(
        self, weight: Num[np.ndarray, "D N"], size: Int[np.ndarray, "D 2"], levels: Sequence[float]
    ) -> Float[np.ndarray, "L D"]:
        """The TPRs of every draw, whose members and non-members are `size`."""
        kind = np.float32 if size.max(initial=0) < 1 << 24 else np.float64  # whole numbers, exact
        others = size[:, 1].tolist()
        limit = [[allowed(level, n) if n else 0 for n in others] for level in levels]
        limits = np.array(limit, np.int64).reshape(len(levels), len(weight))
        cut = self.above(1 + passed(weight, self.outside, limits, kind))
        return weighed(weight, self.inside, cut, kind) / np.maximum(size[:, 0], 1)


def influence(ranked: Ranked) -> Float[np.ndarray, "2 N"]:
    """What each example, with all its targets, has to say in the pooled AUC and balanced accuracy.

    The sums over targets of `targets.influence` of all scores as one target's.
    """
    curve, order = ranked.curve, ranked.order
    members, others = float(curve.tp[-1]), float(curve.fp[-1])
    auc, (top, _) = auc_of(curve), best(curve)
    tpr, fpr = curve.tp[top] / members, curve.fp[top] / others
    truth, called = ranked.member.reshape(-1), int(curve.tp[top] + curve.fp[top])
    total = []
    for name in ("auc", "balanced_accuracy"):
        say = np.zeros(ranked.score.size)
        for first in range(0, len(curve.tp) - 1, STEP):
            true, false = (count[first : first + STEP + 1] for count in curve[:2])
            places = slice(int(true[0] + false[0]), int(true[-1] + false[-1]))
            at, tied = order[places], np.diff(true + false)
            if name == "auc":
                inside = (1 - (false[1:] + false[:-1]) / (2 * others) - auc) / members
                outside = ((true[1:] + true[:-1]) / (2 * members) - auc) / others
            else:
                above = true[1:] + false[1:] <= called
                inside = (above - tpr) / (2 * members)
                outside = (fpr - above) / (2 * others)
            say[at] = np.where(truth[at], np.repeat(inside, tied), np.repeat(outside, tied))
        total.append(say.reshape(ranked.score.shape).sum(0))
    return np.stack(total)


def passed(
    weight: Num[np.ndarray, "D N"],
    at: Int[np.ndarray, " n"],
    limits: Int[np.ndarray, "L D"],
    kind: type = np.float64,
) -> Int[np.ndarray, "L D"]:
    """How many of the first of an ordered list of examples weigh no more than each draw's limits.

    What they weigh is counted up to some edges for all draws at once, in numbers of a `kind` that
    holds it exactly, and between two of them draw by draw.
    """
    near = np.multiply.outer(1 + np.median(limits, axis=1), AROUND).reshape(-1)
    powers = 2.0 ** np.arange(len(at).bit_length())
    edge = np.unique(np.concatenate([[0], near, powers, [len(at)]]).astype(np.int64))
    edge = edge[edge <= len(at)]
    upto = _upto(weight, at, edge, kind)
    out = np.full(limits.shape, len(at))
    for level, d in np.argwhere(upto[:, -1] > limits).tolist():
        limit = limits[level, d]
        e = int(np.searchsorted(upto[d], limit, side="right")) - 1  # the next edge is too far
        between = np.cumsum(weight[d, at[edge[e] : edge[e + 1]]], dtype=np.int64)
        out[level, d] = edge[e] + np.searchsorted(between, limit - upto[d, e], side="right")
    return out


def weighed(
    weight: Num[np.ndarray, "D N"],
    at: Int[np.ndarray, " n"],
    counts: Int[np.ndarray, "L D"],
    kind: type = np.float64,
) -> Int[np.ndarray, "L D"]:
    """What the first so many of an ordered list of examples weigh in each draw."""
    edge = np.unique(np.quantile(counts, (0, 0.5, 1), axis=1, method="lower"))
    upto = _upto(weight, at, edge, kind)
    e = np.searchsorted(edge, counts, side="right") - 1
    out = upto[np.arange(len(weight)), e]
    for (level, d), last in np.ndenumerate(counts):
        out[level, d] += int(weight[d, at[edge[e[level, d]] : last]].sum())
    return out


def _upto(
    weight: np.ndarray, at: np.ndarray, edge: np.ndarray, kind: type
) -> Int[np.ndarray, "D E"]:
    """What the first of the list weigh up to each edge."""
    part = np.zeros((weight.shape[1], len(edge)), kind)
    for e, (first, last) in enumerate(zip(np.append(0, edge)[:-1], edge, strict=True)):
        part[:, e] = np.bincount(at[first:last], minlength=len(part))
    return np.cumsum(draws.total(weight, part, kind), axis=1)
