"""How sure an attacker is of each example, over all targets that were trained on it."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks.calibration import Calibration, at_prior, crossed, evidence


def posteriors(
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
