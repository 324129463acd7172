"""Mixup (Zhang et al. 2018): trained on convex combinations of pairs of examples."""

from collections.abc import Callable
from dataclasses import replace

import jax

from jaxmia.defences.parts import holds
from jaxmia.types import Array, Key, Params, Recipe, State, StepContext
from jaxmia.values import factory


def mixup(recipe: Recipe, alpha: float = 1.0) -> Recipe:
    """Trains on `w x + (1 - w) x'` with the loss mixed alike, w from Beta(alpha, alpha).

    Zhang et al. 2018; as a defence against membership inference, Li, Li & Ribeiro 2021. Training
    accuracy within epochs is that on mixed examples, by the label of x.
    """
    if recipe.batches == "poisson" or holds(recipe.loss, "mixed"):
        raise ValueError(
            f"mixup: mixes the examples of a batch, once; this recipe has loss={recipe.loss!r}, "
            f"batches={recipe.batches!r}"
        )
    return replace(recipe, loss=mixed(recipe.loss, alpha))


@factory
def mixed(loss: Callable, alpha: float = 1.0) -> Callable:
    """A loss on examples mixed in pairs, one weight for each batch."""
    if not alpha > 0:
        raise ValueError(f"mixup: alpha={alpha} must be above 0")

    def mixture(
        apply: Callable,
        params: Params,
        state: State,
        x: Array,
        y: Array,
        key: Key,
        context: StepContext | None = None,
    ) -> tuple[Array, tuple[State, Array]]:
        weight_key, order_key = jax.random.split(jax.random.fold_in(key, 1))
        w = jax.random.beta(weight_key, alpha, alpha)
        other = jax.random.permutation(order_key, len(y))
        forward = apply(params, state, w * x + (1 - w) * x[other], key, True)

        def of(labels: Array) -> Array:
            return loss(lambda *_: forward, params, state, x, labels, key, context)[0]

        logits, state = forward
        return w * of(y) + (1 - w) * of(y[other]), (state, logits)

    return mixture
