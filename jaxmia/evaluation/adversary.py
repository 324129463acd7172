"""Who the attacker of a run is, whatever the attack: what is known, trained and risked.

Every design draws the members from one pool, which the shadow models are drawn from, too. So its
figures are those of somebody who knows that pool, not of one who has other records like them.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

AVERAGE = "rates are averages over records and targets"


class Adversary(NamedTuple):
    """`pool` is what members are drawn from, `members` how, `models` how many shadows there are."""

    pool: str
    members: str
    models: int | None = None

    def knows(self) -> str:
        """The first part of the sentence: the pool."""
        return f"knows a pool of {self.pool}, of which {self.members} are the members"

    def trains(self) -> str:
        """The second: the shadow models; empty where their number is not known."""
        if self.models is None:
            return ""
        many = f"{self.models:,} model{'s' * (self.models != 1)}"
        return f"trains {many} the same way on others drawn so"

    def sentence(self, shadows: bool = True) -> str:
        """All of it, without the models for an attack that has none."""
        parts = [self.knows(), *([self.trains()] if shadows and self.models else [])]
        return "; ".join([*parts, AVERAGE])


def adversary(
    member: Bool[np.ndarray, "T N"],
    person: Int[np.ndarray, " N"] | None = None,
    design: str = "",
    models: int | None = None,
) -> Adversary:
    """By the membership of the targets, of persons if there are any; `design` as a run names it."""
    unit = "record"
    if person is not None:
        unit = "person"
        member = member[:, np.unique(person, return_index=True)[1]]
    return of_sizes(member.sum(1), member.shape[1], unit, design, models)


def of_sizes(
    sizes: Int[np.ndarray, " T"],
    count: int,
    unit: str = "record",
    design: str = "",
    models: int | None = None,
) -> Adversary:
    """The same, given how many members each target has of so many records."""
    pool = f"{count:,} {unit}{'s' * (count != 1)}"
    return Adversary(pool, _members(sizes, count, design), models)


def _members(sizes: Int[np.ndarray, " T"], count: int, design: str) -> str:
    if "canaries(" in design:
        return "all but the canaries, and each of these by a fair coin,"
    if "one_unknown(" in design:
        return "all but the candidates, and one of these,"
    least, most = int(sizes.min()), int(sizes.max())
    if abs(least + most - count) <= 1 and most - least <= 1:
        return "a random half"
    if least == most:
        return f"{least:,} at random"
    return f"about {100 * sizes.mean() / count:.0f} % at random"
