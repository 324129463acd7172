"""How a network sees numbers: images as [-1, 1], anything else standardised, in float64.

What is stored stays as it is where float32 loses nothing by it; where it would (seconds since 1970
differ by one part in a thousand million), the standardised numbers are stored instead.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Num

Scaling: TypeAlias = np.ndarray | np.float32  # one number, or what broadcasts to an example

LARGEST = np.float64(np.finfo(np.float32).max)  # beyond it lies float32's infinity
NOTICED = 1e-6  # of a deviation: by less may a stored example differ from the exact one
APART = 1e-3  # of a feature's range: coarser steps are no longer that feature


def is_image(x: Num[np.ndarray, "N ..."]) -> bool:
    """Whether examples are 8-bit images: uint8 of the shape [H, W, C], or [H, W] as MNIST's."""
    return x.dtype == np.uint8 and x.ndim in (3, 4)


def scaling(x: Num[np.ndarray, "N ..."]) -> tuple[Scaling, Scaling]:
    """The shift and the scale by which a network sees `(x - shift) / scale`.

    Of 8-bit images [H, W] or [H, W, C] both are 127.5; where no pixel is above 127 half of the
    largest, since digits of 16 grey levels or masks of 0 and 1 would otherwise all be black. Of
    anything else they are each feature's mean and deviation over the pool, in float64; a feature
    that is constant there gets a scale of 1, so that it is seen as 0.
    """
    if not is_image(x):
        return _moments(x)
    largest = int(x.max())
    half = np.float32(largest / 2 if 0 < largest < 128 else 127.5)
    return half, half


def _moments(x: Num[np.ndarray, "N ..."]) -> tuple[np.ndarray, np.ndarray]:
    # as a part of its range, a feature of any size has a square
    low, varies = x.min(0).astype(np.float64), x.max(0) > x.min(0)
    unit = x.max(0).astype(np.float64) - low
    unit = np.where(unit > 0, unit, 1)
    mean = sum(((part - low) / unit).sum(0) for part in chunks(x)) / len(x)
    square = sum(np.square((part - low) / unit - mean).sum(0) for part in chunks(x)) / len(x)
    deviation = unit * np.sqrt(square)
    return low + unit * mean, np.where(varies & (deviation > 0), deviation, 1)


def in_float32(
    source: str,
    x: Num[np.ndarray, "N ..."],
    x_test: Num[np.ndarray, "n ..."],
    shift: Scaling,
    scale: Scaling,
) -> tuple[np.ndarray, np.ndarray, Scaling, Scaling]:
    """Examples, shift and scale such that `(x - shift) / scale` in float32 is what it is exactly.

    They stay as they are where that holds, in 16 bits or less or float32 (others are cast to it).
    Else `(x - shift) / scale` is worked out in float64, stored as float32, and shift 0 and scale 1
    go with it. Raises `ValueError` for a shift or scale that does not fit, for what is infinite
    then, and for a feature whose values float32 cannot tell apart.
    """
    around, by = _fitting(source, x, shift, scale)
    ends = np.stack([f(a, 0).astype(np.float64) for a in (x, x_test) for f in (np.min, np.max)])
    with np.errstate(over="ignore"):
        size = np.abs((ends - around) / by).max(0)
    if not (size <= LARGEST).all():
        at = place(size > LARGEST)
        raise ValueError(f"{source}: (x - shift) / scale is infinite in float32 at feature {at}")
    exact = x.dtype == x_test.dtype and (x.dtype.itemsize <= 2 or x.dtype == np.float32)
    if not exact:
        _refuse_lost(source, x, np.abs((ends[:2] - around) / by).max(0), by)
    if _harmless(ends, around, by, exact):
        pair = (x, x_test) if exact else (x.astype(np.float32), x_test.astype(np.float32))
        return *pair, np.float32(shift), np.float32(scale)
    return *(_scaled(a, around, by) for a in (x, x_test)), np.float32(0), np.float32(1)


def _harmless(ends: np.ndarray, around: np.ndarray, by: np.ndarray, exact: bool) -> bool:
    """Whether rounding to float32 moves nothing, seen from a deviation, by what is noticed."""
    small = np.abs(by) < 1e-30  # vanishes where subnormal numbers do
    if small.any() or max(np.abs(a).max() for a in (ends, around, by)) > 1e38:
        return False
    moved = np.abs(np.float32(around) - around) + (0 if exact else 2.0**-24 * np.abs(around))
    return bool((moved <= NOTICED * np.abs(by)).all())


def _fitting(
    source: str, x: np.ndarray, shift: Scaling, scale: Scaling
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    for name, value in (("shift", np.asarray(shift)), ("scale", np.asarray(scale))):
        try:
            fits = np.broadcast_shapes(value.shape, x.shape[1:]) == x.shape[1:]
        except ValueError:
            fits = False
        if not fits or value.dtype.kind not in "uif":
            raise ValueError(
                f"{source}: {name} is {value.dtype} {value.shape}, needs one number, or what "
                f"broadcasts to an example {x.shape[1:]}"
            )
        if not np.isfinite(value).all() or (name == "scale" and not value.all()):
            rest = " and not 0" if name == "scale" else ""
            raise ValueError(f"{source}: {name} must be finite{rest} in every feature")
    around, by = (np.asarray(a, np.float64) for a in (shift, scale))
    return np.broadcast_to(around, x.shape[1:]), np.broadcast_to(by, x.shape[1:])


def _refuse_lost(source: str, x: np.ndarray, size: np.ndarray, by: np.ndarray) -> None:
    """Steps of float32 in what is seen, and of float64 in long integers, against the range."""
    low, high = x.min(0), x.max(0)
    span = high.astype(np.float64) - low.astype(np.float64)
    step = np.spacing(size.astype(np.float32)).astype(np.float64) * np.abs(by)
    if x.dtype.kind in "ui":
        most = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
        step = np.maximum(step, np.where(most > 2.0**53, np.spacing(most), 0))
    too_close = (high > low) & (step > APART * span)
    if too_close.any():
        at = place(too_close)
        a, b = (np.asarray(end)[too_close].flat[0] for end in (low, high))
        raise ValueError(
            f"{source}: feature {at} of x runs from {a} to {b}, too close together for its size: "
            "subtract its least value first, or standardise (jaxmia.data.standardise)"
        )


def _scaled(x: np.ndarray, around: np.ndarray, by: np.ndarray) -> Float[np.ndarray, "N ..."]:
    return np.concatenate([((part - around) / by).astype(np.float32) for part in chunks(x)])


def chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    """Slices of the examples of about 32 MiB in float64, so that no second copy is ever whole."""
    size = max(1, 2**22 // max(1, int(np.prod(x.shape[1:]))))
    return (x[i : i + size] for i in range(0, len(x), size))


def place(wrong: np.ndarray) -> str:
    """The first place of an example's array that is True, as "3" or "(3, 0, 1)"."""
    at = [int(i) for i in np.argwhere(wrong)[0]]
    return str(at[0]) if len(at) == 1 else str(tuple(at))
