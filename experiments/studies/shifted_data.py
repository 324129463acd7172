"""Digits for targets, and other records for shadow models: one pool, and who is trained on what.

A run asks every model about the whole pool, so targets that are trained on one part of it and
shadow models on another are models of one run, told apart by its design.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxmia import data
from jaxmia.types import Data
from jaxmia.values import factory

PART = 500  # records of each part of the pool; a model is trained on half of one
DEGREES = 25.0  # that scans are turned by
NOISE = 3.0  # standard deviation of a pixel, which goes to 16
FREQUENT, RARE = 80, 20  # records of each class below five, and from five on
QUERIES = "the same records"
SHIFTS = ("other records", "turned", "noisy", "rare classes")


@factory
def shifted(shadow_data: str | None = None) -> Callable[[], Data]:
    """The digits in parts of 500: the queries, then others as they are and as `SHIFTS` say.

    `shadow_data`, an .npz with x and y as those of the digits, is one part more. All but the
    queries and the rare classes are the same records. Raises `ValueError` for a file that has fewer
    records, or others.
    """

    def load() -> Data:
        whole, rng = data.digits()(), np.random.default_rng(0)
        order = rng.permutation(len(whole.y))
        x, y = whole.x[order], whole.y[order]
        others = slice(PART, 2 * PART)
        rare = np.concatenate([
            PART + np.flatnonzero(y[PART:] == c)[: FREQUENT if c < 5 else RARE] for c in range(10)
        ])  # fmt: skip
        parts = [(x[:PART], y[:PART]), (x[others], y[others])]
        parts += [(f(x[others]), y[others]) for f in (_turned, lambda x: _noisy(x, rng))]
        parts += [(x[rare], y[rare])]
        parts += [_of_file(shadow_data, whole)] if shadow_data else []
        return replace(
            whole,
            name="shifted digits",
            x=np.concatenate([x for x, _ in parts]),
            y=np.concatenate([y for _, y in parts]),
        )

    return load


def _turned(x: np.ndarray) -> np.ndarray:
    from scipy.ndimage import rotate

    turned = rotate(x.reshape(-1, 8, 8).astype(np.float64), DEGREES, (1, 2), reshape=False, order=1)
    return np.rint(turned).clip(0, 16).astype(x.dtype).reshape(x.shape)


def _noisy(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = NOISE * rng.normal(size=x.shape)
    return np.rint(x + noise).clip(0, 16).astype(x.dtype)


def _of_file(file: str, like: Data) -> tuple[np.ndarray, np.ndarray]:
    own = data.arrays(file, standardise=False)()
    x, y = np.concatenate([own.x, own.x_test]), np.concatenate([own.y, own.y_test])
    if len(x) < PART or x.shape[1:] != like.x.shape[1:] or not 0 <= y.min() <= y.max() < 10:
        raise ValueError(
            f"--shadow-data: {Path(file).name} has x {x.shape} and labels {y.min()} to {y.max()}, "
            f"needs x [{PART} or more, 64] and labels 0 to 9"
        )
    return x[:PART], y[:PART]


@factory
def halves_of_parts(models: Sequence[int]) -> Callable[[int, int, int], np.ndarray]:
    """`models[0]` models on random halves of the first part of the pool, and so on.

    Those beyond are like the last.
    """

    def draw(seed: int, M: int, N: int) -> np.ndarray:
        part = np.searchsorted(np.cumsum(models)[:-1], np.arange(M), side="right")
        member = np.zeros((M, N), bool)
        for m in range(M):
            half = np.random.default_rng([seed, m]).permutation(PART)[: PART // 2]
            member[m, PART * part[m] + half] = True
        return member

    return draw


def examples(part: int) -> np.ndarray:
    """The numbers of the queries, and of the records of another part."""
    return np.unique([np.arange(PART), PART * part + np.arange(PART)])
