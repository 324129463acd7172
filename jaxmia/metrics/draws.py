"""Draws of examples with replacement, and the interval that the draws of a statistic give."""

import numpy as np
from jaxtyping import Float, Num
from scipy.special import ndtr, ndtri

CELLS = 1 << 23  # weights of draws that are made at once


def weights(examples: int, draws: int, seed: int) -> Num[np.ndarray, "D N"]:
    """How often each example is in each draw of as many."""
    rng = np.random.default_rng([seed, 0])
    out = np.empty((draws, examples), np.uint16)
    rows = max(1, CELLS // examples)
    for first in range(0, draws, rows):
        some = min(rows, draws - first)
        at = rng.integers(examples, size=(some, examples)) + examples * np.arange(some)[:, None]
        count = np.bincount(at.reshape(-1), minlength=some * examples)
        out[first : first + some] = count.reshape(some, examples)
    return out


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
