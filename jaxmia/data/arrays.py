"""A user's own `.npz`: `x`, `y`, optionally `x_test`, `y_test`, `person`, `label_names`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxmia.data.pool import fifth_aside
from jaxmia.types import Data
from jaxmia.values import factory


@factory
def arrays(
    file: str, name: str = "", classes: int = 0, standardise: bool = True
) -> Callable[[], Data]:
    """Examples from an `.npz`; without `x_test` and `y_test` a fixed fifth is set aside.

    A network sees uint8 as x / 127.5 - 1, and numbers standardised per feature by the pool's mean
    and deviation (unless `standardise` is off). `classes` is the largest label plus one if 0.
    Raises `ValueError` or `FileNotFoundError`, naming file and field, for what cannot be used.
    """

    def load() -> Data:
        found = _read(Path(file))
        x, y = _examples(file, found, "x", "y")
        person = _person(file, found, len(y))
        if "x_test" in found or "y_test" in found:
            x_test, y_test = _examples(file, found, "x_test", "y_test")
        else:
            pool, test = fifth_aside(len(y))
            x, y, x_test, y_test = x[pool], y[pool], x[test], y[test]
            person = person[pool] if person is not None else None
        if x_test.shape[1:] != x.shape[1:]:
            raise ValueError(f"{file}: x_test holds {x_test.shape[1:]}, x holds {x.shape[1:]}")
        known = max(int(y.max(initial=0)), int(y_test.max(initial=0))) + 1
        if classes and known > classes:
            raise ValueError(f"{file}: y has label {known - 1}, allowed are 0 to {classes - 1}")
        if max(known, classes) < 2:
            raise ValueError(f"{file}: y has one class only, at least two are needed")
        shift, scale = _scaling(x, standardise)
        names = tuple(str(n)[:80] for n in found["label_names"]) if "label_names" in found else ()
        called = name or Path(file).stem
        classes_ = classes or known
        return Data(called, x, y, x_test, y_test, classes_, shift, scale, names, person)

    return load


def _read(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: is no file; an .npz with x and y is needed")
    try:
        loaded = np.load(file, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array")
        with loaded as held:
            wanted = ("x", "y", "x_test", "y_test", "person", "label_names")
            found = {k: held[k] for k in wanted if k in held.files}
    except Exception as error:  # a damaged header raises whatever its parser does
        raise ValueError(f"{file}: cannot be read as an .npz of plain arrays ({error})") from error
    for key in ("x", "y"):
        if key not in found:
            raise ValueError(f"{file}: has no array {key!r}; x and y are needed")
    return found


def _examples(file: str, found: dict, x_key: str, y_key: str) -> tuple[np.ndarray, np.ndarray]:
    for key in (x_key, y_key):
        if key not in found:
            raise ValueError(f"{file}: has no array {key!r}; x_test and y_test go together")
    x, y = found[x_key], found[y_key]
    if x.ndim < 2 or x.dtype.kind not in "uif" or x.itemsize > 8:
        raise ValueError(f"{file}: {x_key} is {x.dtype} {x.shape}, needs numbers [examples, ...]")
    if y.ndim != 1 or y.dtype.kind not in "ui":
        raise ValueError(f"{file}: {y_key} is {y.dtype} {y.shape}, needs whole numbers [examples]")
    if len(x) != len(y):
        raise ValueError(f"{file}: {x_key} has {len(x)} examples, {y_key} has {len(y)}")
    if x_key == "x" and len(x) < 2:
        raise ValueError(f"{file}: x has {len(x)} examples, at least 2 are needed")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise ValueError(f"{file}: {x_key} has NaN or infinite entries")
    if y.size and not (0 <= y.min() and y.max() < 2**20):
        wrong = y.min() if y.min() < 0 else y.max()
        raise ValueError(f"{file}: {y_key} has label {wrong}, labels count from 0 to the classes")
    if x.dtype != np.uint8:
        x = x.astype(np.float32)
    return x, y.astype(np.int32)


def _person(file: str, found: dict, examples: int) -> np.ndarray | None:
    person = found.get("person")
    if person is None:
        return None
    if person.shape != (examples,) or person.dtype.kind not in "ui":
        raise ValueError(f"{file}: person is {person.dtype} {person.shape}, needs [{examples}] ids")
    return person.astype(np.int64)


Scaling = tuple[np.ndarray | np.float32, np.ndarray | np.float32]


def _scaling(x: np.ndarray, standardise: bool) -> Scaling:
    if x.dtype == np.uint8:
        return np.float32(127.5), np.float32(127.5)
    if not standardise:
        return np.float32(0), np.float32(1)
    shift = x.mean(0, dtype=np.float64).astype(np.float32)
    scale = x.std(0, dtype=np.float64).astype(np.float32)
    return shift, np.where(scale > 0, scale, np.float32(1))
