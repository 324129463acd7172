"""DP-SGD (Abadi et al. 2016): each example's gradient is clipped, the sum gets noise.

Clipping, noise and accounting are jax-privacy's (the extra `dp`). The relation is add/remove: a
batch holds each member with probability `batch_size / members`, independently.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmia.defences.parts import holds, part
from jaxmia.recipes import batch_gradient, sum_gradient
from jaxmia.training import batches
from jaxmia.types import Array, Key, Params, Recipe, State, StepContext
from jaxmia.values import Value, factory

MICROBATCH = 8  # examples whose gradients a core can keep in its cache


class Guarantee(NamedTuple):
    """What the accountant says of one trained model, for one person more or less in its data."""

    epsilon: float
    delta: float
    noise_multiplier: float  # standard deviation of the noise over the clipping norm
    clip: float
    rate: float
    steps: int
    relation: str = "add/remove"


def dp_sgd(
    recipe: Recipe,
    noise_multiplier: float | None = None,
    *,
    epsilon: float | None = None,
    delta: float = 1e-5,
    clip: float = 1.0,
    microbatch: int | None = MICROBATCH,
) -> Recipe:
    """A recipe whose models are (epsilon, delta)-differentially private (Abadi et al. 2016).

    Give the noise, or the epsilon that it is calibrated to. Gradients of `microbatch` examples are
    held at once (None: of the whole batch). What the loss adds for large weights is clipped along.
    A recipe that sums gradients (`recipes.full_batch`) gets their private sum, others the mean.
    Raises `ValueError` for settings that give no guarantee, and for a network with BatchNorm.
    """
    if (noise_multiplier is None) == (epsilon is None):
        raise ValueError("dp_sgd: give either noise_multiplier or epsilon, above 0")
    if recipe.gradient not in (batch_gradient, sum_gradient) or holds(recipe.loss, "mixed"):
        raise ValueError(
            f"dp_sgd: needs a recipe whose examples do not see each other; this one has "
            f"gradient={recipe.gradient!r}, loss={recipe.loss!r}"
        )
    statistics = isinstance(recipe.model, Value) and recipe.model.arguments.get("norm") == "batch"
    if statistics and recipe.tune is None:  # a tuned network keeps its statistics
        raise ValueError(
            f"dp_sgd: recipe.model={recipe.model!r} has BatchNorm, through which examples see each "
            "other; take norm='group'"
        )
    gradient = private_gradient(clip, noise_multiplier, epsilon, delta, microbatch)
    gradient = summed(gradient) if recipe.gradient is sum_gradient else gradient
    return replace(recipe, gradient=gradient, batches="poisson")


def guarantee(recipe: Recipe, members: int) -> Guarantee | None:
    """What a recipe's models guarantee, with so many members expected; None if nothing."""
    set_to = _settings(recipe)
    if not set_to:
        return None
    batch_size, steps = batches.schedule(recipe, members)
    steps *= recipe.epochs
    settings = (set_to["noise_multiplier"], set_to["epsilon"], set_to["delta"])
    noise = _noise(*settings, batch_size, members, steps)
    most = batches.slots(batch_size, members, members)
    epsilon = _epsilon(noise, set_to["delta"], batch_size, members, steps, most)
    rate = batch_size / members
    return Guarantee(epsilon, set_to["delta"], noise, set_to["clip"], rate, steps)


def microbatch(recipe: Recipe) -> int | None:
    """The examples whose gradients are held at once; None: the whole batch's."""
    return _settings(recipe).get("microbatch")


def _settings(recipe: Recipe) -> dict[str, Any]:
    private = part(recipe.gradient, "private_gradient")
    return private.arguments if private else {}


