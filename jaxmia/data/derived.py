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
    rows = np.asarray(index)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(np.unique(rows)) != len(rows):
        raise ValueError(f"mislabelled: needs a list of different numbers, not {index!r:.80}")

    def load() -> Data:
        data = usable(source())
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(data.y):
            raise ValueError(f"mislabelled: {rows.max()} is not in the pool of {len(data.y)}")
        y = data.y.copy()
        other = np.random.default_rng(seed).integers(1, data.classes, size=len(rows))
        y[rows] = (y[rows] + other) % data.classes
        return replace(data, name=f"{data.name}, {len(rows)} mislabelled", y=y.astype(np.int32))

    return load
