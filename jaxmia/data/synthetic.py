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


@factory
def people(
    persons: int = 250,
    most: int = 7,
    own: float = 1.0,
    within: float = 0.3,
    habit: float = 0.3,
    features: int = 32,
    classes: int = 10,
    distance: float = 4.0,
    test: int = 250,
    known: bool = True,
    seed: int = 0,
) -> Callable[[], Data]:
    """Records of persons, 1 to `most` of each, as likely: what is personal recurs in all of them.

    A record is its class's mean, plus `own` times its person's offset and `within` times noise of
    its own, both unit Gaussians. With the chance `habit` its label is its person's own one,
    whatever the class. `known` says whether the data tell whose a record is; persons of the test
    part have no record in the pool. Raises `ValueError` for what does not fit.
    """
    if (
        min(persons, most, features, test) < 1
        or classes < 2
        or not 0 <= habit <= 1
        or own < 0
        or within < 0
    ):
        raise ValueError(
            f"people: persons={persons}, most={most}, features={features}, test={test} must be 1 "
            f"or more, classes={classes} 2 or more, habit={habit} from 0 to 1, own={own} and "
            f"within={within} 0 or more"
        )

    def make() -> Data:
        rng = np.random.default_rng(seed)
        means = rng.normal(size=(classes, features)) * distance / np.sqrt(2 * features)
        count = rng.integers(1, most + 1, size=persons)
        person = np.concatenate([np.repeat(np.arange(persons), count), persons + np.arange(test)])
        offset = own * rng.normal(size=(persons + test, features))
        custom = rng.integers(classes, size=persons + test)
        component = rng.integers(classes, size=len(person))
        x = means[component] + offset[person] + within * rng.normal(size=(len(person), features))
        y = np.where(rng.random(len(person)) < habit, custom[person], component).astype(np.int32)
        x, pool = x.astype(np.float32), len(person) - test
        name = "people" if known else "people, not known"
        owner = person[:pool].astype(np.int64) if known else None
        return Data(name, x[:pool], y[:pool], x[pool:], y[pool:], classes, person=owner)

    return make
