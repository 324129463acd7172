"""Other records behind a pool: models are trained on those, and asked about both."""

import hashlib
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Num

from jaxmia.data.scaling import is_image
from jaxmia.types import Data

FAR = 10.0  # deviations that a feature's mean is from 0, where it is surely not standardised
STANDARD = 1e-2  # how far mean and deviation of what is standardised may be from 0 and 1


class Beside(NamedTuple):
    """The pool with the records of an `other` source behind it.

    `first` counts the records before the others, or the persons where there are any; so many of the
    others are the `same` as one of the pool, and left out.
    """

    data: Data
    other: str
    first: int
    same: int


def beside(own: Data, other: Data) -> Beside:
    """The pool of `own` with that of `other` behind it, and the test part of `own`.

    Networks see the others as they see the pool, by its shift and scale. A record of the pool that
    is among the others, whatever its label, is left out there: models are not to be trained on what
    they are asked about. Where one of the two has persons, every record of the other one is a
    person of its own. Both are usable (`data.usable`). Raises `ValueError` for other records that
    are no examples of this kind, and where none is left.
    """
    _check(own, other)
    x = other.x.astype(np.result_type(own.x, other.x))
    fresh = ~_among(x, own.x.astype(x.dtype))
    if not fresh.any():
        raise ValueError(f"shadow_data: all records of {other.name} are in {own.name}, too")
    person, first = _persons(own, other, fresh)
    data = replace(
        own,
        name=f"{own.name} beside {other.name}",
        x=np.concatenate([own.x.astype(x.dtype), x[fresh]]),
        y=np.concatenate([own.y, other.y[fresh]]),
        x_test=own.x_test.astype(x.dtype),
        person=person,
    )
    return Beside(data, other.name, first, int((~fresh).sum()))


def _persons(
    own: Data, other: Data, fresh: Bool[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " N"] | None, int]:
    """The persons of both, those of the pool before the others, and how many come first."""
    if own.person is None and other.person is None:
        return None, len(own.y)
    mine, theirs = (
        np.arange(len(d.y)) if d.person is None else np.unique(d.person, return_inverse=True)[1]
        for d in (own, other)
    )
    first = int(mine.max()) + 1
    return np.concatenate([mine.reshape(-1), first + theirs.reshape(-1)[fresh]]), first


def _among(x: Num[np.ndarray, "n ..."], those: Num[np.ndarray, "N ..."]) -> Bool[np.ndarray, " n"]:
    """Which examples are among those."""

    def digests(rows: np.ndarray) -> list[bytes]:
        flat = np.ascontiguousarray(rows).reshape(len(rows), -1) + 0  # -0.0 is 0.0
        return [hashlib.sha256(row.tobytes()).digest() for row in flat]

    there = set(digests(those))
    return np.array([digest in there for digest in digests(x)])


def _check(own: Data, other: Data) -> None:
    if other.x.shape[1:] != own.x.shape[1:]:
        raise ValueError(
            f"shadow_data: {other.name} holds examples {other.x.shape[1:]}, "
            f"{own.name} holds {own.x.shape[1:]}"
        )
    if is_image(other.x) != is_image(own.x):
        raise ValueError(
            f"shadow_data: {other.name} is {other.x.dtype}, {own.name} {own.x.dtype}: "
            "images are uint8"
        )
    if other.y.max() >= own.classes:
        raise ValueError(
            f"shadow_data: {other.name} has label {int(other.y.max())}, allowed are 0 to "
            f"{own.classes - 1}"
        )
    if not _as_standardised(own):
        return
    mean, deviation = (f(other.x, 0, dtype=np.float64).reshape(-1) for f in (np.mean, np.std))
    far = (np.abs(mean) > FAR * deviation) & (deviation > 0)
    if far.any():
        at = int(far.argmax())
        raise ValueError(
            f"shadow_data: {other.name} has feature {at} around {mean[at]:.6g}, where "
            f"{own.name} is stored standardised: give both in the same units, as float32"
        )


def _as_standardised(data: Data) -> bool:
    """Whether a pool is stored as networks see it, each feature with mean 0 and deviation 1.

    `scaling.in_float32` stores it so where float32 would lose digits of it.
    """
    if np.any(data.shift) or np.any(np.asarray(data.scale) != 1) or data.x.dtype.kind != "f":
        return False
    mean, deviation = (f(data.x, 0, dtype=np.float64) for f in (np.mean, np.std))
    constant = deviation == 0
    return bool(
        (np.abs(mean) < STANDARD).all() and (constant | (np.abs(deviation - 1) < STANDARD)).all()
    )
