"""One model: fitted on its members, asked about every record. It runs in a process of its own.

Nothing here imports jax: a worker process starts in a moment.
"""

import contextlib
import random
import time
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxmia.estimators.procedure import seeded
from jaxmia.estimators.structure import structure
from jaxmia.estimators.table import rows


class Answers(NamedTuple):
    """What a model says of all records, and what is noted of its fit.

    `kind` is "probabilities" or "scores" `[N, C]`, or "errors" `[N]`, squared, of a regression.
    """

    kind: str
    values: np.ndarray
    structure: dict[str, Any]
    warnings: list[str]
    seconds: float


class Task(NamedTuple):
    """A model to be fitted: its number, the seed of the whole, and who its members are."""

    model: int
    seed: int
    member: np.ndarray


def fit(estimator: Any, x: Any, target: np.ndarray, classes: Any, task: Task) -> Answers:
    """Fits a clone on the members' rows and asks it about all; `classes` are None in a regression.

    Raises `ValueError`, naming the model, for whatever its fit or its answers raise.
    """
    start = time.time()
    inside = np.flatnonzero(task.member)
    with _noted() as lines, _global_seed(task.seed, task.model):
        try:
            model = seeded(estimator, task.seed, task.model)
            model.fit(rows(x, inside), target[inside])
            kind, values = answers(model, x, target, classes)
            of = structure(model, rows(x, inside), target[inside])
        except Exception as error:  # of anybody's estimator: whatever it raises
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(
                f"estimator: model {task.model} could not be fitted on its {len(inside)} records, "
                f"or asked ({what[:500]})"
            ) from error
    return Answers(kind, values, of, lines, time.time() - start)


def answers(model: Any, x: Any, target: np.ndarray, classes: Any) -> tuple[str, np.ndarray]:
    """What a fitted model says of all records: probabilities, else scores, else squared errors.

    A class that it was not fitted on has the probability 0, and the score -inf.
    """
    if classes is None:
        errors = np.asarray(target, np.float64) - np.asarray(model.predict(x), np.float64)
        return "errors", (errors.reshape(len(target), -1) ** 2).sum(1)
    for kind, ask in (("probabilities", "predict_proba"), ("scores", "decision_function")):
        if hasattr(model, ask):
            values = np.asarray(getattr(model, ask)(x), np.float64)
            return kind, _of_all_classes(kind, values, np.asarray(model.classes_), classes)
    raise ValueError("it has neither predict_proba nor decision_function")


def _of_all_classes(kind: str, values: np.ndarray, own: np.ndarray, classes: Any) -> np.ndarray:
    """Columns for all classes, of a model that may know fewer."""
    if values.ndim == 1:  # one score, of the second class
        values = np.stack([np.zeros_like(values), values], axis=1)
    if values.shape[1] != len(own):
        raise ValueError(f"it has {len(own)} classes and answers with {values.shape[1]} numbers")
    out = np.full((len(values), len(classes)), 0.0 if kind == "probabilities" else -np.inf)
    out[:, np.searchsorted(classes, own)] = values
    return out


@contextlib.contextmanager
def _global_seed(seed: int, model: int) -> Iterator[None]:
    """NumPy's and Python's global generators seeded, for estimators that draw from them."""
    number = int(np.random.SeedSequence([seed, model, 1]).generate_state(1)[0])
    before = np.random.get_state(), random.getstate()  # noqa: NPY002
    np.random.seed(number)  # noqa: NPY002
    random.seed(number)
    try:
        yield
    finally:
        np.random.set_state(before[0])  # noqa: NPY002
        random.setstate(before[1])


@contextlib.contextmanager
def _noted() -> Iterator[list[str]]:
    """The warnings of a fit as lines, instead of on the terminal once for every model."""
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lines
    for one in caught:
        if not issubclass(one.category, DeprecationWarning | FutureWarning | ResourceWarning):
            lines.append(" ".join(f"{one.category.__name__}: {one.message}".split())[:300])
