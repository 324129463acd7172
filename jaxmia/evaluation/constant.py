"""Models whose phi is one and the same for every example: a file that was filled half way."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

MOST = 20  # models that a message names


class Span(NamedTuple):
    """Each model's least and greatest phi; NaN where nothing is known."""

    low: Float[np.ndarray, " M"]
    high: Float[np.ndarray, " M"]

    @property
    def constant(self) -> Bool[np.ndarray, " M"]:
        """Which models say one finite value of all examples."""
        return (self.low == self.high) & np.isfinite(self.low)


def span(phi: Float[np.ndarray, "M n Q"]) -> Span:
    """Of all examples and queries."""
    return Span(np.fmin.reduce(phi, axis=(1, 2)), np.fmax.reduce(phi, axis=(1, 2)))


def together(parts: Sequence[Span]) -> Span:
    """Of panels of examples, those of all of them."""
    low, high = (np.stack(p) for p in zip(*parts, strict=True))
    return Span(np.fmin.reduce(low), np.fmax.reduce(high))


def refuse(name: str, of: Span, beside: Span | None = None) -> None:
    """Raises `ValueError`, naming the models, for some that are constant.

    Not if all are of the same value, those `beside` them too: there is nothing to be found, and
    that is an answer.
    """
    if not of.constant.any():
        return
    values = [v for s in (of, beside) if s is not None for v in (s.low, s.high)]
    value = np.concatenate(values)
    if len(np.unique(value[~np.isnan(value)])) == 1:
        return
    models = np.flatnonzero(of.constant).tolist()
    more = f" and {len(models) - MOST} more" if len(models) > MOST else ""
    raise ValueError(
        f"{name}: models {models[:MOST]}{more} have one and the same value for every example: "
        "half-written?"
    )
