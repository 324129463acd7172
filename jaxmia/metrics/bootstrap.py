"""Bootstrap intervals of AUC and TPR at an FPR, over examples (Efron 1987: BCa; or percentile).

Pooled targets share their examples: an example is drawn with all its targets, so that the interval
is as wide as the examples make it, not as the T N scores would. A target alone has its members and
its non-members drawn apart. The AUC of a draw is that of Hajek's projection, whose distance from
the drawn AUC is of the order 1/n, where both move by the order of 1/sqrt(n).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy.special import ndtr, ndtri

from jaxmia.metrics.roc import allowed, scorable
from jaxmia.metrics.targets import CHUNK, Blocks, blocks, figures_per_target, influence
from jaxmia.types import Array

KINDS = ("bca", "percentile")
CELLS = 1 << 23  # weights of draws that are made at once


class Intervals(NamedTuple):
    """Lower and upper ends, of the pooled figures or with a leading axis of targets.

    The balanced accuracy is that at the threshold which is best for the scores as they are. NaN for
    a target that has no scored members or no scored non-members.
    """

    auc: Float[np.ndarray, "*T 2"]
    balanced_accuracy: Float[np.ndarray, "*T 2"]
    tpr_at_fpr: Float[np.ndarray, "*T L 2"]


def bootstrap(
    score: Float[Array, "*T N"],
    member: Bool[Array, "*T N"],
    levels: Sequence[float] = (1e-2, 1e-3),
    *,
    kind: str = "bca",
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Intervals:
    """Intervals of the pooled AUC and TPR at each FPR; an example is drawn with all its targets.

    Where an FPR allows few false positives (`in_words`) the threshold hangs on single examples and
    no bootstrap knows better. Raises `ValueError` as `roc` does, and for options that do not fit.
    """
    _check(kind, confidence, draws)
    scorable(score, member)
    score, member = np.atleast_2d(np.asarray(score, np.float64), np.asarray(member, bool))
    if len(score) == 1:
        alone = bootstrap_per_target(
            score, member, levels, kind=kind, confidence=confidence, draws=draws, seed=seed
        )
        return Intervals(*(a[0] for a in alone))
    flat, truth = score.reshape(1, -1), member.reshape(1, -1)
    b = blocks(flat, truth)
    says = [say.reshape(score.shape).sum(0) for say in influence(flat, truth, b)]
    found = figures_per_target(flat, truth, ())
    weight = _weights(score.shape[1], draws, seed)
    moved = _moved(weight, np.stack(says, 1))
    ends = [
        _ends(
            np.clip(x[0] + moved[:, i], 0, 1), float(x[0]), _acceleration(says[i]), kind, confidence
        )
        for i, x in enumerate(found[:2])
    ]
    pooled = _Pooled.of(b, score, member)
    rates = [
        _ends(pooled.drawn(weight, level), *pooled.found(level), kind, confidence)
        for level in levels
    ]
    return Intervals(ends[0], ends[1], np.array(rates).reshape(-1, 2))


def bootstrap_per_target(
    score: Float[Array, "T N"],
    member: Bool[Array, "T N"],
    levels: Sequence[float] = (1e-2, 1e-3),
    *,
    kind: str = "bca",
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Intervals:
    """Intervals of each target's own figures, all targets from one set of draws."""
    _check(kind, confidence, draws)
    score, member = np.asarray(score, np.float64), np.asarray(member, bool)
    weight, rng = _weights(score.shape[1], draws, seed), np.random.default_rng([seed, 1])
    rows = max(1, CHUNK // score.shape[1])
    parts = []
    for first in range(0, len(score), rows):
        s, m = score[first : first + rows], member[first : first + rows]
        b = blocks(s, m)
        says, found = influence(s, m, b), figures_per_target(s, m, ())
        ends = [
            _every(np.clip(x + _moved(weight, say.T), 0, 1), x, say, kind, confidence)
            for x, say in zip(found[:2], says, strict=True)
        ]
        rates = np.full((len(s), len(levels), 2), np.nan)
        for t in np.flatnonzero(~np.isnan(found.auc)).tolist():
            own = _Own.of(b, t)
            for i, level in enumerate(levels):
                drawn = own.drawn(rng, draws, level)
                rates[t, i] = _ends(drawn, *own.found(level), kind, confidence)
        parts.append((*ends, rates))
    return Intervals(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _every(drawn: np.ndarray, found: np.ndarray, say: np.ndarray, *how) -> np.ndarray:
    """The ends `[T, 2]` of a figure of every target; NaN where it is not defined."""
    out = np.full((len(found), 2), np.nan)
    for t in np.flatnonzero(~np.isnan(found)).tolist():
        out[t] = _ends(drawn[:, t], float(found[t]), _acceleration(say[t]), *how)
    return out


class _Own(NamedTuple):
    """One target's ROC, from which the TPR of a draw follows without drawing every example.

    The threshold of a draw lies above its (k + 1)-th highest non-member, whose rank among all is
    that of a uniform order statistic; the members above it are then binomial.
    """

    true_above: Int[np.ndarray, " B"]
    false: Int[np.ndarray, " B"]
    members: int
    others: int

    @classmethod
    def of(cls, b: Blocks, t: int) -> "_Own":
        at = slice(int(b.start[t]), int(b.start[t + 1]))
        return cls(b.true_above[at], b.false[at], int(b.members[t]), int(b.non_members[t]))

    def above(self, rank: Int[np.ndarray, " D"]) -> Int[np.ndarray, " D"]:
        """Members strictly above the non-member of a rank (1 is the highest); all beyond."""
        at = np.searchsorted(self.false, np.minimum(rank, self.others))
        return np.where(rank > self.others, self.members, self.true_above[at])

    def found(self, level: float) -> tuple[float, float]:
        """The TPR, and the acceleration from leaving each example out."""
        k = allowed(level, self.others)
        hits = int(self.above(np.array([k + 1]))[0])
        tpr = hits / self.members
        if not 0 < hits < self.members or self.others < 2:
            return tpr, 0.0
        # without one of the k + 1 highest non-members, the next one holds the threshold
        fewer = allowed(level, self.others - 1)
        high, low = self.above(np.array([fewer + 1, fewer + 2])) / self.members
        left = np.array([tpr - 1 / self.members, tpr, high, low])
        left[0], left[1] = (hits - 1) / (self.members - 1), hits / (self.members - 1)
        count = np.array([hits, self.members - hits, self.others - fewer - 1, fewer + 1])
        cubes = squares = 0.0
        for side, size in ((slice(0, 2), self.members), (slice(2, 4), self.others)):
            centre = (count[side] * left[side]).sum() / size
            say = (size - 1) * (centre - left[side])
            cubes += (count[side] * say**3).sum() / size**3
            squares += (count[side] * say**2).sum() / size**2
        return tpr, cubes / (6 * squares**1.5) if squares > 0 else 0.0

    def drawn(self, rng: np.random.Generator, draws: int, level: float) -> Float[np.ndarray, " D"]:
        k = allowed(level, self.others)
        if k >= self.others:
            return np.ones(draws)
        rank = np.ceil(self.others * rng.beta(k + 1, self.others - k, draws)).astype(np.int64)
        share = self.above(np.maximum(rank, 1)) / self.members
        return rng.binomial(self.members, share) / self.members


class _Pooled(NamedTuple):
    """The pooled ROC, with the example that every score belongs to."""

    true_above: Int[np.ndarray, " B"]
    false: Int[np.ndarray, " B"]
    inside: Int[np.ndarray, " A"]  # the members' examples, highest score first
    outside: Int[np.ndarray, " Z"]  # the non-members'
    members: Int[np.ndarray, " N"]  # how many scores of each example are members'
    others: Int[np.ndarray, " N"]

    @classmethod
    def of(cls, b: Blocks, score: np.ndarray, member: np.ndarray) -> "_Pooled":
        order, examples = b.order[0], score.shape[1]
        order = order[: int(b.true[-1] + b.false[-1])]
        truth = member.reshape(-1)[order]
        at = order % examples
        scored = ~np.isnan(score)
        return cls(
            b.true_above, b.false, at[truth], at[~truth],
            (member & scored).sum(0), (~member & scored).sum(0),
        )  # fmt: skip

    def above(self, rank: Int[np.ndarray, " D"]) -> Int[np.ndarray, " D"]:
        at = np.searchsorted(self.false, np.minimum(rank, len(self.outside)))
        return np.where(rank > len(self.outside), len(self.inside), self.true_above[at])

    def found(self, level: float) -> tuple[float, float]:
        """The TPR, and the acceleration from each example's say in it."""
        members, others, examples = len(self.inside), len(self.outside), len(self.members)
        k = allowed(level, others)
        if k >= others:
            return 1.0, 0.0
        hits = int(self.above(np.array([k + 1]))[0])
        tpr = hits / members
        found = np.bincount(self.inside[:hits], minlength=examples) - tpr * self.members
        alarms = np.bincount(self.outside[:k], minlength=examples) - k / others * self.others
        step = 1 + int(np.ceil(2 * np.sqrt(k)))  # the slope of the ROC, over some of its points
        around = np.array([max(k + 1 - step, 1), min(k + 1 + step, others)])
        rise = np.diff(self.above(around))[0] / max(1, np.diff(around)[0])
        return tpr, _acceleration(found - rise * alarms)

    def drawn(self, weight: Num[np.ndarray, "D N"], level: float) -> Float[np.ndarray, " D"]:
        """The TPR of every draw."""
        members, others = (_dot(weight, a) for a in (self.members, self.others))
        limit = np.array([allowed(level, int(n)) if n else 0 for n in others])
        cut = self.above(1 + self._passed(weight, limit))
        order, counted = np.argsort(cut), 0
        held = np.zeros(weight.shape[1])
        hits = np.empty(len(weight))
        for draw in order:  # from the highest threshold to the lowest
            upto = int(cut[draw])
            if upto > counted:
                held += np.bincount(self.inside[counted:upto], minlength=len(held))
                counted = upto
            hits[draw] = weight[draw] @ held
        return hits / np.maximum(members, 1)

    def _passed(self, weight: np.ndarray, limit: np.ndarray) -> Int[np.ndarray, " D"]:
        """How many of the highest non-members weigh no more than the limit of each draw."""
        out, size = np.full(len(weight), len(self.outside)), max(64, 2 * int(limit.max()))
        todo, first, weighed = np.arange(len(weight)), 0, np.zeros(len(weight), np.int64)
        while len(todo) and first < len(self.outside):
            at = self.outside[first : first + size]
            rows = max(1, CELLS // len(at))
            left = []
            for part in np.split(todo, range(rows, len(todo), rows)):
                total = np.cumsum(weight[np.ix_(part, at)], axis=1, dtype=np.int64)
                total += weighed[part, None]
                over = total > limit[part, None]
                done = over[:, -1]
                out[part[done]] = first + over[done].argmax(1)
                weighed[part] = total[:, -1]
                left.append(part[~done])
            todo, first = np.concatenate(left), first + len(at)
        return out


def _weights(examples: int, draws: int, seed: int) -> Num[np.ndarray, "D N"]:
    """How often each example is in each draw of as many."""
    rng = np.random.default_rng([seed, 0])
    out = np.empty((draws, examples), np.uint16)
    rows = max(1, CELLS // examples)
    for first in range(0, draws, rows):
        some = min(rows, draws - first)
        at = rng.integers(examples, size=(some, examples)) + examples * np.arange(some)[:, None]
        count = np.bincount(at.reshape(-1), minlength=some * examples)
        out[first : first + some] = count.reshape(some, examples)
    return out


def _moved(weight: np.ndarray, say: Float[np.ndarray, "N T"]) -> Float[np.ndarray, "D T"]:
    """How far each draw moves each target's statistic."""
    rows = max(1, CELLS // weight.shape[1])
    say32 = say.astype(np.float32)  # relative to the move itself 1e-6 is lost
    parts = [weight[i : i + rows].astype(np.float32) @ say32 for i in range(0, len(weight), rows)]
    return np.concatenate(parts).astype(np.float64)


def _dot(weight: np.ndarray, count: np.ndarray) -> Int[np.ndarray, " D"]:
    return np.array([row @ count for row in weight.astype(np.int64, copy=False)], np.int64)


def _acceleration(say: Float[np.ndarray, " n"]) -> float:
    """Efron's a, from the influence of every example."""
    squares = float((say**2).sum())
    return float((say**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0


def _ends(
    drawn: Float[np.ndarray, " D"], found: float, acceleration: float, kind: str, confidence: float
) -> Float[np.ndarray, " 2"]:
    """The interval of a statistic, from its draws."""
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if kind == "bca":
        below = ((drawn < found).mean() + (drawn <= found).mean()) / 2
        edge = 0.5 / len(drawn)
        bias = ndtri(np.clip(below, edge, 1 - edge))
        z = bias + ndtri(tails)
        tails = ndtr(bias + z / np.maximum(1 - acceleration * z, 1e-3))
    return np.quantile(drawn, tails)


def _check(kind: str, confidence: float, draws: int) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not one of {KINDS}")
    if not 0 < confidence < 1 or draws < 2:
        raise ValueError(
            f"confidence={confidence} must be above 0 and below 1, draws={draws} 2 or more"
        )
