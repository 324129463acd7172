"""Many attacks on many sets: mean ranks, whether they differ, and which are told apart.

Within a set attacks are ranked, 1 for the one that finds most, ties by their mean rank. The test of
Friedman (1937) asks whether mean ranks over sets differ at all; if so, two of them differ where
they are further apart than the critical difference of Nemenyi (1963), as Demšar (2006, JMLR 7)
describes both. Sets are the sample: how sure a figure is within its set plays no part.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxmia.types import Array

LEAST = 3  # sets, and attacks, of which a comparison can be made


class Comparison(NamedTuple):
    """Mean ranks of the attacks, Friedman's p-value, the critical difference, how many sets."""

    rank: Float[np.ndarray, " A"]
    p_value: float
    difference: float
    sets: int

    def as_good(self) -> np.ndarray:
        """Which are not told apart from the best; all where Friedman's test finds no difference."""
        if self.p_value > 0.05:
            return np.ones(len(self.rank), bool)
        return self.rank - self.rank.min() < self.difference


def ranked(figure: Float[Array, "S A"]) -> Float[np.ndarray, "S A"]:
    """The rank of each attack within each set; 1 is the largest figure, ties share their mean."""
    return stats.rankdata(-np.asarray(figure, np.float64), axis=1)


@functools.cache  # the quantile takes a while
def critical_difference(attacks: int, sets: int, level: float = 0.05) -> float:
    """How far apart mean ranks differ: `q sqrt(A (A + 1) / (6 S))`, all pairs at one error rate.

    q is the upper quantile of the studentised range of so many attacks, divided by sqrt(2).
    """
    q = stats.studentized_range.ppf(1 - level, attacks, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(attacks * (attacks + 1) / (6 * sets)))


def compared(figure: Float[Array, "S A"]) -> Comparison:
    """Attacks compared over sets; raises `ValueError` for fewer than three of either, or NaN."""
    figure = np.asarray(figure, np.float64)
    if figure.ndim != 2 or min(figure.shape) < LEAST or np.isnan(figure).any():
        raise ValueError(
            f"ranks: needs figures of {LEAST} or more sets by {LEAST} or more attacks, none "
            f"missing; has shape {figure.shape}"
        )
    rank = ranked(figure)
    p_value = 1.0
    if np.ptp(rank):  # where all are tied there is nothing to test
        p_value = float(stats.friedmanchisquare(*rank.T).pvalue)
    return Comparison(rank.mean(0), p_value, critical_difference(*figure.shape[::-1]), len(figure))


def together(figures: Float[Array, "K S A"]) -> Float[np.ndarray, "S A"]:
    """One figure for each set from several kinds of model: minus the mean of its ranks in them.

    So that models of one set are not taken for two sets, which they are not.
    """
    return -np.mean([ranked(figure) for figure in figures], axis=0)
