"""A threshold that is chosen on some trials and judged by the others, so that no search helps."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.metrics import rank
from jaxmia.privacy.events import Event
from jaxmia.types import Array


class Pilot(NamedTuple):
    """A threshold from the pilot, and how often the other trials reach it."""

    threshold: float
    event: Event


def pilot(
    score: Float[Array, " N"], member: Bool[Array, " N"], share: float = 0.2, seed: int = 0
) -> Pilot:
    """The threshold midway between both sides' mean scores in a random share of the trials.

    The pilot has this share of the members and of the non-members, at least one of each; the event
    {score >= threshold} is counted among the rest alone. A score that is NaN is never called a
    member's, one that is infinite enters the means as the pilot's largest or smallest finite one.
    Raises `ValueError` for a share outside (0, 1), or fewer than two trials on a side.
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share} must be above 0 and below 1")
    score, truth = one_each(score, member)
    sides = np.flatnonzero(truth), np.flatnonzero(~truth)
    if min(map(len, sides)) < 2:
        raise ValueError(
            f"member: {len(sides[0])} trials with and {len(sides[1])} without the canary; a pilot "
            "and a bound need 2 or more of each"
        )
    rng = np.random.default_rng(seed)
    firsts, rest = [], np.ones(len(score), bool)
    for side in sides:
        count = min(max(1, round(share * len(side))), len(side) - 1)
        firsts.append(rng.permutation(side)[:count])
        rest[firsts[-1]] = False
    threshold = _midway(*(score[first] for first in firsts))
    called = score >= threshold  # never of NaN
    return Pilot(
        threshold,
        Event(
            int((called & truth & rest).sum()),
            int((truth & rest).sum()),
            int((called & ~truth & rest).sum()),
            int((~truth & rest).sum()),
        ),
    )


def one_each(
    score: Float[Array, " N"], member: Bool[Array, " N"]
) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """Scores in float64 and membership of N trials; raises `ValueError` for other shapes."""
    if np.ndim(score) != 1:
        raise ValueError(f"score: has shape {np.shape(score)}; one score a trial is needed")
    ranked = rank(score, member)
    return ranked.score[0], ranked.member[0]


def _midway(inside: np.ndarray, outside: np.ndarray) -> float:
    finite = np.concatenate([inside, outside])
    finite = finite[np.isfinite(finite)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
    means = []
    for side in (inside, outside):
        numbers = np.clip(side[~np.isnan(side)], low, high)
        means.append(float(numbers.mean()) if len(numbers) else low)
    return sum(means) / 2
