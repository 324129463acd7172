"""Wrong implementations of DP-SGD, each a recipe that does not do what its accountant is told.

They are what audits must refute; nothing of jaxmia uses them.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool

from jaxmia import defences
from jaxmia.types import Array, Key, Params, Recipe, State, StepContext
from jaxmia.values import factory


class Mistake(NamedTuple):
    """What is trained in place of what is promised.

    `recipe(plain, noise, clip)` of a recipe without privacy and the promised noise multiplier;
    `number(epoch)` is what the trainer draws an epoch's keys by.
    """

    recipe: Callable[[Recipe, float, float], Recipe]
    number: Callable[[int], int] = int


def right(plain: Recipe, noise: float, clip: float) -> Recipe:
    """What is promised."""
    return defences.dp_sgd(plain, noise, clip=clip, microbatch=None)


def _half_the_noise(plain: Recipe, noise: float, clip: float) -> Recipe:
    return right(plain, noise / 2, clip)


def _twice_the_steps(plain: Recipe, noise: float, clip: float) -> Recipe:
    return replace(right(plain, noise, clip), epochs=2 * plain.epochs)


def _clipped_late(plain: Recipe, noise: float, clip: float) -> Recipe:
    return replace(right(plain, noise, clip), gradient=clipped_mean(noise, clip))


def _by_realised_size(plain: Recipe, noise: float, clip: float) -> Recipe:
    private = right(plain, noise, clip)
    return replace(private, gradient=by_realised_size(private.gradient))


def _counted_twice(plain: Recipe, noise: float, clip: float) -> Recipe:
    private = right(plain, noise, clip)
    return replace(private, gradient=counted_twice(private.gradient))


def _shuffled(plain: Recipe, noise: float, clip: float) -> Recipe:
    private = right(plain, noise, clip)
    return replace(private, gradient=all_present(private.gradient), batches="shuffled")


MISTAKES = {
    "none": Mistake(right),
    "noise × 0.5": Mistake(_half_the_noise),
    "twice the steps": Mistake(_twice_the_steps),
    "clipping after averaging": Mistake(_clipped_late),
    "division by the realised batch": Mistake(_by_realised_size),
    "canary counted twice": Mistake(_counted_twice),
    "one key for two steps": Mistake(right, lambda epoch: epoch // 2),
    "shuffled batches": Mistake(_shuffled),
}


@factory
def clipped_mean(noise: float, clip: float) -> Callable:
    """The batch's mean gradient is clipped, not each example's; noise as for the sum of those."""

    def gradient(
        loss: Callable,
        apply: Callable,
        params: Params,
        state: State,
        x: Array,
        y: Array,
        key: Key,
        context: StepContext,
    ) -> tuple[Params, Array, State, Array]:
        here, size = jnp.asarray(context.present), context.batch_size
        one = context._replace(present=None)

        def mean(params: Params) -> tuple[Array, Array]:
            def example(xi: Array, yi: Array) -> tuple[Array, Array]:
                value, (_, logits) = loss(apply, params, state, xi[None], yi[None], key, one)
                return value, logits[0]

            values, logits = jax.vmap(example)(x, y)
            return jnp.where(here, values, 0).sum() / size, logits

        (value, logits), grads = jax.value_and_grad(mean, has_aux=True)(params)
        shrink = jnp.minimum(1, clip / optax.global_norm(grads))
        draw = optax.tree.random_like(key, grads, jax.random.normal)
        grads = jax.tree.map(lambda g, n: size * shrink * g + noise * clip * n, grads, draw)
        return grads, value, state, logits

    return gradient


@factory
def by_realised_size(gradient: Callable) -> Callable:
    """A private sum over how many the batch happens to hold, in units of what was expected."""

    def rescaled(*arguments: Any) -> tuple[Params, Array, State, Array]:
        context: StepContext = arguments[-1]
        grads, *rest = gradient(*arguments)
        share = context.batch_size / jnp.maximum(jnp.asarray(context.present).sum(), 1)
        return jax.tree.map(lambda g: g * share, grads), *rest

    return rescaled


@factory
def counted_twice(gradient: Callable) -> Callable:
    """A private gradient of a batch that has the canary in it once more."""

    def doubled(*arguments: Any) -> tuple[Params, Array, State, Array]:
        *before, x, y, key, context = arguments
        here = jnp.asarray(context.present)
        both = jnp.concatenate([here, here & is_canary(x)])
        twice = (jnp.concatenate([a, a]) for a in (x, y))
        grads, value, state, logits = gradient(*before, *twice, key, context._replace(present=both))
        return grads, value, state, logits[: len(y)]

    return doubled


@factory
def all_present(gradient: Callable) -> Callable:
    """A private gradient of a batch whose every slot is filled."""

    def full(*arguments: Any) -> tuple[Params, Array, State, Array]:
        *before, y, key, context = arguments
        everybody = context._replace(present=jnp.ones(len(y), bool))
        return gradient(*before, y, key, everybody)

    return full


def is_canary(x: Array) -> Bool[Array, " B"]:
    """The examples that are an empty scan, or marked in the pixel that no digit uses."""
    flat = jnp.asarray(x).reshape(len(x), -1)
    return (flat == 0).all(1) | (flat[:, 0] > 0)
