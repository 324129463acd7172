"""Ways to unlearn: what is done to a trained model so that it forgets some of its members.

An unlearner is made ready for a task, `unlearner(task) -> forget`, and is then a function of one
model: `forget(pool, retained [N], forgotten [N], key, shadow) -> shadow`, with `Shadow` that of
`jaxmia.training.trainer`. It is pure and mapped over many models, as training is; all that it
draws comes from `key`. One of your own is such a function, and goes into `unlearning.study`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
from jax import lax

from jaxmia import recipes
from jaxmia.training.trainer import Shadow, trainer
from jaxmia.types import Array, Data, Recipe
from jaxmia.values import factory

Forget = Callable[..., Shadow]


@dataclass(frozen=True)
class Task:
    """What models were trained by, and on how many: those to keep, and those to forget."""

    recipe: Recipe
    data: Data
    retained: int
    forgotten: int


Unlearner = Callable[[Task], Forget]


@factory
def nothing() -> Unlearner:
    """Leaves the model as it is: what there was to forget."""
    return lambda task: lambda pool, retained, forgotten, key, shadow: shadow


@factory
def retraining() -> Unlearner:
    """Trains a fresh model on what is retained: exact, and as dear as training."""

    def unlearner(task: Task) -> Forget:
        one = trainer(task.recipe, task.data, task.retained)

        def forget(pool: Any, retained: Array, forgotten: Array, key: Array, _: Shadow) -> Shadow:
            return epochs(one, task.recipe.epochs, pool, retained, key, one.init(key))

        return forget

    return unlearner


@factory
def fine_tuning(epochs: int = 5, rate: float = 0.1) -> Unlearner:
    """Trains on with what is retained, by SGD at a constant rate, and hopes for the rest.

    (Catastrophic forgetting; the baseline of Golatkar et al. 2020, "Eternal Sunshine".)
    """
    return lambda task: _further(task, task.recipe.loss, epochs, rate, on_retained=True)


@factory
def gradient_ascent(epochs: int = 5, rate: float = 0.01) -> Unlearner:
    """Climbs the loss of what is to be forgotten, by SGD at a constant rate.

    (NegGrad, among the baselines of Golatkar et al. 2020.)
    """
    up = negated(recipes.cross_entropy())
    return lambda task: _further(task, up, epochs, rate, on_retained=False)


@factory
def ascent_then_tuning(
    epochs: int = 5, rate: float = 0.01, then: int = 5, then_rate: float = 0.1
) -> Unlearner:
    """Gradient ascent on what is to be forgotten, then fine-tuning on what is retained."""

    def unlearner(task: Task) -> Forget:
        up, down = gradient_ascent(epochs, rate)(task), fine_tuning(then, then_rate)(task)

        def forget(
            pool: Any, retained: Array, forgotten: Array, key: Array, shadow: Shadow
        ) -> Shadow:
            shadow = up(pool, retained, forgotten, key, shadow)
            return down(pool, retained, forgotten, jax.random.fold_in(key, 1), shadow)

        return forget

    return unlearner


@factory
def negated(loss: Callable) -> Callable:
    """Minus a loss: what lowers it raises the loss."""

    def value(*args: Any, **more: Any) -> tuple[Array, Any]:
        plain, rest = loss(*args, **more)
        return -plain, rest

    return value


def _further(task: Task, loss: Callable, number: int, rate: float, on_retained: bool) -> Forget:
    """Epochs from a model's parameters on, its momentum anew."""
    if number < 1:
        raise ValueError(f"epochs={number} must be 1 or more")
    recipe = replace(
        task.recipe, loss=loss, epochs=number,
        optimizer=recipes.momentum_sgd(rate, schedule="constant"),
    )  # fmt: skip
    one = trainer(recipe, task.data, task.retained if on_retained else task.forgotten)

    def forget(pool: Any, retained: Array, forgotten: Array, key: Array, shadow: Shadow) -> Shadow:
        start = one.init(key)._replace(params=shadow.params, state=shadow.state)
        return epochs(one, number, pool, retained if on_retained else forgotten, key, start)

    return forget


def epochs(one: Any, number: int, pool: Any, member: Array, key: Array, shadow: Shadow) -> Shadow:
    """Some epochs of a trainer, one model's."""

    def epoch(i: Array, shadow: Shadow) -> Shadow:
        return one.epoch(pool, member, key, i, shadow)[0]

    return lax.fori_loop(0, number, epoch, shadow)
