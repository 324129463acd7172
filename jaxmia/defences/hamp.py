"""HAMP (Chen & Pattabiraman 2024): labels that are less sure, and other outputs."""

import math
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmia.defences.parts import swapped
from jaxmia.recipes import decay
from jaxmia.types import Array, Data, Key, Model, Params, Recipe, State, StepContext
from jaxmia.values import Value, factory

RANDOM = 128  # inputs whose outputs stand in for those on real examples


def hamp(recipe: Recipe, gamma: float = 0.9, alpha: float = 0.01, outputs: bool = True) -> Recipe:
    """Labels of entropy `gamma log C`, less `alpha` times the entropy of what the network says.

    With `outputs`, queries are answered with the values of a random input's output, in the order
    of the example's own (`random_values`). Weight decay stays, label smoothing does not.
    """

    def make(plain: Value) -> Callable:
        return unsure(gamma, alpha, plain.arguments["weight_decay"])

    model = random_values(recipe.model) if outputs else recipe.model
    return replace(recipe, loss=swapped(recipe.loss, "cross_entropy", make), model=model)


@factory
def unsure(gamma: float = 0.9, alpha: float = 0.01, weight_decay: float = 0.0) -> Callable:
    """`KL(soft label || p) - alpha H(p)`, for the surest label of entropy `gamma log C` or more."""
    if not 0 < gamma < 1 or alpha < 0 or weight_decay < 0:
        raise ValueError(
            f"hamp: gamma={gamma} must be between 0 and 1, alpha={alpha} and "
            f"weight_decay={weight_decay} not negative"
        )

    def loss(
        apply: Callable,
        params: Params,
        state: State,
        x: Array,
        y: Array,
        key: Key,
        context: StepContext | None = None,
    ) -> tuple[Array, tuple[State, Array]]:
        logits, state = apply(params, state, x, key, True)
        classes = logits.shape[-1]
        q = true_share(gamma, classes)
        hot = jax.nn.one_hot(y, classes)
        soft = hot * q + (1 - hot) * (1 - q) / (classes - 1)
        log_p = jax.nn.log_softmax(logits)
        apart = (soft * (jnp.log(soft) - log_p)).sum(-1)
        entropy = -(jnp.exp(log_p) * log_p).sum(-1)
        value = (apart - alpha * entropy).mean()
        return value + decay(params, weight_decay), (state, logits)

    return loss


def true_share(gamma: float, classes: int) -> float:
    """The largest probability of the true class at which the label's entropy is gamma log C."""
    low, high = 1 / classes, 1.0
    for _ in range(60):
        q = (low + high) / 2
        rest = (1 - q) / (classes - 1)
        entropy = -q * math.log(q) - (1 - q) * math.log(rest) if rest else 0.0
        low, high = (q, high) if entropy > gamma * math.log(classes) else (low, q)
    return low


@factory
def random_values(model: Callable[[Data], Model]) -> Callable[[Data], Model]:
    """A network that answers queries with a random input's sorted outputs, in its own order.

    Inputs are uniform over the range of the pool; which one is taken depends on the true outputs,
    so that asking again tells nothing more. In training the network is itself.
    """

    def build(data: Data) -> Model:
        inner = model(data)
        rng = np.random.default_rng(0)
        x = rng.uniform(data.x.min(), data.x.max(), (RANDOM, *data.x.shape[1:]))
        x = ((x - data.shift) / data.scale).astype(np.float32)

        def apply(
            params: Params, state: State, inputs: Array, key: Key, train: bool
        ) -> tuple[Array, State]:
            own, after = inner.apply(params, state, inputs, key, train)
            if train:
                return own, after
            other, _ = inner.apply(params, state, jnp.asarray(x, inputs.dtype), key, False)
            values = jnp.sort(other, -1)[bucket(own, RANDOM)]
            rank = jnp.argsort(jnp.argsort(own, -1), -1)
            return jnp.take_along_axis(values, rank, -1), after

        return Model(inner.init, apply)

    return build


def bucket(logits: Array, among: int) -> Array:
    """A number below `among` for each answer, by its bits."""
    bits = lax.bitcast_convert_type(logits.astype(jnp.float32), jnp.uint32)
    odd = 2 * jnp.arange(1, logits.shape[-1] + 1, dtype=jnp.uint32) + 1
    mixed = (bits * jnp.broadcast_to(odd * jnp.uint32(2654435761), bits.shape)).sum(
        -1, dtype=jnp.uint32
    )
    mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(2246822519)
    mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(3266489917)
    return ((mixed ^ (mixed >> 16)) % jnp.uint32(among)).astype(jnp.int32)
