"""Mixup + MMD (Li, Li & Ribeiro 2021): outputs on members are drawn to those on other examples."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from jaxmia.defences.mixup import mixup
from jaxmia.types import Array, Key, Params, Recipe, State, StepContext
from jaxmia.values import factory

GAP = 0.03  # of training and validation accuracy, below which nothing is done


def mixup_mmd(recipe: Recipe, weight: float = 3.0, alpha: float | None = 1.0) -> Recipe:
    """Mixup, and `weight MMD^2` between the outputs on un-mixed members and on validation examples.

    Li, Li & Ribeiro 2021. The validation examples lie outside of the pool and have the same labels
    as the batch. The term is left out while the accuracies differ by at most 3 points, and in the
    last epoch. `alpha=None` leaves out the mixup.
    """
    if recipe.batches == "poisson":
        raise ValueError("mixup_mmd: compares whole batches, which DP-SGD cannot bound")
    recipe = recipe if alpha is None else mixup(recipe, alpha)
    return replace(recipe, gradient=with_mmd(recipe.gradient, weight), validation=True)


@factory
def with_mmd(gradient: Callable, weight: float = 3.0) -> Callable:
    """A gradient with that of `weight MMD^2(softmax of batch, softmax of validation batch)`."""
    if not weight > 0:
        raise ValueError(f"mixup_mmd: weight={weight} must be above 0")

    def together(
        loss: Callable,
        apply: Callable,
        params: Params,
        state: State,
        x: Array,
        y: Array,
        key: Key,
        context: StepContext,
    ) -> tuple[Params, Array, State, Array]:
        grads, value, after, logits = gradient(loss, apply, params, state, x, y, key, context)

        assert context.gap is not None and context.validation is not None

        def term(params: Params) -> Array:
            inside, outside = (
                jax.nn.softmax(apply(params, state, inputs, key, True)[0])
                for inputs in (x, context.validation)
            )
            return weight * mmd(inside, lax.stop_gradient(outside))

        on = (context.gap > GAP) & (context.epoch + 1 < context.epochs)
        more = lax.cond(on, jax.grad(term), lambda p: jax.tree.map(jnp.zeros_like, p), params)
        return jax.tree.map(jnp.add, grads, more), value, after, logits

    return together


def mmd(a: Float[Array, "n C"], b: Float[Array, "m C"]) -> Float[Array, ""]:
    """The squared maximum mean discrepancy, biased, with the kernel `exp(-||a - b||^2 / 2)`."""

    def mean(a: Array, b: Array) -> Array:
        apart = ((a[:, None] - b[None]) ** 2).sum(-1)
        return jnp.exp(-apart / 2).mean()

    return mean(a, a) + mean(b, b) - 2 * mean(a, b)
