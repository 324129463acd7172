"""Student-t laws of phi, their variances shrunk to a prior of which all examples tell (Smyth 2004).

A variance s^2 of d degrees of freedom scatters about the truth as chi^2_d / d does; whatever the
log-variances of the examples scatter beyond that is the prior's, a scaled inverse chi^2:

    log s^2 - psi(d/2) + log(d/2)    has the mean  log s_0^2 - psi(nu_0/2) + log(nu_0/2)
                                     and variance  psi'(d/2) + psi'(nu_0/2)

Of a normal with such a variance the next value is Student-t with nu_0 + d degrees of freedom.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import digamma, gammaln, log_ndtr, polygamma, stdtr

from jaxmia.attacks.gaussians import GaussianFit

FLOOR = 1e-10  # of a standard deviation, relative to 1 + |mu|: degenerate examples stay finite
NORMAL = 1e12  # degrees of freedom from which on the law is the Gaussian in float64


class Prior(NamedTuple):
    """The prior on variances, as nu_0 and s_0^2; `nu_0` is infinite where all are one."""

    freedom: Float[np.ndarray, "..."]
    variance: Float[np.ndarray, "..."]


class StudentT(NamedTuple):
    """What the references of one side predict of phi."""

    centre: Float[np.ndarray, "T n Q"]
    scale: Float[np.ndarray, "T n Q"]
    freedom: Float[np.ndarray, "T n _"]

    def log_density(self, phi: Float[np.ndarray, "T n Q"]) -> Float[np.ndarray, "T n Q"]:
        """Of the targets' phi."""
        return density((phi - self.centre) / self.scale, self.freedom, self.scale)


def least_variance(s: GaussianFit) -> Float[np.ndarray, "n Q"]:
    """That of a degenerate example, which must not tell who is IN."""
    return (FLOOR * (1 + np.abs(s.level))) ** 2


def log_variance(
    squares: Float[np.ndarray, "..."],
    free: Float[np.ndarray, "..."],
    least: Float[np.ndarray, "..."],
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """The unbiased log-variance, and how far it scatters about the truth (a variance).

    NaN or infinite where nothing is free.
    """
    log = np.log(np.maximum(squares / free, least)) - digamma(free / 2) + np.log(free / 2)
    return log, polygamma(1, free / 2)


def prior(mean: Float[np.ndarray, "..."], excess: Float[np.ndarray, "..."]) -> Prior:
    """From the mean of the log-variances, and from how much they scatter beyond their noise."""
    freedom = np.where(excess > 0, 2 * _inverse_trigamma(np.maximum(excess, 1e-12)), np.inf)
    finite = np.minimum(freedom, NORMAL)
    return Prior(freedom, np.exp(mean + digamma(finite / 2) - np.log(finite / 2)))


def _inverse_trigamma(y: np.ndarray) -> np.ndarray:
    """x with psi'(x) = y, by Newton's method on 1/psi' (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(50):
        first = polygamma(1, x)
        x = x + first * (1 - first / y) / polygamma(2, x)
    return x


def predictive(s: GaussianFit, prior: Prior) -> StudentT:
    """The law of a model that is none of the references."""
    finite = np.minimum(prior.freedom, NORMAL)
    nu = finite + s.n - 1
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN where there is no reference
        variance = (finite * prior.variance + s.squares) / nu * (1 + 1 / s.n)
    least = least_variance(s)  # of constant signals all is rounding: n must not tell membership
    return StudentT(s.centre, np.sqrt(np.where(variance > 16 * least, variance, least)), nu)


def density(z: np.ndarray, nu: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The log-density of a Student-t at a distance of `z` scales."""
    shape = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi)
    shape = np.where(nu > 1e6, -0.5 * np.log(2 * np.pi), shape)
    return shape - np.log(scale) - (nu + 1) / 2 * np.log1p(z * z / nu)


def tail(z: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """`-log(1 - F(z))`, by the tail's leading term where the distribution function underflows."""
    beyond = stdtr(nu, -np.abs(z))  # on the side of z: one less it loses what is below 1e-16
    far = -density(z, nu, np.ones(1)) - np.log(np.abs(z) / nu + 1 / np.abs(z))
    near = np.where(z < 0, -np.log1p(-beyond), -np.log(np.maximum(beyond, 1e-300)))
    near = np.where(nu > 1e6, upper_tail(z), near)
    return np.where((z > 0) & (beyond < 1e-290) & (nu <= 1e6), far, near)


def upper_tail(z: np.ndarray) -> np.ndarray:
    """`-log(1 - Phi(z))`, and `z + 37` below -37, where it would tie at 0."""
    return np.where(z > -37, -log_ndtr(-np.maximum(z, -37)), z + 37)
