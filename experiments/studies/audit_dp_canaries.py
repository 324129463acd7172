"""Pools of digits with canaries, and the networks that an audit of DP-SGD looks at.

Half of the digits trains the parameters that all models start from, without privacy: their own
records have gradients near zero then, and the canary's is the only one that matters. Of the other
half some are the records beside the canary, the rest is for test accuracy.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from experiments.studies.audit_dp_trials import trials
from jaxmia import recipes
from jaxmia.models import cnn, mlp
from jaxmia.training import start, trainer
from jaxmia.types import Data, Model
from jaxmia.values import factory

SPLIT_SEED = 3
# a network, whether it takes images, and the epochs that its start is trained
NETWORKS: dict[str, tuple[Callable[[Data], Model], bool, int]] = {
    "softmax head": (mlp(), False, 1400),
    "mlp(32)": (mlp(32), False, 300),
    "cnn(8, 16)": (cnn(8, 16), True, 150),
}
KINDS = ("blank", "component")


@cache
def halves() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Scans `[n, 64]` from 0 to 1 and labels of both halves."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(y))
    x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int32)
    half = len(y) // 2
    return (x[:half], y[:half]), (x[half:], y[half:])


def of_pool(name: str, pool: tuple, test: tuple, image: bool) -> Data:
    """A data set of examples `[n, 64]` with their labels, as images if asked."""
    shape = (-1, 8, 8, 1) if image else (-1, 64)
    (x, y), (x_test, y_test) = pool, test
    return Data(name, x.reshape(shape), y, x_test.reshape(shape), y_test, classes=10)


@factory
def first_half(image: bool = False) -> Callable[[], Data]:
    """The half that the start is trained on, with the other one to test."""
    return lambda: of_pool("digits, first half", *halves(), image)


def canary(kind: str, others: int) -> np.ndarray:
    """A canary `[64]`: an empty scan, or the last principal component, as long as a record is.

    The component is what the records beside it use least (Jagielski, Ullman & Oprea 2020).
    """
    if kind not in KINDS:
        raise ValueError(f"--canaries: {kind!r} is not one of {', '.join(KINDS)}")
    if kind == "blank":
        return np.zeros(64, np.float32)
    x = halves()[1][0][:others].astype(np.float64)
    last = np.linalg.svd(x)[2][-1]
    return (last * np.linalg.norm(x, axis=1).mean()).astype(np.float32)


@factory
def second_half(
    kind: str, label: int, others: int = 100, image: bool = False
) -> Callable[[], Data]:
    """The canary, with a label, and records of the second half; the rest of it to test."""

    def load() -> Data:
        x, y = halves()[1]
        inside = np.concatenate([canary(kind, others)[None], x[:others]])
        labels = np.append(label, y[:others]).astype(np.int32)
        return of_pool("digits, second half", (inside, labels), (x[others:], y[others:]), image)

    return load


def started(network: str, folder: Path) -> Path:
    """The file of a network trained on the first half, made where it is not there yet."""
    file = folder / f"start_{''.join(c for c in network if c.isalnum())}.npz"
    if not file.exists():
        model, image, epochs = NETWORKS[network]
        recipe = recipes.sgd(model, epochs=epochs, batch_size=64, weight_decay=0.0)
        data = first_half(image)()
        # the coin of example 0 is model 0's own; a record more or less is nothing here
        (one,) = trials(recipe, data, (0,), runs=1)
        folder.mkdir(parents=True, exist_ok=True)
        start.save(file, *(jax.tree.map(lambda a: a[0], t) for t in one.shadows[:2]))
    return file


def worst(network: str, file: Path, kind: str, others: int) -> tuple[int, dict[str, float]]:
    """The label that the start thinks least likely for a canary, how likely, and its accuracy."""
    model, image, _ = NETWORKS[network]
    data = second_half(kind, 0, others, image)()
    one = trainer.trainer(recipes.full_batch(model, init_from=file), data, others)
    key = trainer.model_key(0, 0)
    shadow = one.init(key)

    def logits(x: np.ndarray) -> np.ndarray:
        return np.asarray(one.model.apply(*shadow[:2], jnp.asarray(x), key, False)[0], np.float64)

    (z,) = logits(data.x[:1])
    right = float((logits(data.x_test).argmax(1) == data.y_test).mean())
    return int(z.argmin()), {"probability": float(softmax(z).min()), "accuracy": right}
