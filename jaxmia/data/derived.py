"""Sources made from another source."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

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
