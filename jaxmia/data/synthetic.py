"""Gaussian classes: data whose difficulty is known."""

from collections.abc import Callable

import numpy as np

from jaxmia.types import Data
from jaxmia.values import factory


@factory
def synthetic(
    examples: int = 1000,
    features: int = 32,
    classes: int = 10,
    distance: float = 3.0,
    test: int = 250,
    shape: tuple[int, ...] = (),
    seed: int = 0,
) -> Callable[[], Data]:
    """Unit Gaussians about class means that lie about `distance` apart, float32 `[features]`.

    `shape` gives the examples another shape of as many numbers, such as an image's (4, 4, 2).
    Raises `ValueError` for sizes below 1 or a shape of another size.
    """
    if min(examples, features, classes, test) < 1:
        raise ValueError(
            f"synthetic: examples={examples}, features={features}, classes={classes}, test={test} "
            "must be 1 or more"
        )
    if shape and int(np.prod(shape)) != features:
        raise ValueError(f"synthetic: shape={shape} does not hold features={features} numbers")

    def make() -> Data:
        rng = np.random.default_rng(seed)
        means = rng.normal(size=(classes, features)) * distance / np.sqrt(2 * features)
        y = rng.integers(classes, size=examples + test).astype(np.int32)
        x = (means[y] + rng.normal(size=(len(y), features))).astype(np.float32)
        x = x.reshape(-1, *(shape or (features,)))
        pool, rest = (x[:examples], y[:examples]), (x[examples:], y[examples:])
        return Data("synthetic", *pool, *rest, classes, public=True)

    return make
