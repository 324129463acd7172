"""A lower bound of mu from the area under the ROC: no threshold, no pilot, but asymptotic."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtri

from jaxmia.metrics import auc_and_sd, rank, roc_counts
from jaxmia.types import Array

OVERLAP = 5  # with fewer, bounds at 95 % were above the truth in up to 14 % of draws


def mu_from_auc(
    score: Float[Array, " N"], member: Bool[Array, " N"], confidence: float = 0.95
) -> float:
    """A lower bound of mu in Gaussian differential privacy, asymptotic, from independent trials.

    No score has an AUC above `Phi(mu / sqrt 2)`, so that mu is at least
    `sqrt 2 (Phi^-1(A) - z sd / phi(Phi^-1(A)))` with DeLong's sd: its confidence is a limit for
    many trials, unlike that of `mu_joint`. A score that is NaN counts as the lowest. NaN where the
    sides overlap too little for the limit: fewer than `OVERLAP` of a side, n (1 - A), come out
    below. Raises `ValueError` for a confidence outside (0, 1), or fewer than two trials on a side.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be above 0 and below 1")
    ranked = rank(score, member)
    curve = roc_counts(np.where(np.isnan(ranked.score), -np.inf, ranked.score), ranked.member)
    if min(curve.tp[-1], curve.fp[-1]) < 2:
        raise ValueError(
            f"member: {curve.tp[-1]} trials with and {curve.fp[-1]} without the canary; 2 or more "
            "of each are needed"
        )
    area, sd = auc_and_sd(curve)
    if min(curve.tp[-1], curve.fp[-1]) * (1 - area) < OVERLAP:
        return float("nan")
    if area <= 0.5:
        return 0.0
    z = ndtri(area)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return float(max(0.0, np.sqrt(2) * (z - ndtri(confidence) * sd / density)))
