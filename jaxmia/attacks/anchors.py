"""Which examples' membership an attack is sure enough of to build on it: anchors (Du et al. 2026).

A reference model, whose members are known, says how low a score must be for hardly any member to
lie below it, and how high for no non-member to lie above; the target's scores beyond these
thresholds become anchors.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

FREE, OUT, IN = -1, 0, 1  # no anchor, or one that is taken for a non-member or a member


class Rule(NamedTuple):
    """How sure is sure enough; the defaults are those of the paper's every data set.

    A threshold may leave `members_below` of the reference's members below it, `non_members_above`
    of its non-members above. Of the examples that are no anchors yet at most `share` become
    non-members at once, and none if they were fewer than `least_out`; only then members, and none
    if they were fewer than `least_in`.
    """

    members_below: int = 10
    non_members_above: int = 0
    share: float = 0.05
    least_out: int = 30
    least_in: int = 5

    def check(self) -> None:
        """Raises `ValueError`, naming the field, for what no anchor could be chosen by."""
        for name in ("members_below", "non_members_above"):
            if getattr(self, name) < 0:
                raise ValueError(f"anchors: {name}={getattr(self, name)} must be 0 or more")
        for name in ("least_out", "least_in"):
            if getattr(self, name) < 1:
                raise ValueError(f"anchors: {name}={getattr(self, name)} must be 1 or more")
        if not 0 < self.share <= 1:
            raise ValueError(f"anchors: share={self.share} must be above 0, and 1 at most")


class Thresholds(NamedTuple):
    """At or below `low` an example counts as a non-member, at or above `high` as a member.

    NaN where a reference allows none.
    """

    low: float
    high: float


def thresholds(
    score: Float[np.ndarray, " N"], member: Bool[np.ndarray, " N"], rule: Rule
) -> Thresholds:
    """A reference's thresholds, by its own scores and members on the examples that are no anchors.

    `low` is its highest score with at most `members_below` members at or below it; `high` its
    lowest with at most `non_members_above` non-members at or above it, or its highest score of all
    where there is none. Equal scores count together, NaN not at all.
    """
    there = ~np.isnan(score)
    score, member = score[there], member[there]
    if not len(score):
        return Thresholds(np.nan, np.nan)
    low = _farthest(score, member, rule.members_below)
    high = -_farthest(-score, ~member, rule.non_members_above)
    return Thresholds(low, float(score.max()) if np.isnan(high) else high)


def _farthest(score: Float[np.ndarray, " n"], error: Bool[np.ndarray, " n"], most: int) -> float:
    """The highest score at or below which there are at most so many errors; NaN without one."""
    value, whose = np.unique(score, return_inverse=True)
    errors = np.cumsum(np.bincount(whose.reshape(-1), error, len(value)))
    allowed = int(np.searchsorted(errors, most, side="right"))
    return float(value[allowed - 1]) if allowed else np.nan


def chosen_anchors(
    target: Float[np.ndarray, " N"],
    anchor: Int[np.ndarray, " N"],
    reference: list[Thresholds],
    rule: Rule,
) -> Int[np.ndarray, " N"]:
    """The target's new anchors: `OUT` or `IN`, `FREE` for all other examples, old anchors too.

    `reference` are the thresholds of one or more references, which are averaged. Non-members are
    those with the lowest scores; members are looked for only if there are no new non-members.
    """
    low, high = (_mean(of) for of in zip(*reference, strict=True))
    free = (anchor == FREE) & ~np.isnan(target)
    out = np.full(len(target), FREE)
    below = np.flatnonzero(free & (target <= low))
    below = below[np.argsort(target[below], kind="stable")][: int(rule.share * free.sum())]
    above = np.flatnonzero(free & (target >= high))
    if len(below) >= rule.least_out:
        out[below] = OUT
    elif len(above) >= rule.least_in:
        out[above] = IN
    return out


def _mean(values: tuple[float, ...]) -> float:
    """Of those that are there; NaN, which no score reaches, if none is."""
    there = [v for v in values if not np.isnan(v)]
    return float(np.mean(there)) if there else np.nan
