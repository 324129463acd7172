"""Training of one model, as pure functions of its key and its members.

Nothing here knows of other models, devices or files; `parallel.over_models` maps it over many.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Bool, Float, Int

from jaxmia.training.batches import BATCHES, epoch_order, poisson_batches, schedule, slots
from jaxmia.training.pool import Pool, like, normalised
from jaxmia.training.start import initial, network
from jaxmia.types import Array, Data, Key, Model, Params, Recipe, State, StepContext


class Shadow(NamedTuple):
    """One model in training."""

    params: Params
    state: State
    optimizer: Any


class Curve(NamedTuple):
    """Mean training loss and accuracy of one epoch."""

    loss: Float[Array, "..."]
    accuracy: Float[Array, "..."]


class Trainer(NamedTuple):
    """A recipe made ready for a data set.

    `init(key) -> Shadow`; `epoch(pool, member, key, number, shadow) -> Shadow, Curve`, where `key`
    is the model's own and `number` counts epochs from 0.
    """

    model: Model
    init: Callable[[Key], Shadow]
    epoch: Callable[..., tuple[Shadow, Curve]]
    steps: int  # of one epoch


def model_key(seed: int, m: Int[Array, ""] | int) -> Key:
    """The key that everything random about model `m` comes from."""
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), m)


DTYPES = ("float32", "bfloat16")
_INIT, _ORDER, _STEP = range(3)  # the streams of a model's key


def trainer(recipe: Recipe, data: Data, members: int) -> Trainer:
    """Readies a recipe; `members` is how many a model is expected to have, and sets the steps.

    A model with more members sees a random part of them each epoch, one with fewer sees some twice.
    """
    model = network(recipe, data)
    check(recipe, model)
    batch_size, steps = schedule(recipe, members)
    optimizer = recipe.optimizer(steps * recipe.epochs)
    apply = in_dtype(model.apply, recipe.dtype)

    start = initial(recipe, model)

    def init(key: Key) -> Shadow:
        params, state = start(jax.random.fold_in(key, _INIT))
        return Shadow(params, state, optimizer.init(params))

    def epoch(
        pool: Pool, member: Bool[Array, " N"], key: Key, number: Int[Array, ""], shadow: Shadow
    ) -> tuple[Shadow, Curve]:
        order_key = jax.random.fold_in(jax.random.fold_in(key, _ORDER), number)
        step_key = jax.random.fold_in(jax.random.fold_in(key, _STEP), number)
        moment = StepContext(number, recipe.epochs, steps * recipe.epochs, batch_size, members)
        if recipe.validation:
            sample = epoch_order(jax.random.fold_in(order_key, 1), member, GAP_EXAMPLES)
            moment = moment._replace(gap=gap(apply, shadow, pool, sample))
        present = None
        if recipe.batches == "poisson":
            places = slots(batch_size, members, len(member))
            batches, present = poisson_batches(
                order_key, member, batch_size / members, steps, places
            )
        else:
            batches = epoch_order(order_key, member, steps * batch_size).reshape(steps, batch_size)

        def step(shadow: Shadow, at: tuple) -> tuple[Shadow, Curve]:
            index, here, i = at
            augment_key, noise_key = jax.random.split(jax.random.fold_in(step_key, i))
            x, y = (jnp.asarray(a).at[index].get(mode="promise_in_bounds") for a in pool[:2])
            x = normalised(pool, x)
            x = jax.vmap(recipe.augment)(x, jax.random.split(augment_key, len(index)))
            outside = like(pool, y, jax.random.fold_in(noise_key, 2)) if recipe.validation else None
            grads, loss, state, logits = recipe.gradient(
                recipe.loss, apply, shadow.params, shadow.state, x, y, noise_key,
                moment._replace(present=here, validation=outside),
            )  # fmt: skip
            updates, opt = optimizer.update(grads, shadow.optimizer, shadow.params)
            params = optax.apply_updates(shadow.params, updates)
            right = (logits.argmax(-1) == y).mean(where=here)
            return Shadow(params, state, opt), Curve(loss, right)

        shadow, curve = lax.scan(step, shadow, (batches, present, jnp.arange(steps)))
        return shadow, Curve(curve.loss.mean(), curve.accuracy.mean())

    return Trainer(model, init, epoch, steps)


def check(recipe: Recipe, model: Model) -> None:
    """Raises `ValueError` where examples of a batch would see each other, but must not."""
    if recipe.batches not in BATCHES:
        raise ValueError(f"recipe.batches={recipe.batches!r} is not one of {BATCHES}")
    if recipe.batches != "poisson":
        return
    _, state = jax.eval_shape(model.init, jax.random.key(0, impl="threefry2x32"))
    if jax.tree.leaves(state):
        raise ValueError(
            f"recipe.model={recipe.model!r} normalises over the batch (BatchNorm), so that no "
            "example's gradient can be bounded; DP-SGD needs norm='group', or a network without"
        )


GAP_EXAMPLES = 1024  # at most, of either side, that tell the gap


def gap(apply: Callable, shadow: Shadow, pool: Pool, sample: Int[Array, " n"]) -> Float[Array, ""]:
    """Accuracy on a sample of the members less that on the validation examples, in evaluation."""
    assert pool.x_validation is not None and pool.y_validation is not None
    few = slice(min(GAP_EXAMPLES, len(pool.y_validation)))

    def accuracy(x: Array, y: Array) -> Array:
        inputs = normalised(pool, x)
        logits, _ = apply(shadow.params, shadow.state, inputs, model_key(0, 0), False)
        return (logits.argmax(-1) == y).mean()

    members = (jnp.asarray(a)[sample[few]] for a in (pool.x, pool.y))
    return accuracy(*members) - accuracy(pool.x_validation[few], pool.y_validation[few])


def in_dtype(apply: Callable, dtype: str) -> Callable:
    """The network computing in `dtype`, with its float32 parameters as the masters."""
    if dtype not in DTYPES:
        raise ValueError(f"recipe.dtype={dtype!r} is not one of {DTYPES}")
    if dtype == "float32":
        return apply

    def cast(tree: Any) -> Any:
        return jax.tree.map(
            lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
        )

    def applied(params: Params, state: State, x: Array, key: Key, train: bool) -> Any:
        logits, new = apply(cast(params), state, cast(x), key, train)
        state = jax.tree.map(lambda old, a: a.astype(old.dtype), state, new)
        return logits.astype(jnp.float32), state

    return applied
