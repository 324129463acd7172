"""People, not rows: where records belong to persons, who is in or out as a whole.

A person's log-likelihood ratio is the sum of its records' ratios, as if they were independent given
membership. They are not: n of them with a correlation rho say as much as n / (1 + (n - 1) rho), and
the sum is shrunk by so much before it becomes a posterior. Both are fitted on shadow models.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks.calibration import KNOTS, Calibration, evidence, fit_calibration
from jaxmia.metrics import scorable
from jaxmia.types import Array

RHOS = np.linspace(0, 1, 21)


class People(NamedTuple):
    """P persons: their ids, sorted, and for each record the position of its person's."""

    ids: Int[np.ndarray, " P"]
    index: Int[np.ndarray, " N"]


def people(person: Int[Array, " N"]) -> People:
    """Who there is, from a record's person."""
    ids, index = np.unique(np.asarray(person), return_inverse=True)
    return People(ids, index.reshape(-1))


def member_of_people(member: Bool[Array, "T N"], who: People) -> Bool[np.ndarray, "T P"]:
    """Which persons are in; raises `ValueError` for one who is in with some records only."""
    member = np.asarray(member, bool)
    count, inside = _by_person(np.ones(member.shape), who), _by_person(member, who)
    if split := int(((inside > 0) & (inside < count)).any(0).sum()):
        first = who.ids[np.flatnonzero(((inside > 0) & (inside < count)).any(0))[0]]
        raise ValueError(
            f"person: {split} persons, the first of them {first}, are in a training set with some "
            "of their records only; a design of people has them in or out whole"
        )
    return inside > 0


def records_of_people(score: Float[Array, "T N"], who: People) -> Int[np.ndarray, "T P"]:
    """How many records of each person could be scored."""
    return _by_person(~np.isnan(np.asarray(score)), who).astype(np.int64)


def score_of_people(
    score: Float[Array, "T N"], who: People, ratio: bool
) -> Float[np.ndarray, "T P"]:
    """A person's score: the sum of its records' log-ratios, the mean of scores of another kind.

    Records that could not be scored are left out; NaN for a person that has no other.
    """
    score = np.asarray(score, np.float64)
    count = records_of_people(score, who)
    total = _by_person(np.where(np.isnan(score), 0.0, score), who)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total if ratio else total / count, np.nan)


def _by_person(value: np.ndarray, who: People) -> Float[np.ndarray, "T P"]:
    return np.stack([np.bincount(who.index, weights=row, minlength=len(who.ids)) for row in value])


class PersonCalibration(NamedTuple):
    """How much a person's records depend on each other, and the line from there on."""

    rho: float
    line: Calibration


def evidence_of_people(
    total: Float[Array, "*T P"], records: Int[Array, "*T P"], fitted: PersonCalibration
) -> Float[np.ndarray, "*T P"]:
    """A person's calibrated log-odds at a prior of one half, from the sum over its records."""
    return evidence(_shrunk(total, records, fitted.rho), fitted.line)


def _shrunk(total: Array, records: Array, rho: float) -> np.ndarray:
    return np.asarray(total, np.float64) / (1 + (np.maximum(records, 1) - 1) * rho)


def fit_people(
    total: Float[Array, "*T P"],
    records: Int[Array, "*T P"],
    member: Bool[Array, "*T P"],
    knots: tuple[float, ...] = KNOTS,
) -> PersonCalibration:
    """The correlation (of a grid) that fits best along a straight line, then the line's bends."""
    tried = []
    for rho in RHOS.tolist() if np.max(records) > 1 else [0.0]:
        shrunk = _shrunk(total, records, rho)
        odds, truth = scorable(evidence(shrunk, fit_calibration(shrunk, member)), member)
        tried.append((float(np.logaddexp(0, np.where(truth, -odds, odds)).mean()), rho))
    rho = min(tried)[1]
    return PersonCalibration(rho, fit_calibration(_shrunk(total, records, rho), member, knots))


def crossed_people(
    total: Float[Array, "T P"],
    records: Int[Array, "T P"],
    member: Bool[Array, "T P"],
    group: Int[Array, " T"],
) -> Float[np.ndarray, "T P"]:
    """Log-odds of each target's persons, calibrated on the other half of the targets."""
    _, rank = np.unique(np.asarray(group), return_inverse=True)
    if rank.max() < 1:
        raise ValueError("group: needs two groups of targets or more, one to be calibrated by")
    out = np.empty(np.shape(total))
    for half in (rank % 2 == 0, rank % 2 == 1):
        fitted = fit_people(total[~half], records[~half], member[~half])
        out[half] = evidence_of_people(total[half], records[half], fitted)
    return out
