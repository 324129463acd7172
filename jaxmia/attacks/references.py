"""Which references leave with the target, so that their number does not tell its membership.

Under exactly balanced columns an example that is IN the target has one IN reference fewer than one
that is OUT: plain leave-one-out would score noise at an AUC below 1/2 and a wrong TPR in the tail.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxmia.types import Array

BALANCES = ("auto", "none", "pair", "opposite")
# what is in all models or in none says nothing of partners and balance; of so few that are not,
# models may be complements, or columns equal, by chance
FEW_MODELS, FEW_EXAMPLES = 4, 16


class LeaveOut(NamedTuple):
    """Which models are no references of a target, where every model is the target in turn.

    The target itself and, by `kind`: its `partner` ("pair"), for each example one reference of the
    opposite side ("opposite"), or nobody else ("none").
    """

    kind: str
    partner: Int[np.ndarray, " M"]  # -1 where a model has none

    @property
    def excluded(self) -> Int[np.ndarray, "M 2"]:
        """The models that are no references of each target on any example; -1 for none."""
        return np.stack([np.arange(len(self.partner)), self.partner], axis=1)

    @property
    def groups(self) -> Int[np.ndarray, " M"]:
        """Targets that leave together have one number, counted from 0."""
        own = np.arange(len(self.partner))
        first = np.where(self.partner >= 0, np.minimum(own, self.partner), own)
        return np.unique(first, return_inverse=True)[1].reshape(-1)

    @property
    def crosses(self) -> bool:
        """Whether there are groups enough for each half of them to be calibrated on the other."""
        return bool(self.groups.max(initial=0) > 0)

    @property
    def fewer(self) -> int:
        """How many references fewer than models a target has on an example."""
        return 1 if self.kind == "none" else 2

    def of_models(self) -> "LeaveOut":
        """What leaves on points in nobody's training set: the partner, if any."""
        return self if self.kind == "pair" else nobody_else(len(self.partner))

    def some(self, models: Int[np.ndarray, " m"]) -> "LeaveOut":
        """The same among some of the models, counted anew.

        A part of balanced columns is balanced no more.
        """
        place = np.full(len(self.partner) + 1, -1)
        place[models] = np.arange(len(models))
        part = self.kind == "opposite" and len(models) < len(self.partner)
        return LeaveOut("none" if part else self.kind, place[self.partner[models]])


def nobody_else(models: int) -> LeaveOut:
    """Nobody but the target leaves."""
    return LeaveOut("none", np.full(models, -1))


def leave_out(
    member: Bool[Array, "M N"], balance: str = "auto", pairs: Int[Array, " M"] | None = None
) -> LeaveOut:
    """Who leaves with the target, by what a membership shows if "auto".

    Examples that are in all models or in none (anchors, or what is beside canaries) do not hide
    that the others are in complementary pairs or balanced columns. `pairs` names partners by equal
    numbers. Raises `ValueError` for another `balance`, for "pair" without pairs, or for a number
    that more than two models share.
    """
    member = np.asarray(member, bool)
    return leave_out_of_panels(len(member), lambda: iter([member]), balance, pairs)


def leave_out_of_panels(
    models: int,
    panels: Callable[[], Iterator[Bool[np.ndarray, "M n"]]],
    balance: str = "auto",
    pairs: Int[Array, " M"] | None = None,
) -> LeaveOut:
    """The same for a membership that comes panel by panel of examples."""
    if balance not in BALANCES:
        raise ValueError(f"balance={balance!r} is not one of {BALANCES}")
    if balance == "none":
        return nobody_else(models)
    if pairs is not None:
        return LeaveOut("pair", partners(np.asarray(pairs), models))
    if balance == "opposite":
        return nobody_else(models)._replace(kind="opposite")
    complements, counts, constant, varying = models > 1, set(), set(), 0
    for member in panels():
        inside = member.sum(0)
        varies = (inside > 0) & (inside < models)
        even, odd = member[0 : models // 2 * 2 : 2, varies], member[1::2, varies]
        complements &= bool(np.array_equal(even, ~odd))
        counts |= set(np.unique(inside[varies]).tolist())
        constant |= set(np.unique(inside[~varies]).tolist())
        varying += int(varies.sum())
    if models < FEW_MODELS or varying < FEW_EXAMPLES:
        complements &= not constant
        counts |= constant
    if complements:
        return LeaveOut("pair", partners(np.arange(models) // 2, models))
    if balance == "pair":
        raise ValueError("balance='pair': models 2i and 2i + 1 are no complements; give pairs")
    kind = "opposite" if models > 1 and len(counts) == 1 else "none"
    return nobody_else(models)._replace(kind=kind)


def partners(pairs: np.ndarray, models: int) -> np.ndarray:
    """Each model's partner, -1 where it has none; raises `ValueError` for what are no pairs."""
    if pairs.shape != (models,) or pairs.dtype.kind not in "iu":
        raise ValueError(f"pairs: needs {models} whole numbers, has shape {pairs.shape}")
    order = np.argsort(pairs, kind="stable")
    same = pairs[order][1:] == pairs[order][:-1]
    if (same[1:] & same[:-1]).any():
        raise ValueError("pairs: a number is shared by more than two models")
    partner = np.full(models, -1)
    left, right = order[:-1][same], order[1:][same]
    partner[left], partner[right] = right, left
    return partner


def left_out(
    leave_out: LeaveOut,
    member: Bool[np.ndarray, "M n"],
    first: int,
    finite: Bool[np.ndarray, "M n"] | None = None,
) -> Int[np.ndarray, "M n"] | None:
    """For each target and example the model that leaves beside the target; -1 for none.

    `member` holds the examples `first, first + 1, ...`; a drawn one depends on target and example
    alone, and on whose signals are `finite` (a diverged model is no reference that could leave).
    """
    models, examples = member.shape
    if leave_out.kind == "none":
        return None
    if leave_out.kind == "pair":
        return np.broadcast_to(leave_out.partner[:, None], member.shape)
    finite = np.ones_like(member) if finite is None else finite
    inside, outside = (member & finite).sum(0), (~member & finite).sum(0)
    opposite = np.where(member, outside, inside)
    number = np.arange(models, dtype=np.uint64)[:, None] << np.uint64(32)
    draw = _mixed(number + np.arange(first, first + examples, dtype=np.uint64))
    place = (draw >> np.uint64(32)) * opposite.astype(np.uint64) >> np.uint64(32)
    # the IN models, then the OUT ones, then those that are not known
    ordered = np.argsort(np.where(finite, ~member, 2), axis=0, kind="stable")
    rank = place.astype(np.int64) + np.where(member, inside, 0)
    model = np.take_along_axis(ordered, np.minimum(rank, models - 1), axis=0)
    return np.where(opposite > 0, model, -1)


def _mixed(word: np.ndarray) -> np.ndarray:
    """64 well-mixed bits of a counter (the finaliser of SplitMix64; Steele et al. 2014)."""
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
