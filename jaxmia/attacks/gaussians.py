"""Per-example Gaussians of the references' phi, with any target left out: the sums behind LiRA.

Sums are taken once over all models and downdated for each target, in float64 about a centre near
the mean, so that leaving every model out in turn costs O(M N Q). Where nearly all of a sum leaves,
the digits of the rest went with it: there the rest is summed by itself.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

CENTRES = ("mean", "median")
ROUNDING = 1e-13  # of the squares of all references, below which those of the rest say nothing
REMAINDER = 1e-6  # of the squares of all about their mean: below it the rest has too few digits
FAR = 1e4  # |phi| from which on one model alone could make a mean or take its digits: no logit


class GaussianFit(NamedTuple):
    """The references of one side: how many, their centre, and their squares about their mean.

    The leading axis is the target's, or 1 where all targets have the same; `centre` is NaN where
    there is no reference. `level` is about how large phi is, the same whoever is IN.
    """

    n: Float[np.ndarray, "T n 1"]
    centre: Float[np.ndarray, "T n Q"]
    squares: Float[np.ndarray, "T n Q"]
    level: Float[np.ndarray, "n Q"]


def side(
    phi: Float[np.ndarray, "M n Q"],
    weight: Bool[np.ndarray, "M n"],
    leaving: list[Int[np.ndarray, "T n"]],
    centre: str,
) -> GaussianFit:
    """One side for every target, without the models that are `leaving` with it (-1 for none).

    `phi` is finite wherever there is weight, and anything finite elsewhere.
    """
    w = weight[..., None].astype(np.float64)
    origin = _origin(phi, w)
    x = phi - origin
    x *= w
    square = x * x
    n = w.sum(0)[None] - _count_leaving(weight, leaving)
    total, squares = x.sum(0)[None], square.sum(0)[None]
    least = ROUNDING * squares
    about_mean = squares - total**2 / np.maximum(w.sum(0), 1)
    few = np.where(about_mean > least, REMAINDER * about_mean, -1.0)
    for model in leaving:
        total = _less(total, _take(x, model))
        squares = _less(squares, _take(square, model))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.divide(total, n, out=square if total.shape == square.shape else None)
    middle = mean if centre == "mean" else _median(x, weight, leaving, n)
    total *= mean
    squares -= total
    fit = GaussianFit(n, np.add(middle, origin, out=middle), squares, _level(phi))
    small = squares <= np.maximum(least, few)
    if small.any():
        anew = small & (squares <= few) & ((n > 1) | (about_mean > FAR * FAR))
        squares[small] = 0.0  # what rounding leaves there depends on who left
        _sum_anew(fit, phi, weight, leaving, anew, centre)
    return fit


def _sum_anew(
    fit: GaussianFit,
    phi: Float[np.ndarray, "M n Q"],
    weight: Bool[np.ndarray, "M n"],
    leaving: list[Int[np.ndarray, "T n"]],
    anew: Bool[np.ndarray, "T n Q"],
    centre: str,
) -> None:
    """Writes the centre and squares of what is left, where it is summed by itself (`anew`)."""
    t, j, q = np.nonzero(anew)
    keep = weight[:, j].copy()
    for model in leaving:
        away = np.broadcast_to(model, anew.shape[:2])[t, j]
        keep[away[away >= 0], np.flatnonzero(away >= 0)] = False
    values, w = phi[:, j, q], keep[..., None].astype(np.float64)
    origin = _origin(values[..., None], w)[:, 0]
    x = np.where(keep, values - origin, 0.0)
    n, square = keep.sum(0), (x * x).sum(0)
    mean = x.sum(0) / n
    away_from_mean = np.where(keep, x - mean, 0.0)
    squares = (away_from_mean * away_from_mean).sum(0)
    fit.squares[t, j, q] = np.where(squares <= ROUNDING * square, 0.0, squares)
    middle = mean if centre == "mean" else np.nanmedian(np.where(keep, x, np.nan), axis=0)
    fit.centre[t, j, q] = middle + origin


def _level(phi: Float[np.ndarray, "M n Q"]) -> Float[np.ndarray, "n Q"]:
    """The mean; the median where one model alone could make that."""
    level = phi.mean(0)
    far = (phi.max(0) > FAR) | (phi.min(0) < -FAR)
    if far.any():
        level[far] = np.median(phi[:, far], axis=0)
    return level


def _count_leaving(weight: np.ndarray, leaving: list[np.ndarray]) -> Float[np.ndarray, "T n 1"]:
    """How many references each target loses; one row where that is the same for all."""
    count = np.zeros((1, 1, 1), np.uint8)
    for model in leaving:
        count = count + _take(weight[..., None].view(np.uint8), model)
    return (count[:1] if (count == count[:1]).all() else count).astype(np.float64)


def _less(total: np.ndarray, away: np.ndarray) -> np.ndarray:
    """`total - away`, in the memory of `total` where it fits."""
    return np.subtract(total, away, out=total if total.shape == away.shape else None)


def _origin(phi: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A value near the references' mean, which equals it where they are all the same."""
    mean = np.einsum("mnq,mn->nq", phi, w[..., 0]) / np.maximum(w.sum(0), 1)
    return mean.astype(np.float32).astype(np.float64)


def _take(a: np.ndarray, model: np.ndarray) -> np.ndarray:
    """`a[model[t, j], j]`, 0 where that is -1; a view where the models are the rows in order."""
    if model.strides[1] == 0 and (model[:, 0] >= 0).all():
        rows = model[:, 0]
        return a if np.array_equal(rows, np.arange(len(a))) else a[rows]
    values = np.take_along_axis(a, np.maximum(model, 0)[..., None], axis=0)
    return np.multiply(values, (model >= 0)[..., None], out=values)


def _median(
    x: np.ndarray, weight: np.ndarray, leaving: list[np.ndarray], n: np.ndarray
) -> np.ndarray:
    """The median of what is left: one sort, and a shift past each rank that is away."""
    w = weight[..., None]
    key = np.where(w, x, np.inf)
    order = np.argsort(key, axis=0, kind="stable")
    ordered = np.take_along_axis(key, order, axis=0)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(len(x))[:, None, None], axis=0)
    ranks = [np.where(_take(w, m) > 0, _take(rank, m), len(x)) for m in leaving]
    ranks = np.sort(np.stack(ranks), axis=0) if ranks else np.empty((0, 1, 1, 1), int)

    def at(position: np.ndarray) -> np.ndarray:
        index = np.broadcast_to(position, np.broadcast_shapes(position.shape, ranks.shape[1:]))
        for r in ranks:
            index = index + (index >= r)
        index = np.clip(index, 0, len(x) - 1)
        return np.take_along_axis(
            ordered, np.broadcast_to(index, (*index.shape[:2], x.shape[2])), 0
        )

    count = n.astype(np.int64)
    with np.errstate(invalid="ignore"):
        middle = (at((count - 1) // 2) + at(count // 2)) / 2
    return np.where(n > 0, middle, np.nan)
