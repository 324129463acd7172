"""What every source needs: setting a fixed fifth aside, cutting the test part, and a digest."""

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxmia.types import Data


class HeldOut(NamedTuple):
    """Disjoint examples of the test part, by number."""

    accuracy: Int[np.ndarray, " _"]  # test accuracy is measured here
    population: Int[np.ndarray, " Z"]  # points in nobody's training set, for attacks that want them
    validation: Int[np.ndarray, " _"]  # for defences that look at data outside the pool


def held_out(data: Data) -> HeldOut:
    """Two fifths of the test part for accuracy, two for the population, the rest for validation."""
    order = fixed_order(len(data.y_test))
    share = -(-2 * len(order) // 5)
    parts = np.split(order, [min(share, len(order)), min(2 * share, len(order))])
    return HeldOut(*(np.sort(part) for part in parts))


def fixed_order(examples: int) -> Int[np.ndarray, " n"]:
    """A random order that is the same for everybody, whatever the seed of a run."""
    return np.argsort(np.random.Philox(np.random.SeedSequence([0x6A61786D])).random_raw(examples))


def fifth_aside(examples: int) -> tuple[Int[np.ndarray, " pool"], Int[np.ndarray, " test"]]:
    """The pool and the test part of a set that has no test split: four fifths and a fixed fifth."""
    order = fixed_order(examples)
    test = examples // 5
    return np.sort(order[test:]), np.sort(order[:test])


def features(data: Data) -> Float[np.ndarray, "N F"]:
    """The pool's examples as a network sees them, flat: what they are compared by."""
    x = (data.x.astype(np.float32) - data.shift) / data.scale
    return x.reshape(len(x), -1)


def digest(data: Data) -> str:
    """The identity of the pool and the test part: sha256 over what models and attacks see."""
    total = hashlib.sha256()
    parts = (data.x, data.y, data.x_test, data.y_test, data.shift, data.scale, data.person)
    for part in parts:
        array = np.ascontiguousarray(part) if part is not None else np.empty(0)
        total.update(f"{array.dtype} {array.shape}\n".encode())
        total.update(memoryview(array.reshape(-1)).cast("B") if array.size else b"")
    return total.hexdigest()
