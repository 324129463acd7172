"""Scores in their order: sorted once, and handed to all that ranks decide."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.types import Array


class RocCounts(NamedTuple):
    """Members and non-members at or above each threshold, highest first."""

    tp: Int[np.ndarray, " P"]
    fp: Int[np.ndarray, " P"]
    threshold: Float[np.ndarray, " P"]

    @property
    def both(self) -> bool:
        """Whether there are members and non-members: without, no figure is defined."""
        return bool(self.tp[-1] and self.fp[-1])


@dataclass(frozen=True, eq=False)
class Ranked:
    """An attack's scores of T targets, with the order of all of them, which is made once.

    Figures, intervals, thresholds, calibrations and curves are functions of it. Scores that are NaN
    (not scorable) have no rank.
    """

    score: Float[np.ndarray, "T N"]
    member: Bool[np.ndarray, "T N"]

    @cached_property
    def order(self) -> Int[np.ndarray, " n"]:
        """Places in the flat `[T N]` scores, highest score first, equals as they stand."""
        flat = self.score.reshape(-1)
        order = np.argsort(-flat, kind="stable")[: flat.size - int(np.isnan(flat).sum())]
        return order.astype(np.int32 if flat.size < 1 << 31 else np.int64)

    @cached_property
    def curve(self) -> RocCounts:
        """The ROC of the pooled scores in whole numbers."""
        return self._counts(self.order)

    def targets(self) -> Iterator[RocCounts]:
        """The ROC of every target's own scores, one after the other."""
        row = self.order // self.score.shape[1]
        row = row.astype(np.uint16 if len(self.score) <= 1 << 16 else np.int64)
        own = self.order[np.argsort(row, kind="stable")]  # whole numbers of 16 bits: by radix
        ends = np.cumsum(np.bincount(row, minlength=len(self.score)))
        for first, last in zip(np.append(0, ends), ends, strict=False):
            yield self._counts(own[first:last])

    def _counts(self, order: Int[np.ndarray, " n"]) -> RocCounts:
        score = self.score.reshape(-1)[order]
        last = np.ones(len(score), bool)
        np.not_equal(score[1:], score[:-1], out=last[:-1])
        ends = np.flatnonzero(last)
        true, false = np.zeros((2, len(ends) + 1), np.int64)
        threshold = np.full(len(ends) + 1, np.inf)
        np.take(np.cumsum(self.member.reshape(-1)[order]), ends, out=true[1:], mode="clip")
        np.take(score, ends, out=threshold[1:], mode="clip")  # "raise" would make a copy
        ends += 1
        np.subtract(ends, true[1:], out=false[1:])
        return RocCounts(true, false, threshold)


def rank(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> Ranked:
    """Scores to be ranked, `[N]` or `[T, N]`, each with whether it is a member's.

    Raises `ValueError` for unequal shapes, or a `member` that is not 0/1.
    """
    score, truth = np.asarray(score, np.float64), np.asarray(member)
    if score.shape != truth.shape:
        raise ValueError(f"member: has shape {truth.shape}, score has {score.shape}")
    if truth.dtype != bool:
        if not np.isin(truth, (0, 1)).all():
            raise ValueError("member: has entries other than 0 and 1")
        truth = truth.astype(bool)
    width = score.shape[-1] if score.ndim else 1
    shape = (score.size // width if width else 1, width)
    return Ranked(score.reshape(shape), truth.reshape(shape))


def rank_all(
    scores: Mapping[str, Float[Array, "*T N"]], member: Bool[Array, "*T N"]
) -> dict[str, Ranked]:
    """The scores of several attacks on the same targets."""
    return {name: rank(score, member) for name, score in scores.items()}


def roc_counts(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> RocCounts:
    """The ROC in whole numbers.

    Raises `ValueError` for unequal shapes, a `member` that is not 0/1, or a class without scores.
    """
    curve = rank(score, member).curve
    _check(int(curve.tp[-1]), int(curve.fp[-1]))
    return curve


def scorable(
    score: Float[Array, "*T N"], member: Bool[Array, "*T N"]
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The pooled scores that are numbers, with their membership; raises as `roc_counts` does."""
    ranked = rank(score, member)
    keep = ~np.isnan(ranked.score)
    score, truth = ranked.score[keep], ranked.member[keep]
    members = int(truth.sum())
    _check(members, len(truth) - members)
    return score, truth


def _check(members: int, others: int) -> None:
    if not (members and others):
        which = "non-members" if members else "members"
        raise ValueError(
            f"member: there are no {which} among the {members + others} scored examples"
        )
