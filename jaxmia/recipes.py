"""Named recipes: how a network is trained, as values that compare, print and can be overridden."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxmia import augment as augmentation
from jaxmia.types import Array, Key, Params, Recipe, State, StepContext
from jaxmia.values import factory


def sgd(
    model: Callable,
    *,
    epochs: int = 50,
    batch_size: int = 64,
    rate: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    label_smoothing: float = 0.0,
    augment: Callable[[Array, Key], Array] = augmentation.none,
    dtype: str = "float32",
    init_from: str | Path | None = None,
    tune: Callable | None = None,
) -> Recipe:
    """SGD with momentum, the rate falling to zero along half a cosine."""
    return Recipe(
        model=model,
        optimizer=momentum_sgd(rate, momentum, schedule="cosine"),
        loss=cross_entropy(weight_decay, label_smoothing),
        augment=augment,
        gradient=batch_gradient,
        epochs=epochs,
        batch_size=batch_size,
        dtype=dtype,
        init_from=init_from,
        tune=tune,
    )


EVERYBODY = 2**31 - 1  # a batch size above that of any pool


def full_batch(
    model: Callable,
    *,
    epochs: int = 20,
    rate: float = 0.01,
    momentum: float = 0.0,
    init_from: str | Path | None = None,
    tune: Callable | None = None,
) -> Recipe:
    """Gradient descent: an epoch is one step along the sum of all members' gradients.

    A sum, since a divisor that follows the number of members would tell who is one.
    """
    return Recipe(
        model=model,
        optimizer=momentum_sgd(rate, momentum, schedule="constant"),
        loss=cross_entropy(),
        augment=augmentation.none,
        gradient=sum_gradient,
        epochs=epochs,
        batch_size=EVERYBODY,
        batches="poisson",
        init_from=init_from,
        tune=tune,
    )


def official_lira(model: Callable, *, epochs: int = 100, dtype: str = "float32") -> Recipe:
    """The published LiRA recipe (Carlini et al. 2022 and its code), for a WRN-28-2 on CIFAR-10.

    Batch 256, rate 0.1 cos(7 pi t / 16) min(1, 100 t) for t from 0 to 1, momentum 0.9, L2 5e-4
    inside the loss, images mirrored and shifted by up to 4 reflected pixels.
    """
    return Recipe(
        model=model,
        optimizer=momentum_sgd(0.1, 0.9, schedule="official_lira"),
        loss=cross_entropy(5e-4),
        augment=augmentation.flip_and_shift(4),
        gradient=batch_gradient,
        epochs=epochs,
        batch_size=256,
        dtype=dtype,
    )


SCHEDULES = ("constant", "cosine", "one_cycle", "official_lira")


@factory
def momentum_sgd(
    rate: float = 0.1, momentum: float = 0.9, nesterov: bool = False, schedule: str = "cosine"
) -> Callable[[int], Any]:
    """SGD with momentum along a schedule over all the steps; see `SCHEDULES`."""
    if schedule not in SCHEDULES:
        raise ValueError(f"momentum_sgd: schedule={schedule!r} is not one of {SCHEDULES}")
    if rate <= 0 or not 0 <= momentum < 1:
        raise ValueError(f"momentum_sgd: rate={rate} must be > 0, momentum={momentum} in [0, 1)")

    def optimizer(steps: int) -> Any:
        def at(step: Array) -> Array:
            t = step / steps
            shape = {
                "constant": lambda: jnp.ones_like(t),
                "cosine": lambda: 0.5 * (1 + jnp.cos(jnp.pi * t)),
                "one_cycle": lambda: jnp.minimum(t / 0.2, (1 - t) / 0.8),
                "official_lira": lambda: jnp.cos(7 * jnp.pi / 16 * t) * jnp.minimum(1, 100 * t),
            }[schedule]
            return rate * shape()

        return optax.sgd(at, momentum=momentum or None, nesterov=nesterov)

    return optimizer


@factory
def cross_entropy(weight_decay: float = 0.0, label_smoothing: float = 0.0) -> Callable:
    """Mean cross-entropy of a batch, plus `weight_decay / 2 ||w||^2` of matrices and kernels."""
    if weight_decay < 0 or not 0 <= label_smoothing < 1:
        raise ValueError(
            f"cross_entropy: weight_decay={weight_decay} must not be negative, "
            f"label_smoothing={label_smoothing} must be in [0, 1)"
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
        target = optax.smooth_labels(jax.nn.one_hot(y, logits.shape[-1]), label_smoothing)
        value = optax.softmax_cross_entropy(logits, target).mean()
        return value + decay(params, weight_decay), (state, logits)

    return loss


def decay(params: Params, weight_decay: float) -> Array | float:
    """`weight_decay / 2 ||w||^2` of matrices and kernels."""
    if not weight_decay:
        return 0.0
    weights = [w for w in jax.tree.leaves(params) if w.ndim > 1]
    return 0.5 * weight_decay * sum(jnp.vdot(w, w) for w in weights)


def batch_gradient(
    loss: Callable,
    apply: Callable,
    params: Params,
    state: State,
    x: Array,
    y: Array,
    key: Key,
    context: StepContext | None = None,
) -> tuple[Params, Array, State, Array]:
    """The gradient of the batch's loss: `grads, value, state, logits`."""
    gradient = jax.value_and_grad(loss, argnums=1, has_aux=True)
    (value, (state, logits)), grads = gradient(apply, params, state, x, y, key, context)
    return grads, value, state, logits


def sum_gradient(
    loss: Callable,
    apply: Callable,
    params: Params,
    state: State,
    x: Array,
    y: Array,
    key: Key,
    context: StepContext,
) -> tuple[Params, Array, State, Array]:
    """The gradient of the sum of the examples' own losses; empty slots of the batch add nothing.

    What the loss adds for large weights is added for each example. The value is the mean loss.
    """
    here = jnp.ones(len(y), bool) if context.present is None else context.present
    one = context._replace(present=None)

    def total(params: Params) -> tuple[Array, Array]:
        def example(xi: Array, yi: Array) -> tuple[Array, Array]:
            value, (_, logits) = loss(apply, params, state, xi[None], yi[None], key, one)
            return value, logits[0]

        values, logits = jax.vmap(example)(x, y)
        return jnp.where(here, values, 0).sum(), logits

    (value, logits), grads = jax.value_and_grad(total, has_aux=True)(params)
    return grads, value / jnp.maximum(here.sum(), 1), state, logits
