"""Data of a set's shape in the place of one that is not here, for what looks at shapes alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxmia.data.tfds import ready, tfds
from jaxmia.types import Data
from jaxmia.values import Value, factory


class Shape(NamedTuple):
    """How many images a set has, and what they are."""

    examples: int
    test: int
    image: tuple[int, int, int]
    classes: int


SETS = {
    "cifar10": Shape(50_000, 10_000, (32, 32, 3), 10),
    "cifar100": Shape(50_000, 10_000, (32, 32, 3), 100),
    "fashion_mnist": Shape(60_000, 10_000, (28, 28, 1), 10),
    "kmnist": Shape(60_000, 10_000, (28, 28, 1), 10),
    "mnist": Shape(60_000, 10_000, (28, 28, 1), 10),
    "svhn_cropped": Shape(73_257, 26_032, (32, 32, 3), 10),
}


@factory
def blank(name: str) -> Callable[[], Data]:
    """Black images, as many as the set `name` of `SETS` has, with labels of all its classes."""
    if name not in SETS:
        raise ValueError(f"blank: {name!r:.80} is not one of {', '.join(SETS)}")
    shape = SETS[name]

    def load() -> Data:
        x, x_test = (np.zeros((n, *shape.image), np.uint8) for n in shape[:2])
        y, y_test = (np.arange(n, dtype=np.int32) % shape.classes for n in shape[:2])
        halfway = np.float32(127.5)
        return Data(name, x, y, x_test, y_test, shape.classes, halfway, halfway)

    return load


def ready_or_blank(source: Callable[[], Data]) -> Callable[[], Data]:
    """The source itself, but with `blank` for each set of `SETS` that is not prepared here."""
    if not isinstance(source, Value):
        return source
    if _is(source, tfds):
        name, folder = source.arguments["name"], source.arguments["data_dir"]
        absent = not any(p.name == name for p in ready(folder))
        return blank(name) if name in SETS and absent else source
    inner = {k: v for k, v in source.arguments.items() if isinstance(v, Value)}
    return source.with_arguments(**{k: ready_or_blank(v) for k, v in inner.items()})


def blanks(source: Any) -> list[str]:
    """The names of the sets that a source has blanks of."""
    if not isinstance(source, Value):
        return []
    own = [source.arguments["name"]] if _is(source, blank) else []
    return own + [name for v in source.arguments.values() for name in blanks(v)]


def _is(value: Value, build: Callable) -> bool:
    return value.factory is build.__wrapped__  # type: ignore[attr-defined]