@factory
def private_gradient(
    clip: float = 1.0,
    noise_multiplier: float | None = None,
    epsilon: float | None = None,
    delta: float = 1e-5,
    microbatch: int | None = MICROBATCH,
) -> Callable:
    """`(sum of clipped gradients + N(0, (noise_multiplier clip)^2)) / batch_size`, as expected."""
    if not clip > 0 or not 0 < delta < 1:
        raise ValueError(f"dp_sgd: clip={clip} must be above 0, delta={delta} between 0 and 1")
    for name, value in (("noise_multiplier", noise_multiplier), ("epsilon", epsilon)):
        if value is not None and not value > 0:
            raise ValueError(f"dp_sgd: {name}={value} must be above 0")
    if microbatch is not None and microbatch < 1:
        raise ValueError(f"dp_sgd: microbatch={microbatch} must be 1 or more, or None")

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
        _installed()
        from jax_privacy import clipped_grad, noise_addition

        if context.present is None:
            raise ValueError("dp_sgd: needs recipe.batches='poisson', which its accountant assumes")
        noise = _noise(
            noise_multiplier, epsilon, delta, context.batch_size, context.members, context.steps
        )
        grouped, back = _grouped(len(y), microbatch)
        loss_key, noise_key = jax.random.split(key)
        one = context._replace(present=None)
        clipped = clipped_grad(
            lambda p, s, xi, yi, k: loss(apply, p, s, xi, yi, k, one),
            has_aux=True,
            l2_clip_norm=clip,
            batch_argnums=(2, 3),
            return_values=True,
            microbatch_size=microbatch if microbatch and microbatch < len(grouped) else None,
            prng_argnum=4,
        )
        x, y, here = (a[grouped % len(y)] for a in (x, y, context.present))
        here &= grouped < len(context.present)
        total, per_example = clipped(params, state, x, y, loss_key, is_padding_example=~here)
        size = context.batch_size
        privatizer = noise_addition.gaussian_privatizer(
            stddev=noise * clipped.sensitivity(), prng_key=noise_key
        )
        total, _ = privatizer.update(total, privatizer.init(params))
        value = jnp.where(here, per_example.values, 0).sum() / jnp.maximum(here.sum(), 1)
        logits = per_example.aux[1].reshape(len(grouped), -1)[back]
        return jax.tree.map(lambda g: g / size, total), value, state, logits

    return gradient


@factory
def summed(gradient: Callable) -> Callable:
    """A private mean times the batch's expected size: the sum, whoever is in the batch."""

    def total(
        loss: Callable,
        apply: Callable,
        params: Params,
        state: State,
        x: Array,
        y: Array,
        key: Key,
        context: StepContext,
    ) -> tuple[Params, Array, State, Array]:
        grads, *rest = gradient(loss, apply, params, state, x, y, key, context)
        return jax.tree.map(lambda g: g * context.batch_size, grads), *rest

    return total


def _grouped(size: int, microbatch: int | None) -> tuple[Array, Array]:
    """The slots of a batch in the order that fills one microbatch after the other, and back.

    jax-privacy deals the slots out like cards; those left empty at the end, which it skips, would
    be spread over all microbatches. What fills the last one up counts from `size` on.
    """
    group = min(microbatch or size, size)
    whole = -(-size // group) * group
    order = jnp.arange(whole).reshape(-1, group).T.reshape(-1)
    return order, jnp.argsort(order)[:size]


@functools.lru_cache(maxsize=256)
def _noise(
    noise_multiplier: float | None,
    epsilon: float | None,
    delta: float,
    batch_size: int,
    members: int,
    steps: int,
) -> float:
    """The noise multiplier as given, or the smallest one that the accountant finds."""
    if noise_multiplier is not None:
        return noise_multiplier
    _installed()
    from jax_privacy.accounting import calibrate_noise_multiplier

    return calibrate_noise_multiplier(
        target_epsilon=epsilon,
        accountant=_accountant(),
        batch_sizes=batch_size,
        num_updates=steps,
        num_samples=members,
        target_delta=delta,
        tol=1e-3,
    )


@functools.lru_cache(maxsize=256)
def _epsilon(
    noise: float, delta: float, batch_size: int, members: int, steps: int, most: int
) -> float:
    _installed()
    from jax_privacy.accounting import DpParams

    params = DpParams(
        noise_multipliers=noise,
        num_samples=members,
        delta=delta,
        batch_size=batch_size,
        truncated_batch_size=most if most < members else None,
    )
    return float(_accountant().compute_epsilon(steps, params))


def _accountant() -> Any:
    from jax_privacy.accounting import DpsgdTrainingAccountant, PldAccountantConfig

    return DpsgdTrainingAccountant(PldAccountantConfig())


def _installed() -> None:
    try:
        import jax_privacy  # noqa: F401
    except ImportError as error:
        raise ValueError("dp_sgd: needs jax-privacy: pip install 'jaxmia[dp]'") from error
