"""A user's own `.npz`: `x`, `y`, optionally `x_test`, `y_test`, `person`, `label_names`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxmia.data.fields import examples, objects, persons
from jaxmia.data.pool import fifth_aside
from jaxmia.data.scaling import is_image
from jaxmia.data.usable import standardise as standardised
from jaxmia.data.usable import usable
from jaxmia.types import Data
from jaxmia.values import factory


@factory
def arrays(
    file: str, name: str = "", classes: int = 0, standardise: bool = True
) -> Callable[[], Data]:
    """Examples from an `.npz`; without `x_test` and `y_test` a fixed fifth is set aside.

    `x [N, ...]` are numbers or bools. uint8 of the shape [N, H, W] or [N, H, W, C] are images, seen
    as x / 127.5 - 1; any other number is standardised per feature by the pool's mean and deviation
    (`standardise` off: it is seen as it is). `y [N]` are whole numbers from 0, `person [N]` whole
    numbers or strings. `classes` is the largest label plus one if 0.

    Raises `ValueError` or `FileNotFoundError`, naming file, field and place, for what cannot be
    used, as `usable` lists it.
    """

    def load() -> Data:
        fields = _read(Path(file))
        x, y = examples(file, ("x", "y"), fields["x"], fields["y"], least=2)
        person = persons(file, "person", fields["person"], len(y)) if "person" in fields else None
        if "x_test" in fields:
            at = ("x_test", "y_test")
            x_test, y_test = examples(file, at, fields["x_test"], fields["y_test"], least=1)
        elif len(y) < 5:
            raise ValueError(
                f"{file}: x has {len(y)} examples, at least 5 are needed to set a fifth aside; "
                "or give x_test and y_test"
            )
        else:
            pool, test = fifth_aside(len(y))
            x, y, x_test, y_test = x[pool], y[pool], x[test], y[test]
            person = person[pool] if person is not None else None
        most = classes or max(int(y.max()), int(y_test.max())) + 1
        names = tuple(str(n)[:80] for n in fields.get("label_names", np.empty(0)).reshape(-1))
        called = name or Path(file).stem
        data = Data(called, x, y, x_test, y_test, most, label_names=names, person=person)
        return standardised(data, file) if standardise or is_image(x) else usable(data, file)

    return load


FIELDS = ("x", "y", "x_test", "y_test", "person", "label_names")


def _read(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: is no file; an .npz with x and y is needed")
    try:
        with open(file, "rb") as stream:
            start = stream.read(6)
        if start[:2] != b"PK":  # NumPy would take it for a pickle
            single = start == b"\x93NUMPY"
            raise ValueError(
                ("it is a single array" if single else f"it begins with {start!r}, it is none")
                + ": np.savez(FILE, x=x, y=y) writes one"
            )
        with np.load(file, allow_pickle=False) as loaded:
            fields = {key: _array(loaded, key) for key in FIELDS if key in loaded.files}
    except Exception as error:  # a damaged header raises whatever its parser does
        raise ValueError(f"{file}: cannot be read as an .npz of plain arrays ({error})") from error
    for key in ("x", "y"):
        if key not in fields:
            raise ValueError(f"{file}: has no array {key!r}; x and y are needed")
    if ("x_test" in fields) != ("y_test" in fields):
        key = "y_test" if "x_test" in fields else "x_test"
        raise ValueError(f"{file}: has no array {key!r}; x_test and y_test go together")
    return fields


def _array(loaded: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        return loaded[key]
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        raise ValueError(objects(key)) from error
