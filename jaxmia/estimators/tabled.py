"""Records, what is to be predicted of them, whose they are: checked, as a `Table`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxmia.data import fields
from jaxmia.estimators.table import Table

MOST = 100  # classes, above which each needs ten records on average


def tabled(
    x: Any,
    y: Any,
    person: Any,
    groups: Mapping[str, Any],
    regression: bool,
    name: str,
    source: str = "X, y",
) -> Table:
    """Raises `ValueError`, naming the source, for lengths that differ and labels that are none."""
    x = x.tocsr() if hasattr(x, "tocsr") else x if hasattr(x, "shape") else np.asarray(x)
    if len(x.shape) < 2 or x.shape[0] < 4:
        raise ValueError(f"{source}: x has shape {tuple(x.shape)}, needs 4 or more rows of numbers")
    many = int(x.shape[0])
    y = _column(source, "y", y, many, deep=regression)
    values = None
    if regression:
        y = _numbers(source, y)
    else:
        values, y = _classes(source, y)
    of_people = None
    if person is not None:
        column = _column(source, "the person", person, many)
        if absent := sum(v is None or v != v for v in column.tolist()):
            raise ValueError(f"{source}: the person is missing in {absent} of {many} records")
        of_people = (
            np.unique(fields.text(column), return_inverse=True)[1].reshape(-1).astype(np.int64)
        )
        if of_people.max() < 3:
            raise ValueError(f"{source}: has {of_people.max() + 1} persons, 4 are needed")
    by = {str(k)[: fields.NAMES]: fields.group(source, str(k), v, many) for k, v in groups.items()}
    return Table(name, x, y, values, of_people, by)


def _column(source: str, field: str, values: Any, many: int, deep: bool = False) -> np.ndarray:
    array = np.asarray(values)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if len(array.shape) not in ((1, 2) if deep else (1,)) or len(array) != many:
        raise ValueError(f"{source}: {field} has shape {array.shape}, x has {many} rows")
    return array


def _numbers(source: str, y: np.ndarray) -> np.ndarray:
    try:
        y = y.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: y is no column of numbers ({error!s:.200})") from error
    if not np.isfinite(y).all():
        raise ValueError(f"{source}: y has NaN or infinite entries")
    if (y == y[0]).all():
        raise ValueError(f"{source}: y is the same number everywhere")
    return y


def _classes(source: str, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes, sorted, and their numbers as int32."""
    if y.dtype.kind == "f" and not (y == np.floor(y)).all():
        raise ValueError(f"{source}: y has fractions or NaN, a classifier needs classes")
    if y.dtype == object and any(v is None or v != v for v in y.tolist()):
        raise ValueError(f"{source}: y has missing entries")
    try:
        values, index = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"{source}: y mixes kinds of values ({error!s:.200})") from error
    if len(values) < 2:
        raise ValueError(f"{source}: y has one class only, at least two are needed")
    if len(values) > max(MOST, len(y) // 10):
        raise ValueError(f"{source}: y has {len(values)} classes: numbers need a regressor")
    return values, index.reshape(-1).astype(np.int32)
