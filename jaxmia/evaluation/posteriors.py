"""What an attacker may believe: calibrated posteriors of membership, and how reliable they are."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit

from jaxmia.attacks import people as persons
from jaxmia.attacks.calibration import (
    KNOTS,
    Calibration,
    Reliability,
    at_prior,
    crossed_of,
    evidence,
    fit_calibration_of,
    reliability,
)
from jaxmia.attacks.references import LeaveOut, left_out
from jaxmia.metrics import Ranked

LEAST = 200  # members and as many non-members that a calibration is fitted on, at least


class Shadows(NamedTuple):
    """The scores that thresholds are fitted on.

    `leave_out` says who is no reference of each where the targets are these models themselves, each
    in turn; None where the targets are others.
    """

    ranked: dict[str, Ranked]
    member: Bool[np.ndarray, "M N"]
    leave_out: LeaveOut | None

    @property
    def references(self) -> int:
        """How many a target has, whether or not they know an example."""
        return len(self.member) - (0 if self.leave_out is None else self.leave_out.fewer)

    def excluded(self, targets: int) -> Int[np.ndarray, "T L"]:
        """The rows that are not fitted on for each of the targets; -1 for none."""
        return np.full((targets, 1), -1) if self.leave_out is None else self.leave_out.excluded

    def beside(self, name: str) -> Int[np.ndarray, "M N"] | None:
        """The row that is not fitted on besides, on each example another (`left_out`); or None."""
        if self.leave_out is None or self.leave_out.kind != "opposite":
            return None
        return left_out(self.leave_out, self.member, 0, ~np.isnan(self.ranked[name].score))


def of_attack(
    name: str,
    ranked: Ranked,
    shadows: Shadows | None,
    person: Int[np.ndarray, " N"] | None = None,
) -> dict[str, Any]:
    """Calibration and reliability of an attack's posteriors; nothing where there are too few."""
    if shadows is None or not _enough(shadows.ranked[name]):
        return {}
    fitted = fit_calibration_of(shadows.ranked[name], KNOTS)
    if shadows.leave_out is None:
        odds = evidence(ranked.score, fitted)
    elif shadows.leave_out.crosses:
        odds = crossed_of(ranked, shadows.leave_out.groups)
    else:
        return {}
    return {"posterior": _entry(odds, ranked.member, shadows, fitted, person)}


def of_people(
    ranked: Ranked, people: Ranked, shadows: Shadows | None, who: persons.People
) -> dict[str, Any]:
    """The same for persons, from the sums of their records' log-ratios, which are `people`."""
    leave_out = None if shadows is None else shadows.leave_out
    if shadows is None or leave_out is None or not leave_out.crosses:
        return {}
    if not _enough(people):
        return {}
    total, inside = people.score, people.member
    count = persons.records_of_people(ranked.score, who)
    odds = persons.crossed_people(total, count, inside, leave_out.groups)
    fitted = persons.fit_people(total, count, inside)
    return {"posterior": {"rho": fitted.rho, **_entry(odds, inside, shadows, fitted.line)}}


def _enough(ranked: Ranked) -> bool:
    return min(int(ranked.curve.tp[-1]), int(ranked.curve.fp[-1])) >= LEAST


def _entry(
    odds: np.ndarray,
    member: np.ndarray,
    shadows: Shadows,
    fitted: Calibration,
    person: np.ndarray | None = None,
) -> dict[str, Any]:
    diagram: Reliability = reliability(expit(odds), member, person=person)
    return {
        "prior": 0.5,
        "calibrated_on": "the references"
        if shadows.leave_out is None
        else "the other half of the targets",
        "calibration": fitted._asdict(),
        "reliability": {k: v.tolist() for k, v in diagram._asdict().items()},
        "calibration_error": diagram.error,
    }


def mean_posterior(
    ranked: Ranked,
    leave_out: LeaveOut | None,
    posterior: dict[str, Any],
    prior: float = 0.5,
) -> Float[np.ndarray, " N"]:
    """The mean posterior of membership over the targets that were trained on each example.

    Targets that are shadows themselves (`leave_out` says who leaves with each) are calibrated on
    the other half of them; given ones by the calibration that the summary's `posterior` tells. NaN
    for an example that no target was trained on.
    """
    if leave_out is None:
        odds = evidence(ranked.score, Calibration(**posterior["calibration"]))
    else:
        odds = crossed_of(ranked, leave_out.groups)
    sure = at_prior(odds, prior)
    inside = ranked.member & ~np.isnan(sure)
    count = inside.sum(0)
    total = np.where(inside, sure, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
