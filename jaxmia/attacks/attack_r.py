"""Attack R: where the target lies among the models that were not trained on the example.

Ye et al. 2022, section 4.3: the share of OUT references that the target beats. Between two
reference points it is smoothed by their Gaussian fit F: with k references below,

    p = (k + (F(phi) - F(below)) / (F(above) - F(below))) / (n + 1)

so nothing ties but equal phi. A single reference has no Gaussian: p is 1/4 below it and 3/4 above.
The score is `-log(1 - p)`, which keeps its order and does not saturate above all references.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import log_ndtr

from jaxmia.attacks.attacker import BLACK, CHANCE, OUT
from jaxmia.attacks.by_example import Chunk, attack
from jaxmia.attacks.gaussians import side
from jaxmia.types import Attacker

_FLOOR = 1e-10


def attack_r(chunk: Chunk) -> Float[np.ndarray, "T n"]:
    """`-log(1 - p)`; NaN without a reference."""
    fit = side(chunk.reference, chunk.outside, chunk.leaving, "mean")
    n = fit.n[..., 0]
    spread = np.sqrt(np.maximum(fit.squares / fit.n, (_FLOOR * (1 + np.abs(fit.centre))) ** 2))
    place = _places(chunk)

    def z(at: np.ndarray) -> np.ndarray:
        return (at - fit.centre[..., 0]) / spread[..., 0]

    here, below, above = z(chunk.target[..., 0]), z(place.below), z(place.above)
    low = place.under + _share(here, below, above)  # accurate below the references' mean
    high = n - place.under + _share(-here, -above, -below)  # n + 1 less that, accurate above it
    over = np.where(place.under == n, log_ndtr(-here) - log_ndtr(-below), np.log(high))
    counted = (place.upto > place.under) | (n == 1)  # ties, and where no spread is known
    low = np.where(counted, (place.under + place.upto + 1) / 2, low)
    score = np.where((here < 0) | counted, -np.log1p(-low / (n + 1)), np.log(n + 1) - over)
    return np.where(n > 0, score, np.nan)


def _share(here: np.ndarray, below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """`(F(here) - F(below)) / (F(above) - F(below))` of the normal law, exact in its lower tail."""
    f, low, high = log_ndtr(here), log_ndtr(below), log_ndtr(above)
    return np.exp(f - high) * -np.expm1(low - f) / -np.expm1(low - high)


class _Places(NamedTuple):
    """References below the target and up to it, and the nearest strictly below and above."""

    under: Float[np.ndarray, "T n"]
    upto: Float[np.ndarray, "T n"]
    below: Float[np.ndarray, "T n"]
    above: Float[np.ndarray, "T n"]


def _places(chunk: Chunk) -> _Places:
    """From one sort of each example's models: a target's own row is found by its rank."""
    phi, outside = chunk.reference[..., 0], chunk.outside
    rows = len(phi)
    both = phi if chunk.leaving else np.concatenate([phi, chunk.target[..., 0]])
    key = np.where(np.isfinite(both), both, np.inf)
    order = np.argsort(key, axis=0, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(len(order))[:, None], axis=0)
    ordered = np.take_along_axis(key, order, axis=0)
    out = np.zeros(both.shape, bool)
    out[:rows] = outside
    out = np.take_along_axis(out, order, axis=0)
    first, last = _blocks(ordered)
    count = np.concatenate([np.zeros((1, out.shape[1]), int), np.cumsum(out, axis=0)])
    index = np.arange(len(out))[:, None]
    before = np.concatenate([-np.ones((1, out.shape[1]), int), np.where(out, index, -1)])
    before = np.maximum.accumulate(before, axis=0)  # [i]: the last OUT reference before rank i
    after = np.concatenate([np.where(out, index, len(out)), np.full((1, out.shape[1]), len(out))])
    after = np.minimum.accumulate(after[::-1], axis=0)[::-1]  # [i]: the first one from rank i on

    def take(a: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.take_along_axis(a, at, axis=0)

    mine = rank if chunk.leaving else rank[rows:]
    start, end = take(first, mine), take(last, mine)
    under, upto = take(count, start), take(count, end)
    below, above = take(before, start), take(after, end)
    for model in chunk.leaving:
        row = np.maximum(model, 0)
        at = take(rank, row)
        leaves = (model >= 0) & take(out, at)
        under, upto = under - (leaves & (at < start)), upto - (leaves & (at < end))
        below = np.where(leaves & (at == below), take(before, np.maximum(below, 0)), below)
        above = np.where(
            leaves & (at == above), take(after, np.minimum(above + 1, len(out))), above
        )
    padded = np.concatenate([ordered, np.full((1, ordered.shape[1]), np.inf)])
    return _Places(
        under,
        upto,
        np.where(below < 0, -np.inf, take(padded, np.maximum(below, 0))),
        take(padded, above),
    )


def _blocks(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each rank, where the run of equal values around it begins, and where it has ended."""
    index = np.arange(len(ordered))[:, None]
    new = np.ones(ordered.shape, bool)
    new[1:] = ordered[1:] != ordered[:-1]
    first = np.maximum.accumulate(np.where(new, index, 0), axis=0)
    ends = np.ones(ordered.shape, bool)
    ends[:-1] = new[1:]
    last = np.where(ends, index + 1, len(ordered))
    return first, np.minimum.accumulate(last[::-1], axis=0)[::-1]


ATTACK_R = attack(attack_r, Attacker(BLACK, CHANCE, OUT), "Ye et al. 2022")
