"""Which references leave with the target, so that their number does not tell its membership.

Under exactly balanced columns an example that is IN the target has one IN reference fewer than one
that is OUT: plain leave-one-out would score noise at an AUC below 1/2 and a wrong TPR in the tail.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxmia.types import Array

BALANCES = ("auto", "none", "pair", "opposite")


class Balance(NamedTuple):
    """What leaves beside the target: its partner, one reference of the opposite side, or none."""

    kind: str
    partner: Int[np.ndarray, " M"] | None = None  # -1 where a model has none

    def of_models(self) -> "Balance":
        """What leaves where there is nothing to balance: the partner, if any."""
        return self if self.kind == "pair" else Balance("none")

    def leaving(self, models: int) -> Int[np.ndarray, "M L"]:
        """The models that are no references of each target: itself, and its partner (or -1)."""
        own = np.arange(models)
        return np.stack([own] if self.partner is None else [own, self.partner], axis=1)


def balance_of(
    member: Bool[Array, "M N"], balance: str = "auto", pairs: Int[Array, " M"] | None = None
) -> Balance:
    """The remedy for a membership, found by itself when "auto".

    `pairs` names partners by equal numbers. Raises `ValueError` for another `balance`, for "pair"
    without pairs, or for a number that more than two models share.
    """
    if balance not in BALANCES:
        raise ValueError(f"balance={balance!r} is not one of {BALANCES}")
    member = np.asarray(member, bool)
    if balance == "none":
        return Balance("none")
    if pairs is not None:
        return Balance("pair", partners(np.asarray(pairs), len(member)))
    if balance in ("auto", "pair"):
        first, second = member[0 : len(member) // 2 * 2 : 2], member[1::2]
        if len(second) and np.array_equal(first, ~second):
            return Balance("pair", partners(np.arange(len(member)) // 2, len(member)))
        if balance == "pair":
            raise ValueError("balance='pair': models 2i and 2i + 1 are no complements; give pairs")
    counts = member.sum(0)
    if balance == "opposite" or (len(member) > 1 and (counts == counts[:1]).all()):
        return Balance("opposite")
    return Balance("none")


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
    balance: Balance,
    member: Bool[np.ndarray, "M n"],
    first: int,
    known: Bool[np.ndarray, "M n"] | None = None,
) -> Int[np.ndarray, "M n"] | None:
    """For each target and example the model that leaves beside the target; -1 for none.

    `member` holds the examples `first, first + 1, ...`; a drawn one hangs on target and example
    alone, and on who of them is `known` (a diverged model is no reference that could leave).
    """
    models, examples = member.shape
    if balance.kind == "none":
        return None
    if balance.kind == "pair":
        assert balance.partner is not None
        return np.broadcast_to(balance.partner[:, None], member.shape)
    known = np.ones_like(member) if known is None else known
    inside, outside = (member & known).sum(0), (~member & known).sum(0)
    opposite = np.where(member, outside, inside)
    number = np.arange(models, dtype=np.uint64)[:, None] << np.uint64(32)
    draw = _mixed(number + np.arange(first, first + examples, dtype=np.uint64))
    chosen = (draw >> np.uint64(32)) * opposite.astype(np.uint64) >> np.uint64(32)
    # the IN models, then the OUT ones, then those that are not known
    ordered = np.argsort(np.where(known, ~member, 2), axis=0, kind="stable")
    rank = chosen.astype(np.int64) + np.where(member, inside, 0)
    picked = np.take_along_axis(ordered, np.minimum(rank, models - 1), axis=0)
    return np.where(opposite > 0, picked, -1)


def _mixed(word: np.ndarray) -> np.ndarray:
    """64 well-mixed bits of a counter (the finaliser of SplitMix64; Steele et al. 2014)."""
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
