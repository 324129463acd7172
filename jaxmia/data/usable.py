"""The one check and the one standardisation that the examples of every source go through."""

from dataclasses import replace

import numpy as np

from jaxmia.data.fields import examples, numbers, persons
from jaxmia.data.scaling import in_float32, is_image, scaling
from jaxmia.types import Data


def usable(data: Data, source: str = "") -> Data:
    """The same data in the types that training expects; a pool that is right already is unchanged.

    `x [N, ...]` and `x_test` may be any numbers or bools; they are stored so that the network sees
    `(x - shift) / scale` as it is in float64 (`scaling.in_float32`). `y [N]` may be whole floats,
    bools or `[N, 1]`, `person [N]` strings. Nothing is standardised here: `standardise` does that.

    Raises `ValueError` in one line with the source's name (`data.name` if empty), the field and the
    place: for NaN and what float32 does not hold, fewer than two examples or classes in the pool,
    an empty test part, examples without a number, lengths and shapes that differ, labels that are
    no classes of the data, and numbers of more than 100 classes and ten times those that have an
    example, which are ids rather than classes.
    """
    source = source or data.name
    x, y = examples(source, ("x", "y"), data.x, data.y, least=2)
    x_test, y_test = examples(source, ("x_test", "y_test"), data.x_test, data.y_test, least=1)
    if x_test.shape[1:] != x.shape[1:]:
        raise ValueError(f"{source}: x_test holds {x_test.shape[1:]}, x holds {x.shape[1:]}")
    if is_image(x) != is_image(x_test):
        raise ValueError(f"{source}: x is {x.dtype}, x_test {x_test.dtype}: images are both uint8")
    if data.shape and int(np.prod(data.shape)) != int(np.prod(x.shape[1:])):
        raise ValueError(f"{source}: shape={data.shape} is not that of examples {x.shape[1:]}")
    _refuse_classes(source, data, y, y_test)
    person = None if data.person is None else persons(source, "person", data.person, len(y))
    x, x_test, shift, scale = in_float32(source, x, x_test, data.shift, data.scale)
    return replace(
        data,
        x=x,
        y=y,
        x_test=x_test,
        y_test=y_test,
        classes=int(data.classes),
        shift=shift,
        scale=scale,
        person=person,
    )


def standardise(data: Data, source: str = "") -> Data:
    """The same data, usable, as a network sees it best: the shift and scale are worked out anew.

    8-bit images are seen from -1 to 1; any other feature has mean 0 and deviation 1 over the pool,
    in float64, and is 0 if it is constant there (`scaling.scaling`). For a source of your own:
    `return standardise(Data("mine", x, y, x_test, y_test, classes))`. Raises as `usable` does.
    """
    x = numbers(source or data.name, "x", data.x, least=2)
    shift, scale = scaling(x)
    return usable(replace(data, x=x, shift=shift, scale=scale), source)


def _refuse_classes(source: str, data: Data, y: np.ndarray, y_test: np.ndarray) -> None:
    for field, of in (("y", y), ("y_test", y_test)):
        if of.max() >= data.classes:
            at = int((of >= data.classes).argmax())
            raise ValueError(
                f"{source}: {field} has label {of[at]}, allowed are 0 to {data.classes - 1} "
                f"(example {at})"
            )
    present = np.unique(y)
    if len(present) < 2:
        raise ValueError(f"{source}: y has one class only, at least two are needed")
    complete = len(data.label_names) >= data.classes  # whoever names them all means them
    if data.classes > max(100, 10 * len(present)) and not complete:
        empty = np.setdiff1d(np.arange(data.classes), present)
        raise ValueError(
            f"{source}: y numbers {data.classes} classes, of which {len(present)} have an example "
            f"and {len(empty)} ({', '.join(map(str, empty[:3]))}, ...) have none: number those "
            "that there are, by np.unique(np.append(y, y_test), return_inverse=True)[1]"
        )
