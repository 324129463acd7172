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
from jaxmia.metrics import Ranked

LEAST = 200  # members and as many non-members that a calibration is fitted on, at least


class Shadows(NamedTuple):
    """The scores that thresholds are fitted on, and which of their rows leave with each target."""

    ranked: dict[str, Ranked]
    member: Bool[np.ndarray, "M N"]
    leaving: Int[np.ndarray, "T L"]

    @property
    def themselves(self) -> bool:
        """Whether the targets are the shadow models, each in turn."""
        return len(self.leaving) == len(self.member) and bool((self.leaving >= 0).any())

    @property
    def group(self) -> Int[np.ndarray, " T"]:
        """Targets that leave together have one number."""
        return np.where(self.leaving >= 0, self.leaving, len(self.member)).min(1)


def of_attack(name: str, ranked: Ranked, shadows: Shadows | None) -> dict[str, Any]:
    """Calibration and reliability of an attack's posteriors; nothing where there are too few."""
    if shadows is None or not _enough(shadows.ranked[name]):
        return {}
    fitted = fit_calibration_of(shadows.ranked[name], KNOTS)
    if shadows.themselves:
        if len(np.unique(shadows.group)) < 2:
            return {}
        odds = crossed_of(ranked, shadows.group)
    else:
        odds = evidence(ranked.score, fitted)
    return {"posterior": _told(odds, ranked.member, shadows, fitted)}


def of_people(
    ranked: Ranked, people: Ranked, shadows: Shadows | None, who: persons.People
) -> dict[str, Any]:
    """The same for persons, from the sums of their records' log-ratios, which are `people`."""
    if shadows is None or not shadows.themselves or len(np.unique(shadows.group)) < 2:
        return {}
    if not _enough(people):
        return {}
    total, inside = people.score, people.member
    count = persons.records_of_people(ranked.score, who)
    odds = persons.crossed_people(total, count, inside, shadows.group)
    fitted = persons.fit_people(total, count, inside)
    return {"posterior": {"rho": fitted.rho, **_told(odds, inside, shadows, fitted.line)}}


def _enough(ranked: Ranked) -> bool:
    return min(int(ranked.curve.true[-1]), int(ranked.curve.false[-1])) >= LEAST


def _told(
    odds: np.ndarray, member: np.ndarray, shadows: Shadows, fitted: Calibration
) -> dict[str, Any]:
    found: Reliability = reliability(expit(odds), member)
    return {
        "prior": 0.5,
        "calibrated_on": "the other half of the targets"
        if shadows.themselves
        else "the references",
        "calibration": fitted._asdict(),
        "reliability": {k: v.tolist() for k, v in found._asdict().items()},
        "calibration_error": found.error,
    }


def mean_posterior(
    ranked: Ranked,
    leaving: Int[np.ndarray, "T L"] | None,
    told: dict[str, Any],
    prior: float = 0.5,
) -> Float[np.ndarray, " N"]:
    """The mean posterior of membership over the targets that were trained on each example.

    Targets that are shadows themselves (`leaving` says who leaves with each) are calibrated on the
    other half of them; given ones by the calibration that the summary's `posterior` tells. NaN for
    an example that no target was trained on.
    """
    if leaving is None:
        odds = evidence(ranked.score, Calibration(**told["calibration"]))
    else:
        odds = crossed_of(ranked, np.where(leaving >= 0, leaving, len(leaving)).min(1))
    sure = at_prior(odds, prior)
    inside = ranked.member & ~np.isnan(sure)
    count = inside.sum(0)
    total = np.where(inside, sure, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
