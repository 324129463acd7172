"""What differential privacy allows an attacker: no ROC passes above, no posterior either."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import log_ndtr, ndtr, ndtri

from jaxmia.types import Array

LARGEST = 100.0  # an epsilon above which nothing is looked for


def tpr_bound(
    fpr: Float[Array, "*P"] | float, epsilon: float, delta: float = 0.0
) -> Float[np.ndarray, "*P"] | float:
    """The largest TPR at an FPR that (epsilon, delta)-differential privacy allows any attack.

    `min(e^eps fpr + delta, 1 - e^-eps (1 - delta - fpr))` (Kairouz, Oh & Viswanath 2015). Raises
    `ValueError` for a negative epsilon or a delta outside [0, 1].
    """
    check(epsilon, delta)
    fpr = np.asarray(fpr, np.float64)
    low = np.exp(min(epsilon, 700.0)) * fpr + delta
    high = 1 - np.exp(-epsilon) * (1 - delta - fpr)
    return np.clip(np.minimum(low, high), 0, 1)


def gaussian_tpr_bound(
    fpr: Float[Array, "*P"] | float, mu: float
) -> Float[np.ndarray, "*P"] | float:
    """The largest TPR under mu-Gaussian privacy (Dong, Roth & Su 2022, section 2.2)."""
    return np.asarray(ndtr(ndtri(np.asarray(fpr, np.float64)) + mu))


def gaussian_delta(
    epsilon: Float[Array, "*P"] | float, mu: float
) -> Float[np.ndarray, "*P"] | float:
    """The delta that mu-Gaussian differential privacy has at an epsilon (the same, section 2.4)."""
    epsilon = np.asarray(epsilon, np.float64)
    if mu <= 0:
        return np.zeros(epsilon.shape)
    a, b = -epsilon / mu + mu / 2, -epsilon / mu - mu / 2
    return np.asarray(ndtr(a) - np.exp(np.minimum(epsilon + log_ndtr(b), 0)))


def gaussian_epsilon(delta: float, mu: float) -> float:
    """The epsilon that mu-Gaussian differential privacy has at a delta."""
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta} must be above 0 and below 1")
    return largest(lambda epsilon: float(gaussian_delta(epsilon, mu)) > delta)


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The mu of the Gaussian mechanism that has this epsilon at a delta."""
    check(epsilon, delta)
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta} must be above 0 and below 1")
    return largest(lambda mu: float(gaussian_delta(epsilon, mu)) <= delta)


def posterior_bound(
    epsilon: float, prior: Float[Array, "*P"] | float
) -> Float[np.ndarray, "*P"] | float:
    """The largest posterior of membership under epsilon-differential privacy, at a prior.

    `e^eps p / (1 - p + e^eps p)` (Li et al. 2013, section 4).
    """
    check(epsilon, 0.0)
    p = checked_prior(prior)
    return p / (p + (1 - p) * np.exp(-epsilon))


def posterior_bound_of_event(
    fpr: Float[Array, "*P"] | float, epsilon: float, delta: float, prior: float
) -> Float[np.ndarray, "*P"] | float:
    """The largest posterior of membership given an event {score >= threshold} of this FPR.

    `p t / (p t + (1 - p) fpr)` with t the `tpr_bound`: with a delta, rarer events may tell more, up
    to certainty for an FPR of 0.
    """
    p, fpr = checked_prior(prior), np.asarray(fpr, np.float64)
    tpr = tpr_bound(fpr, epsilon, delta)
    with np.errstate(invalid="ignore"):
        posterior = p * tpr / (p * tpr + (1 - p) * fpr)
    return np.where(fpr == 0, 1.0 if delta else posterior_bound(epsilon, p), posterior)


def identifiability_bound(epsilon: float, candidates: int) -> float:
    """The largest posterior of one of m candidates, of whom exactly one is in.

    `e^eps / (m - 1 + e^eps)` (Lee & Clifton 2012), for a replace-one epsilon.
    """
    check(epsilon, 0.0)
    if candidates < 2:
        raise ValueError(f"candidates={candidates} must be 2 or more")
    return float(1 / (1 + (candidates - 1) * np.exp(-epsilon)))


def largest(holds: Callable[[float], bool]) -> float:
    """The largest epsilon or mu up to which a condition holds, 0 if it does nowhere."""
    if not holds(0.0):
        return 0.0
    low, high = 0.0, LARGEST
    if holds(high):
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def check(epsilon: float, delta: float) -> None:
    """Raises `ValueError` for what is no (epsilon, delta)."""
    if not epsilon >= 0 or not 0 <= delta <= 1:
        raise ValueError(f"epsilon={epsilon} must be 0 or more, delta={delta} from 0 to 1")


def checked_prior(prior: Array | float) -> np.ndarray:
    """Priors in float64; raises `ValueError` for one outside (0, 1)."""
    p = np.asarray(prior, np.float64)
    if not ((p > 0) & (p < 1)).all():
        raise ValueError(f"prior={prior} must be above 0 and below 1")
    return p
