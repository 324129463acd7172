"""What an attacker knows of persons: some of their ratings, dates about right, some all wrong."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from experiments.studies.ratings_release import Ratings
from experiments.studies.ratings_scoreboard import Knowledge


class Setting(NamedTuple):
    """How many ratings are known, by how many days dates may be off, and how many are wrong.

    `days` None: no dates. A wrong rating has rating and date of anybody's entry; the person did
    rate its item (section 5 of the paper), unless `wrong_items`: then it is that entry's item.
    """

    count: int
    days: int | None
    wrong: int = 0
    wrong_items: bool = False


class Draws(NamedTuple):
    """What is random about what is known of persons; what is known of more ratings contains less.

    `own` are entries of each person, in random order, `others` entries of anybody, `off` uniform
    on [0, 1).
    """

    own: Int[np.ndarray, "P K"]
    others: Int[np.ndarray, "P K"]
    off: Float[np.ndarray, "P K"]


def draws_for(ratings: Ratings, who: Int[np.ndarray, " P"], most: int, seed: int) -> Draws:
    """For persons of `most` ratings or more; a person's draws depend on `(seed, person)` alone."""
    start = np.searchsorted(ratings.person, np.arange(ratings.persons + 1))
    own, others, off = [], [], []
    for p in who.tolist():
        rng = np.random.default_rng([seed, 1, p])
        entries = rng.permutation(int(start[p + 1] - start[p]))
        own.append(start[p] + entries[:most])
        others.append(rng.integers(len(ratings.person), size=most))
        off.append(rng.random(most))
    return Draws(np.stack(own), np.stack(others), np.stack(off))


def knowledge_of(ratings: Ratings, draws: Draws, setting: Setting) -> Knowledge:
    """What is known in a setting: the last of the known ratings are those that are wrong."""
    own, others, off = (a[:, : setting.count] for a in draws)
    wrong = np.arange(setting.count)[None] >= setting.count - setting.wrong
    about = np.where(wrong, others, own)
    item = ratings.item[about if setting.wrong_items else own]
    if setting.days is None:
        return Knowledge(item, ratings.rating[about], np.full(item.shape, np.nan))
    late = np.floor(off * (2 * setting.days + 1)) - setting.days  # each day as likely
    return Knowledge(item, ratings.rating[about], ratings.day[about] + np.where(wrong, 0, late))
