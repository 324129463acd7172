"""Infinite signals are answers: a probability of exactly 0 or 1, the strongest there is.

A forest or a 1-NN says them of many examples. They are taken as finite values beyond all others, so
that order stays order and ties stay ties; NaN alone means "not known". Not far beyond: a forest of
100 trees that is sure differs from one with a single other vote by little, and a Gaussian of both
must not take that step for its whole width. What float32 does not reach is infinite, too: no logit
is so large, and its square overflows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxmia.attacks.references import LeaveOut
from jaxmia.types import Array, Attack, Signals

SURE = float(np.log(19))  # the logit of 0.95: at least as sure as this
CERTAIN = float(np.log(999_999))  # that of 1 - 1e-6, where nothing else is said
LARGEST = float(np.finfo(np.float32).max)
MARGIN = 0.05  # of the range of what is finite, or of its size, beyond its ends
TOGETHER = (("phi", "population"), ("trajectory",), ("gradient",))  # what has one pair of bounds


class Bounds(NamedTuple):
    """What -inf and +inf are taken as."""

    low: float
    high: float


class Extremes(NamedTuple):
    """The ends of what is finite, and how many are infinite: of one array, or of many together."""

    low: float = np.inf
    high: float = -np.inf
    infinite: int = 0

    def __add__(self, other: "Extremes") -> "Extremes":  # type: ignore[override]
        return Extremes(
            min(self.low, other.low), max(self.high, other.high), self.infinite + other.infinite
        )

    @property
    def bounds(self) -> Bounds | None:
        """Beyond the data by a twentieth of its range or size, and a probability of 0.95 or more.

        Within 1e-6 of 0 and 1 where no answer is finite. None where nothing is infinite.
        """
        if not self.infinite:
            return None
        if self.low > self.high:
            return Bounds(-CERTAIN, CERTAIN)
        beyond = MARGIN * max(self.high - self.low, abs(self.low), abs(self.high))
        return Bounds(min(self.low - beyond, -SURE), max(self.high + beyond, SURE))


def extremes(arrays: Iterable[Array]) -> Extremes:
    """Those of all the arrays; NaN count as nothing."""
    ends = Extremes()
    for array in map(np.asarray, arrays):
        if not array.size or array.dtype.kind not in "fiu":
            continue
        low, high = float(array.min()), float(array.max())
        if np.isnan([low, high]).any():
            low, high = (float(f(array, axis=None)) for f in (np.fmin.reduce, np.fmax.reduce))
        count = 0
        if max(-low, high) > LARGEST:
            count, rest = int(is_infinite(array).sum()), array[is_finite(array)]
            low, high = (float(rest.min()), float(rest.max())) if rest.size else (np.inf, -np.inf)
        ends += Extremes(*(low, high) if low <= high else (np.inf, -np.inf), count)
    return ends


def of_phi(several: Iterable[Signals]) -> Extremes:
    """Those of phi of targets and references, and of their populations."""
    return extremes(a for s in several for a in (s.phi, s.population) if a is not None)


def within(array: Array, bounds: Bounds | None) -> np.ndarray:
    """The array with its infinite values taken as the bounds, as far as float32 and its type go."""
    array = np.asarray(array)
    if bounds is None or array.dtype.kind != "f":
        return array
    most = _largest(array)
    low, high = max(bounds.low, -most), min(bounds.high, most)
    return np.clip(array, array.dtype.type(low), array.dtype.type(high))


def is_finite(array: Array) -> np.ndarray:
    """Where float32 reaches; not where an array is NaN."""
    return np.abs(array) <= _largest(array)


def is_infinite(array: Array) -> np.ndarray:
    """Where float32 does not reach; not where an array is NaN."""
    return np.abs(array) > _largest(array)


def _largest(array: Array) -> float:
    """Of float32 and the array's own type, which may be narrower."""
    return min(LARGEST, float(np.finfo(array.dtype).max)) if array.dtype.kind == "f" else LARGEST


def as_infinite(array: Array) -> np.ndarray:
    """The array with what float32 does not reach as infinite, for whoever looks at it as it is."""
    array = np.asarray(array)
    beyond = is_infinite(array)
    return np.where(beyond, np.copysign(np.inf, array), array) if beyond.any() else array


def finite(*arrays: Array) -> tuple[np.ndarray, ...]:
    """The arrays without infinite values, by the bounds of all together; NaN stay."""
    bounds = extremes(arrays).bounds
    return tuple(within(a, bounds) for a in arrays)


def finite_signals(several: Sequence[Signals], needs: Iterable[str] | None = None) -> list[Signals]:
    """The signals of targets and references the same way, each kind by its own bounds.

    Only phi, the population and those of `needs`, if these are named.
    """
    out = list(several)
    kinds = None if needs is None else {*needs, "phi", "population"}
    for names in TOGETHER:
        names = [n for n in names if kinds is None or n in kinds]
        arrays = [a for s in out for n in names if (a := getattr(s, n)) is not None]
        if (bounds := extremes(arrays).bounds) is None:
            continue
        for i, one in enumerate(out):
            there = {n: a for n in names if (a := getattr(one, n)) is not None}
            out[i] = replace(one, **{n: within(a, bounds) for n, a in there.items()})
    return out


def as_answers(attack: Attack) -> Attack:
    """The attack, taking what is infinite as the strongest answer."""

    def on_target(target: Signals, reference: Signals, member: Bool[Array, "R N"]):
        target, reference = finite_signals((target, reference), attack.needs)
        return attack.score(target, reference, member)

    def on_all(signals: Signals, member: Bool[Array, "M N"], leave_out: LeaveOut):
        return attack.leave_one_out(*finite_signals((signals,), attack.needs), member, leave_out)

    return attack._replace(score=on_target, leave_one_out=on_all)
