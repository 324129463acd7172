"""Who in a release is a person of whom some ratings are known: Algorithm Scoreboard-RH.

Narayanan & Shmatikov, "Robust De-anonymization of Large Sparse Datasets" (S&P 2008), sections 4
and 5. A record's score is the sum over the known items that it has, too, of

    (exp(-|rating - rating'| / 1.5) + exp(-|day - day'| / 30)) / log |supp|

where supp are the subscribers in the release who rated the item. The best record is taken for the
person's if it stands out: (best - second) / sigma > 1.5, sigma being the standard deviation of all
records' scores.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from experiments.studies.ratings_release import Ratings

RHO, DAYS, ECCENTRICITY = 1.5, 30.0, 1.5  # section 5
CHUNK = 1 << 21  # scores at once


class Release(NamedTuple):
    """The ratings of those who are in it, by item: those of item i are at `start[i:i + 2]`."""

    start: Int[np.ndarray, " I+1"]
    record: Int[np.ndarray, " E"]  # counted from 0 within the release
    rating: Float[np.ndarray, " E"]
    day: Int[np.ndarray, " E"]
    records: int


class Knowledge(NamedTuple):
    """What is known of persons: k ratings of each, dates NaN where they are not known."""

    item: Int[np.ndarray, "P k"]
    rating: Float[np.ndarray, "P k"]
    day: Float[np.ndarray, "P k"]


class Match(NamedTuple):
    """For each person the record that fits best, how well, and how far it stands out."""

    record: Int[np.ndarray, " P"]
    score: Float[np.ndarray, " P"]  # over the score of a record with all that is known, exactly
    eccentricity: Float[np.ndarray, " P"]


def released(ratings: Ratings, inside: Bool[np.ndarray, " persons"]) -> Release:
    """The release of some persons' ratings; records are in the persons' order."""
    own = np.flatnonzero(inside[ratings.person])
    own = own[np.argsort(ratings.item[own], kind="stable")]
    number = np.cumsum(inside) - 1
    start = np.searchsorted(ratings.item[own], np.arange(ratings.items + 1))
    return Release(
        start, number[ratings.person[own]], ratings.rating[own], ratings.day[own], int(inside.sum())
    )


def weights(release: Release) -> Float[np.ndarray, " I"]:
    """`1 / log |supp|` of each item.

    One that a single subscriber rated would have an infinite weight, and counts as one of two.
    """
    return 1 / np.log(np.maximum(np.diff(release.start), 2))


def scores(
    release: Release, knowledge: Knowledge, rho: float = RHO, days: float = DAYS
) -> Float[np.ndarray, "P R"]:
    """The score of every record for every person; where no date is known its term is left out."""
    persons, count = knowledge.item.shape
    item = knowledge.item.ravel()
    length = np.diff(release.start)[item]
    which = np.repeat(np.arange(persons * count), length)  # of what is known, for each entry
    before = np.cumsum(length) - length
    at = release.start[item][which] + np.arange(len(which)) - before[which]
    apart = np.abs(release.rating[at] - knowledge.rating.ravel()[which])
    late = np.abs(release.day[at] - knowledge.day.ravel()[which])
    near = np.where(np.isnan(late), 0.0, np.exp(-late / days))
    value = weights(release)[item][which] * (np.exp(-apart / rho) + near)
    cell = which // count * release.records + release.record[at]
    total = np.bincount(cell, value, minlength=persons * release.records)
    return total.reshape(persons, release.records)


def matched(release: Release, knowledge: Knowledge, rho: float = RHO, days: float = DAYS) -> Match:
    """The best record of every person; the first of equals, which do not stand out at all."""
    rows = max(1, CHUNK // release.records)
    parts = []
    for first in range(0, len(knowledge.item), rows):
        few = Knowledge(*(a[first : first + rows] for a in knowledge))
        score = scores(release, few, rho, days)
        best, second = -np.partition(-score, 1, axis=1)[:, :2].T
        sigma = score.std(axis=1)
        apart = np.divide(best - second, sigma, out=np.zeros_like(best), where=sigma > 0)
        terms = 1 + ~np.isnan(few.day)
        most = (weights(release)[few.item] * terms).sum(1)
        parts.append((score.argmax(1), best / most, apart))
    return Match(*(np.concatenate(part) for part in zip(*parts, strict=True)))
