"""Per-example Gaussians of the references' phi, with any target left out: the sums behind LiRA.

Sums are taken once over all models and downdated for each target, in float64 about a centre near
the mean, so that leaving every model out in turn costs O(M N Q).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

CENTRES = ("mean", "median")


class Side(NamedTuple):
    """The references of one side: how many, their centre, and their squares about their mean.

    The leading axis is the target's; `centre` and `squares` are NaN where there is no reference.
    """

    n: Float[np.ndarray, "T n 1"]
    mean: Float[np.ndarray, "T n Q"]
    centre: Float[np.ndarray, "T n Q"]
    squares: Float[np.ndarray, "T n Q"]


def side(
    phi: Float[np.ndarray, "M n Q"],
    weight: Bool[np.ndarray, "M n"],
    leaving: list[Int[np.ndarray, "T n"]],
    centre: str,
) -> Side:
    """One side for every target, without the models that are `leaving` with it (-1 for none)."""
    w = weight[..., None]
    origin = _origin(phi, weight)
    x = np.where(w, phi - origin, 0.0)
    n, total, squares = w.sum(0, dtype=np.float64)[None], x.sum(0)[None], (x * x).sum(0)[None]
    for model in leaving:
        gone = _taken(w, model) & (model >= 0)[..., None]
        away = np.where(gone, _taken(x, model), 0.0)
        n, total, squares = n - gone, total - away, squares - away * away
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        squares = np.maximum(squares - mean * total, 0.0)
    middle = mean if centre == "mean" else _median(x, weight, leaving, n)
    return Side(n, mean + origin, middle + origin, squares)


def _origin(phi: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A value near the references' mean, which equals it where they are all the same."""
    n = np.maximum(weight.sum(0), 1)[:, None]
    mean = np.where(weight[..., None], phi, 0.0).sum(0) / n
    return mean.astype(np.float32).astype(np.float64)


def _taken(a: np.ndarray, model: np.ndarray) -> np.ndarray:
    """`a[model[t, j], j]`, by a view where the models are those of the rows in order."""
    if model.shape[0] == a.shape[0] and model.strides[1] == 0 and (model >= 0).all():
        return a[model[:, 0]]
    index = np.maximum(model, 0)
    return np.take_along_axis(a, index[..., None], axis=0)


def _median(
    x: np.ndarray, weight: np.ndarray, leaving: list[np.ndarray], n: np.ndarray
) -> np.ndarray:
    """The median of what is left: one sort, and a shift past each rank that is gone."""
    w = weight[..., None]
    key = np.where(w, x, np.inf)
    order = np.argsort(key, axis=0, kind="stable")
    ordered = np.take_along_axis(key, order, axis=0)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(len(x))[:, None, None], axis=0)
    gone = [np.where(_taken(w, m) & (m >= 0)[..., None], _taken(rank, m), len(x)) for m in leaving]
    gone = np.sort(np.stack(gone), axis=0) if gone else np.empty((0, 1, 1, 1), int)

    def at(position: np.ndarray) -> np.ndarray:
        index = np.broadcast_to(position, np.broadcast_shapes(position.shape, gone.shape[1:]))
        for r in gone:
            index = index + (index >= r)
        index = np.clip(index, 0, len(x) - 1)
        return np.take_along_axis(
            ordered, np.broadcast_to(index, (*index.shape[:2], x.shape[2])), 0
        )

    count = n.astype(np.int64)
    with np.errstate(invalid="ignore"):
        middle = (at((count - 1) // 2) + at(count // 2)) / 2
    return np.where(n > 0, middle, np.nan)
