"""The fields of a source: each as the rest expects it, or refused with the place that is wrong."""

import numpy as np
from jaxtyping import Int, Num

from jaxmia.data.scaling import LARGEST, chunks, place
from jaxmia.types import Array

GROUPS = 50  # values of a column by which exposure is told apart
NAMES = 80  # characters of a group's name
CLASSES = 2**20  # more than that are numbers of something else
TYPES = {"x": "float", "x_test": "float", "y": "int", "y_test": "int"}  # the rest are strings


def examples(
    source: str, fields: tuple[str, str], x: Array, y: Array, least: int
) -> tuple[Num[np.ndarray, "N ..."], Int[np.ndarray, " N"]]:
    """Examples and their labels, as `numbers` and `labels`, `least` or more and as many of both.

    `fields` are the names of the two in messages, `source` that of the file or set.
    """
    x, y = numbers(source, fields[0], x, least), labels(source, fields[1], y)
    if len(x) != len(y):
        raise ValueError(f"{source}: {fields[0]} has {len(x)} examples, {fields[1]} has {len(y)}")
    return x, y


def numbers(source: str, field: str, x: Array, least: int = 1) -> Num[np.ndarray, "N ..."]:
    """Examples `[N, ...]` of whole or floating numbers of up to 64 bits; bools become 0 and 1.

    Raises `ValueError` for fewer than `least` examples, for other kinds of array, for examples
    without a number, and, with its place, for what is NaN or infinite once it is float32.
    """
    x = np.asarray(x)
    needs = f"{source}: {field} is {x.dtype} {x.shape}, needs numbers [examples, ...]"
    if x.dtype.kind == "O":
        raise ValueError(f"{source}: {objects(field)}")
    if x.ndim and len(x) < least:
        raise ValueError(f"{source}: {field} has {len(x)} examples, at least {least} are needed")
    if x.dtype.kind not in "buif" or x.itemsize > 8:
        raise ValueError(needs)
    if x.ndim < 2:
        raise ValueError(needs + (f" (one feature: {field}[:, None])" if x.ndim else ""))
    if not x.size and len(x):
        raise ValueError(f"{needs}: these hold none")
    if x.dtype.kind == "f":
        _refuse_infinite(source, field, x)
    return x.astype(np.uint8) if x.dtype == bool else x


def _refuse_infinite(source: str, field: str, x: np.ndarray) -> None:
    before = 0
    for part in chunks(x):
        wrong = ~(np.abs(part) <= LARGEST)
        if wrong.any():
            first = int(wrong.reshape(len(part), -1).any(1).argmax())
            at = place(wrong[first])
            raise ValueError(
                f"{source}: {field} has NaN or infinite entries: {part[first][wrong[first]][0]} in "
                f"example {before + first}, feature {at}; float32 holds numbers up to 3.4e38"
            )
        before += len(part)


def labels(source: str, field: str, y: Array) -> Int[np.ndarray, " N"]:
    """Labels as int32 `[N]`, counted from 0: whole numbers of any type, bools, also as `[N, 1]`.

    Raises `ValueError`, with the first place, for what is not whole, negative or above a million.
    """
    y = _column(source, field, y)
    if y.ndim != 1 or y.dtype.kind not in "buif":
        remedy = ""
        if y.dtype.kind in "US":
            remedy = f" (names: np.unique({field}, return_inverse=True)[1])"
        elif y.ndim == 2:
            remedy = f" (one column for each class: {field}.argmax(1))"
        raise ValueError(
            f"{source}: {field} is {y.dtype} {y.shape}, needs whole numbers [examples]{remedy}"
        )
    y = _whole(source, field, y)
    wrong = (y < 0) | (y >= CLASSES)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(
            f"{source}: {field} has label {int(y[at])} in example {at}, labels count from 0 to the "
            f"classes, {CLASSES - 1} at most"
        )
    return y.astype(np.int32)


def persons(source: str, field: str, person: Array, count: int) -> Int[np.ndarray, " N"]:
    """Whose each of `count` records is, as int64 `[N]`, also from `[N, 1]`.

    Whole numbers of any type stay as they are; strings are numbered from 0 in their sorted order.
    Raises `ValueError` for anything else.
    """
    person = _column(source, field, person)
    if person.shape != (count,) or person.dtype.kind not in "buifUS":
        raise ValueError(
            f"{source}: {field} is {person.dtype} {person.shape}, needs [{count}] ids, whole "
            "numbers or strings"
        )
    if person.dtype.kind in "US":
        return np.unique(person, return_inverse=True)[1].astype(np.int64)
    return _whole(source, field, person).astype(np.int64)


def group(source: str, field: str, values: Array, count: int) -> np.ndarray:
    """The group of each of `count` records as text `[N]`, by which exposure is told apart.

    Whole floats are whole numbers; what is not there is the group "missing". Raises `ValueError`
    for another length, and for more than `GROUPS` values.
    """
    column = np.asarray(values)
    column = column[:, 0] if column.ndim == 2 and column.shape[1] == 1 else column
    if column.shape != (count,):
        raise ValueError(f"{source}: {field} has shape {column.shape}, there are {count} records")
    names = np.array([v[:NAMES] for v in text(column).tolist()])
    if (different := len(np.unique(names))) > GROUPS:
        raise ValueError(
            f"{source}: the group {field!r} has {different} values, {GROUPS} at most: numbers are "
            "to be cut into ranges first"
        )
    return names


def text(column: np.ndarray) -> np.ndarray:
    """Values as text, whole floats as whole numbers: a column with gaps is one of floats."""
    if column.dtype.kind == "f" and (np.isnan(column) | (column == np.floor(column))).all():
        return np.array(["missing" if v != v else str(int(v)) for v in column.tolist()])
    return np.array(["missing" if v is None or v != v else str(v) for v in column.tolist()])


def objects(field: str) -> str:
    """What to do about a field that is an object array, as pandas makes of a mixed table."""
    kind = TYPES.get(field, "str")
    return f"{field} is an array of Python objects: save it as {field}={field}.astype({kind})"


def _column(source: str, field: str, values: Array) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype.kind == "O":
        raise ValueError(f"{source}: {objects(field)}")
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _whole(source: str, field: str, values: np.ndarray) -> np.ndarray:
    """Floats as whole numbers, unless they are none, or so large that not every one has a float."""
    if values.dtype.kind != "f":
        return values
    values = values.astype(np.float64)
    wrong = ~((np.abs(values) < 2.0**53) & (values == np.floor(values)))
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(
            f"{source}: {field} has {values[at]} in example {at}, needs whole numbers [examples]"
        )
    return values.astype(np.int64)
