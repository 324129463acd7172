"""Bootstrap intervals of AUC and TPR at an FPR, over examples (Efron 1987: BCa; or percentile).

Pooled targets share their examples: an example is drawn with all its targets, so that the interval
is as wide as the examples make it, not as the T N scores would; where examples belong to persons, a
person with all of them. A target alone has its members and its non-members drawn apart. The AUC of
a draw is that of Hajek's projection, whose distance from the drawn AUC is of the order 1/n, where
both move by the order of 1/sqrt(n).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.metrics.draws import acceleration, ends, moved, total, weights
from jaxmia.metrics.pooled import Pooled
from jaxmia.metrics.pooled import influence as influence_of_examples
from jaxmia.metrics.ranked import Ranked, rank, scorable
from jaxmia.metrics.roc import allowed, figures_of
from jaxmia.metrics.targets import CHUNK, Blocks, blocks, figures_per_target, influence
from jaxmia.types import Array

KINDS = ("bca", "percentile")


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
    person: Int[Array, " N"] | None = None,
    kind: str = "bca",
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Intervals:
    """Intervals of the pooled AUC and TPR at each FPR; an example is drawn with all its targets.

    With `person`, whose each example is, a person is drawn with all examples. Of many pooled
    targets the intervals cover also where an FPR allows no false positive, as long as about one is
    to be expected. Of one target alone they do not where few are: `tpr_limits`. Raises `ValueError`
    as `roc` does, for options that do not fit, and for a `person` of another length.
    """
    scorable(score, member)
    return bootstrap_of(
        rank(score, member), levels,
        person=person, kind=kind, confidence=confidence, draws=draws, seed=seed,
    )  # fmt: skip


def bootstrap_of(
    ranked: Ranked,
    levels: Sequence[float] = (1e-2, 1e-3),
    *,
    person: Int[Array, " N"] | None = None,
    kind: str = "bca",
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Intervals:
    """The same of scores that are ranked already, members and non-members among them."""
    _check(kind, confidence, draws)
    if len(ranked.score) == 1 and person is None:
        alone = bootstrap_per_target(
            ranked.score, ranked.member, levels,
            kind=kind, confidence=confidence, draws=draws, seed=seed,
        )  # fmt: skip
        return Intervals(*(a[0] for a in alone))
    of = _Draws.of(ranked, levels, person, draws, seed)
    spans = [
        ends(own, x, acceleration(say), kind, confidence)
        for own, x, say in zip(of.figures, figures_of(ranked.curve, ())[:2], of.says, strict=True)
    ]
    rates = [
        ends(own, *of.pooled.estimate(level), kind, confidence)
        for own, level in zip(of.rates, levels, strict=True)
    ]
    return Intervals(spans[0], spans[1], np.array(rates).reshape(-1, 2))


def difference(
    first: Ranked,
    second: Ranked,
    levels: Sequence[float] = (1e-2, 1e-3),
    *,
    person: Int[Array, " N"] | None = None,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Intervals:
    """Percentile intervals of the first's figures less the second's, on the same draws of examples.

    Two attacks on the same targets err on the same examples, so that their difference is known
    better than either. Raises `ValueError` as `bootstrap` does, and for other examples.
    """
    _check("percentile", confidence, draws)
    if first.score.shape != second.score.shape:
        raise ValueError(f"difference: scores are {first.score.shape} and {second.score.shape}")
    one, other = (_Draws.of(r, levels, person, draws, seed) for r in (first, second))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    spans = np.quantile(np.subtract(one.figures, other.figures), tails, axis=-1).T
    rates = np.quantile(np.subtract(one.rates, other.rates), tails, axis=-1).T
    return Intervals(spans[0], spans[1], rates.reshape(-1, 2))


class _Draws(NamedTuple):
    """The figures of the pooled scores in each draw, and what each example has to say in them."""

    pooled: Pooled
    says: Float[np.ndarray, "2 n"]
    figures: Float[np.ndarray, "2 D"]  # AUC, balanced accuracy
    rates: Float[np.ndarray, "L D"]

    @classmethod
    def of(
        cls,
        ranked: Ranked,
        levels: Sequence[float],
        person: Int[Array, " N"] | None,
        draws: int,
        seed: int,
    ) -> "_Draws":
        says = influence_of_examples(ranked)
        unit = None if person is None else _numbered(person, ranked.score.shape[1])
        if unit is not None:
            says = np.stack([np.bincount(unit, say) for say in says])
        weight = weights(says.shape[1], draws, seed)
        own = np.array(figures_of(ranked.curve, ())[:2])
        moves = np.clip(own + moved(weight, says.T), 0, 1).T
        pooled = Pooled.of(ranked, unit)
        size = total(weight, np.stack([pooled.members, pooled.others], 1))
        rates = np.reshape(pooled.replicates(weight, size, levels), (len(levels), draws))
        return cls(pooled, says, moves, rates)


def _numbered(person: Int[Array, " N"], examples: int) -> Int[np.ndarray, " N"]:
    """The persons counted from 0."""
    if np.shape(person) != (examples,):
        raise ValueError(f"person: has shape {np.shape(person)}, there are {examples} examples")
    return np.unique(np.asarray(person), return_inverse=True)[1].reshape(-1)


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
    weight, rng = weights(score.shape[1], draws, seed), np.random.default_rng([seed, 1])
    rows = max(1, CHUNK // score.shape[1])
    parts = []
    for first in range(0, len(score), rows):
        s, m = score[first : first + rows], member[first : first + rows]
        b = blocks(s, m)
        says, figures = influence(s, m, b), figures_per_target(s, m, ())
        spans = [
            _every(np.clip(x + moved(weight, say.T), 0, 1), x, say, kind, confidence)
            for x, say in zip(figures[:2], says, strict=True)
        ]
        rates = np.full((len(s), len(levels), 2), np.nan)
        for t in np.flatnonzero(~np.isnan(figures.auc)).tolist():
            own = _Own.of(b, t)
            for i, level in enumerate(levels):
                replicates = own.replicates(rng, draws, level)
                rates[t, i] = ends(replicates, *own.estimate(level), kind, confidence)
        parts.append((*spans, rates))
    return Intervals(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _every(replicates: np.ndarray, estimate: np.ndarray, say: np.ndarray, *how) -> np.ndarray:
    """The ends `[T, 2]` of a figure of every target; NaN where it is not defined."""
    out = np.full((len(estimate), 2), np.nan)
    for t in np.flatnonzero(~np.isnan(estimate)).tolist():
        out[t] = ends(replicates[:, t], float(estimate[t]), acceleration(say[t]), *how)
    return out


class _Own(NamedTuple):
    """One target's ROC, from which the TPR of a draw follows without drawing every example.

    The threshold of a draw lies above its (k + 1)-th highest non-member, whose rank among all is
    that of a uniform order statistic; the members above it are then binomial.
    """

    tp_above: Int[np.ndarray, " B"]
    fp: Int[np.ndarray, " B"]
    members: int
    others: int

    @classmethod
    def of(cls, b: Blocks, t: int) -> "_Own":
        at = slice(int(b.start[t]), int(b.start[t + 1]))
        return cls(b.tp_above[at], b.fp[at], int(b.members[t]), int(b.non_members[t]))

    def above(self, rank: Int[np.ndarray, " D"]) -> Int[np.ndarray, " D"]:
        """Members strictly above the non-member of a rank (1 is the highest); all beyond."""
        at = np.searchsorted(self.fp, np.minimum(rank, self.others))
        return np.where(rank > self.others, self.members, self.tp_above[at])

    def estimate(self, level: float) -> tuple[float, float]:
        """The TPR, and the acceleration from leaving each example out."""
        k = allowed(level, self.others)
        hits = int(self.above(np.array([k + 1]))[0])
        tpr = hits / self.members
        if not 0 < hits < self.members or self.others < 2:
            return tpr, 0.0
        # without one of the k + 1 highest non-members, the next one holds the threshold
        fewer = allowed(level, self.others - 1)
        high, low = self.above(np.array([fewer + 1, fewer + 2])) / self.members
        jackknife = np.array([tpr - 1 / self.members, tpr, high, low])
        jackknife[0], jackknife[1] = (hits - 1) / (self.members - 1), hits / (self.members - 1)
        count = np.array([hits, self.members - hits, self.others - fewer - 1, fewer + 1])
        cubes = squares = 0.0
        for side, size in ((slice(0, 2), self.members), (slice(2, 4), self.others)):
            centre = (count[side] * jackknife[side]).sum() / size
            say = (size - 1) * (centre - jackknife[side])
            cubes += (count[side] * say**3).sum() / size**3
            squares += (count[side] * say**2).sum() / size**2
        return tpr, cubes / (6 * squares**1.5) if squares > 0 else 0.0

    def replicates(
        self, rng: np.random.Generator, draws: int, level: float
    ) -> Float[np.ndarray, " D"]:
        k = allowed(level, self.others)
        if k >= self.others:
            return np.ones(draws)
        rank = np.ceil(self.others * rng.beta(k + 1, self.others - k, draws)).astype(np.int64)
        share = self.above(np.maximum(rank, 1)) / self.members
        return rng.binomial(self.members, share) / self.members


def _check(kind: str, confidence: float, draws: int) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not one of {KINDS}")
    if not 0 < confidence < 1 or draws < 2:
        raise ValueError(
            f"confidence={confidence} must be above 0 and below 1, draws={draws} 2 or more"
        )
