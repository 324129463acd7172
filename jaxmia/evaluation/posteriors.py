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
    crossed,
    evidence,
    fit_calibration,
    reliability,
)

LEAST = 200  # members and as many non-members that a calibration is fitted on, at least


class Shadows(NamedTuple):
    """The scores that thresholds are fitted on, and which of their rows leave with each target."""

    scores: dict[str, Float[np.ndarray, "M N"]]
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


def of_attack(
    name: str, score: np.ndarray, member: np.ndarray, shadows: Shadows | None
) -> dict[str, Any]:
    """Calibration and reliability of an attack's posteriors; nothing where there are too few."""
    if shadows is None or not _enough(shadows.scores[name], shadows.member):
        return {}
    fitted = fit_calibration(shadows.scores[name], shadows.member, KNOTS)
    if shadows.themselves:
        if len(np.unique(shadows.group)) < 2:
            return {}
        odds = crossed(score, member, shadows.group)
    else:
        odds = evidence(score, fitted)
    return {"posterior": _told(odds, member, shadows, fitted)}


def of_people(
    name: str, score: np.ndarray, member: np.ndarray, shadows: Shadows | None, who: persons.People
) -> dict[str, Any]:
    """The same for persons, from the sums of their records' log-ratios."""
    if shadows is None or not shadows.themselves or len(np.unique(shadows.group)) < 2:
        return {}
    total = persons.score_of_people(score, who, ratio=True)
    inside = persons.member_of_people(member, who)
    if not _enough(total, inside):
        return {}
    count = persons.records_of_people(score, who)
    odds = persons.crossed_people(total, count, inside, shadows.group)
    fitted = persons.fit_people(total, count, inside)
    return {"posterior": {"rho": fitted.rho, **_told(odds, inside, shadows, fitted.line)}}


def _enough(score: np.ndarray, member: np.ndarray) -> bool:
    seen = ~np.isnan(score)
    return min(int((member & seen).sum()), int((~member & seen).sum())) >= LEAST


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
    score: Float[np.ndarray, "T N"],
    member: Bool[np.ndarray, "T N"],
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
        odds = evidence(score, Calibration(**told["calibration"]))
    else:
        odds = crossed(score, member, np.where(leaving >= 0, leaving, len(member)).min(1))
    sure = at_prior(odds, prior)
    inside = member & ~np.isnan(sure)
    count = inside.sum(0)
    total = np.where(inside, sure, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
