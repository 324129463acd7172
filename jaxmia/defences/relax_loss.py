"""RelaxLoss (Chen, Yu & Fritz 2022): the training loss is held at a level instead of minimised."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax

from jaxmia.defences.parts import swapped
from jaxmia.recipes import decay
from jaxmia.types import Array, Key, Params, Recipe, State, StepContext
from jaxmia.values import Value, factory


def relax_loss(recipe: Recipe, alpha: float = 1.0) -> Recipe:
    """Cross-entropy gives way to `relaxed(alpha)`; weight decay stays, label smoothing does not."""

    def make(plain: Value) -> Callable:
        return relaxed(alpha, plain.arguments["weight_decay"])

    return replace(recipe, loss=swapped(recipe.loss, "cross_entropy", make))


@factory
def relaxed(alpha: float = 1.0, weight_decay: float = 0.0) -> Callable:
    """Even epochs `|CE - alpha|`; odd ones CE if above alpha, else flattened posteriors.

    Those are `mean(1[wrong] CE_soft(t) - CE)`, where t gives the true class the probability that
    the network gives it and all others an equal share of the rest, as constants. Chen, Yu & Fritz
    2022, section 4; CE is the batch's mean. Under DP-SGD a batch is one example.
    """
    if not alpha > 0 or weight_decay < 0:
        raise ValueError(
            f"relax_loss: alpha={alpha} must be above 0, weight_decay={weight_decay} not negative"
        )

    def loss(
        apply: Callable,
        params: Params,
        state: State,
        x: Array,
        y: Array,
        key: Key,
        context: StepContext,
    ) -> tuple[Array, tuple[State, Array]]:
        logits, state = apply(params, state, x, key, True)
        log_p = jax.nn.log_softmax(logits)
        hot = jax.nn.one_hot(y, logits.shape[-1])
        each = -(hot * log_p).sum(-1)
        true = jnp.exp(-lax.stop_gradient(each))[:, None]
        soft = hot * true + (1 - hot) * (1 - true) / (logits.shape[-1] - 1)
        wrong = logits.argmax(-1) != y
        flat = jnp.where(wrong, -(soft * log_p).sum(-1), 0) - each
        mean = each.mean()
        odd = jnp.where(mean > alpha, mean, flat.mean())
        value = jnp.where(jnp.asarray(context.epoch) % 2 == 0, jnp.abs(mean - alpha), odd)
        return value + decay(params, weight_decay), (state, logits)

    return loss
