"""Draws of examples with replacement, and the interval that the draws of a statistic give."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Num
from scipy.special import ndtr, ndtri

CELLS = 1 << 23  # weights of draws that are made at once
PANEL = 1 << 13  # examples whose weights are there at once


def weights(examples: int, draws: int, seed: int) -> Num[np.ndarray, "D N"]:
    """How often each example is in each draw of as many."""
    return np.concatenate([part for _, part in weights_of_panels(examples, draws, seed)], axis=1)


def weights_of_panels(
    examples: int, draws: int, seed: int
) -> Iterator[tuple[slice, Num[np.ndarray, "D n"]]]:
    """The same, some examples after the others, so that those of all are never there at once.

    First it is drawn how many each panel has in each draw, then which.
    """
    sizes = [min(PANEL, examples - first) for first in range(0, examples, PANEL)]
    share = np.array(sizes) / examples
    count = np.random.default_rng([seed, 2]).multinomial(examples, share, draws)
    rng = np.random.default_rng([seed, 0])
    for panel, size in enumerate(sizes):
        out = np.empty((draws, size), np.uint16)
        rows = max(1, CELLS // size)
        for first in range(0, draws, rows):
            own = count[first : first + rows, panel]
            at = rng.integers(size, size=own.sum()) + size * np.repeat(np.arange(len(own)), own)
            times = np.bincount(at, minlength=size * len(own))
            out[first : first + rows] = times.reshape(len(own), size)
        yield slice(panel * PANEL, panel * PANEL + size), out


def moved(
    weight: Num[np.ndarray, "D N"], say: Float[np.ndarray, "N T"]
) -> Float[np.ndarray, "D T"]:
    """How far each draw moves each target's statistic."""
    return _product(weight, say, np.float32)  # relative to the move itself 1e-6 is lost


def total(
    weight: Num[np.ndarray, "D N"], count: Num[np.ndarray, "N E"], kind: type = np.float64
) -> Num[np.ndarray, "D E"]:
    """Counts by example as each draw has them, exact below 2^53, or 2^24 in float32."""
    return _product(weight, count, kind).astype(np.int64)


def _product(weight: np.ndarray, values: np.ndarray, dtype: type) -> np.ndarray:
    rows = max(1, CELLS // weight.shape[1])
    values = values.astype(dtype, order="C")
    parts = [weight[i : i + rows].astype(dtype) @ values for i in range(0, len(weight), rows)]
    return np.concatenate(parts).astype(np.float64)


def acceleration(say: Float[np.ndarray, " n"]) -> float:
    """Efron's a, from the influence of every example."""
    squares = float((say**2).sum())
    return float((say**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0


def ends(
    replicates: Float[np.ndarray, " D"],
    estimate: float,
    acceleration: float,
    kind: str,
    confidence: float,
) -> Float[np.ndarray, " 2"]:
    """The interval of a statistic, from its draws."""
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if kind == "bca":
        below = ((replicates < estimate).mean() + (replicates <= estimate).mean()) / 2
        edge = 0.5 / len(replicates)
        bias = ndtri(np.clip(below, edge, 1 - edge))
        z = bias + ndtri(tails)
        tails = ndtr(bias + z / np.maximum(1 - acceleration * z, 1e-3))
    return np.quantile(replicates, tails)
