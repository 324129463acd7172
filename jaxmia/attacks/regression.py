"""Weighted least squares, and each example's value by all others: exact, and without refitting.

With the weight w of an example, its terms c and A = sum w c c' over all,

    without it    beta' c = c . beta - w h (y - c . beta) / (1 - w h),    h = c' A^-1 c

(Sherman & Morrison 1950; the statistic of Allen 1974).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Examples = Float[np.ndarray, "T Q n"]
LEVERAGE = 1 - 1e-9  # the most that an example has, which alone tells of a direction


def sums(weight: Examples, terms: Float[np.ndarray, "T Q n C"], y: Examples) -> list[np.ndarray]:
    """The normal equations, and how many examples have a weight: a leading `[T, Q]`, additive."""
    weighted = terms * weight[..., None]
    return [
        np.swapaxes(weighted, -1, -2) @ terms,
        (y[..., None, :] @ weighted)[..., 0, :],
        (weight * y * y).sum(-1),
        (weight > 0).sum(-1, dtype=np.float64),
    ]


class Others(NamedTuple):
    """What the other examples say of each: the value, and how sure that is.

    `square` is the mean weighted square about the fit, `leverage` the value's variance over that,
    `free` how many more other examples than terms there are.
    """

    value: Examples
    square: Examples
    leverage: Examples
    free: Examples


class Regression(NamedTuple):
    """The fit to all examples; a leading `[T, Q]`."""

    inverse: Float[np.ndarray, "T Q C C"]
    beta: Float[np.ndarray, "T Q C"]
    square: Float[np.ndarray, "T Q"]
    number: Float[np.ndarray, "T Q"]

    @classmethod
    def of(cls, sums: list[np.ndarray]) -> "Regression":
        """From sums over all examples; of terms that depend on each other, the shortest fit."""
        gram, cross, squares, number = sums
        inverse = np.linalg.pinv(gram, rcond=1e-12, hermitian=True)
        beta = (inverse @ cross[..., None])[..., 0]
        return cls(inverse, beta, squares - (beta * cross).sum(-1), number)

    def others(
        self, weight: Examples, terms: Float[np.ndarray, "T Q n C"], y: Examples, rank: int
    ) -> Others:
        """Each example by the others; `rank` of the terms vary."""
        whole = ((terms @ self.inverse) * terms).sum(-1)
        rest = 1 - np.minimum(weight * whole, LEVERAGE)
        value = (terms @ self.beta[..., None])[..., 0]
        off = y - value
        free = self.number[..., None] - (weight > 0) - rank
        rss = self.square[..., None] - weight * off * off / rest
        square = np.maximum(rss, 0) / np.maximum(free, 1)
        return Others(value - weight * whole / rest * off, square, whole / rest, free)
