"""Sources made from another source."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from jaxmia.data.usable import usable
from jaxmia.types import Data
from jaxmia.values import factory


@factory
def first(source: Callable[[], Data], examples: int, test: int = 0) -> Callable[[], Data]:
    """The first examples of a pool, and the first of its test part (all of it for 0)."""
    if examples < 1 or test < 0:
        raise ValueError(f"first: examples={examples} must be 1 or more, test={test} 0 or more")

    def load() -> Data:
        data = source()
        person = data.person[:examples] if data.person is not None else None
        return replace(
            data,
            x=data.x[:examples],
            y=data.y[:examples],
            x_test=data.x_test[: test or None],
            y_test=data.y_test[: test or None],
            person=person,
        )

    return load


@factory
def random_labels(source: Callable[[], Data], seed: int = 0) -> Callable[[], Data]:
    """A pool whose labels are drawn at random: whoever fits them has memorised them."""

    def load() -> Data:
        data = source()
        y = np.random.default_rng(seed).integers(data.classes, size=len(data.y)).astype(np.int32)
        return replace(data, name=f"{data.name}, random labels", y=y)

    return load


@factory
def mislabelled(
    source: Callable[[], Data], index: Sequence[int], seed: int = 0
) -> Callable[[], Data]:
    """A pool in which some examples have another class's label, drawn uniformly: canaries.

    A network learns such a label by heart or not at all (Aerni et al. 2024).
    """
    rows = _numbers("mislabelled", index)

    def load() -> Data:
        data = usable(source())
        y = data.y.copy()
        y[rows] = _other_labels("mislabelled", data, rows, seed)
        return replace(data, name=f"{data.name}, {len(rows)} mislabelled", y=y.astype(np.int32))

    return load


@factory
def poisoned(
    source: Callable[[], Data], targets: Sequence[int], copies: int = 8, seed: int = 0
) -> Callable[[], Data]:
    """A pool with mislabelled copies of some examples behind it, the targets (Tramer et al. 2022).

    All copies of a target have the same wrong class, drawn uniformly, and belong to no person of
    the pool; the targets themselves stay as they are. Poisons are in every model's training set
    where the design says so, as `design.canaries(targets)` does: then a model that has the target
    must learn its label against them ("Truth Serum", section 4). Raises `ValueError` for fewer
    than one copy, and for targets that are no different numbers of the pool.
    """
    rows = _numbers("poisoned", targets)
    if copies < 1 or not len(rows):
        raise ValueError(f"poisoned: copies={copies} and the number of targets must be 1 or more")

    def load() -> Data:
        data = usable(source())
        wrong = np.repeat(_other_labels("poisoned", data, rows, seed), copies).astype(np.int32)
        person = data.person
        if person is not None:
            person = np.concatenate([person, person.max() + 1 + np.arange(len(wrong))])
        return replace(
            data,
            name=f"{data.name}, {copies} poisons of {len(rows)} targets",
            x=np.concatenate([data.x, np.repeat(data.x[rows], copies, axis=0)]),
            y=np.concatenate([data.y, wrong]),
            person=person,
        )

    return load


def _numbers(name: str, index: Sequence[int]) -> np.ndarray:
    rows = np.asarray(index)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(np.unique(rows)) != len(rows):
        raise ValueError(f"{name}: needs a list of different numbers, not {index!r:.80}")
    return rows


def _other_labels(name: str, data: Data, rows: np.ndarray, seed: int) -> np.ndarray:
    """Another class than its own for each of some rows, drawn uniformly."""
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(data.y):
        raise ValueError(f"{name}: {rows.max()} is not in the pool of {len(data.y)}")
    other = np.random.default_rng(seed).integers(1, data.classes, size=len(rows))
    return (data.y[rows] + other) % data.classes
