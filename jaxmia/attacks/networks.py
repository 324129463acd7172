"""Attack networks: small perceptrons that tell IN from OUT by features of the shadow models.

The networks of several groups of examples (a class each, say) are trained at once, under `vmap`.
When every model is attacked in turn, folds of models (partners together) are scored by networks
that were trained on the other folds. Shokri et al. 2017, section V.

On every example IN and OUT weigh the same, as if the side were drawn first and then one of its
models. A network can tell an example by what models say of it; if it saw more of one side, it would
learn which, and that tells the rest where every example is IN equally many models.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks.references import LeaveOut
from jaxmia.types import Array, Attack, Attacker, Signals

FOLDS, HIDDEN, STEPS, BATCH, RATE = 4, 64, 2000, 256, 3e-3

Groups: TypeAlias = tuple[Int[np.ndarray, "C n"], Int[np.ndarray, " C"]]


class _Pool(NamedTuple):
    """What networks learn from; of `examples`, class c has the first `count[c]`, then repeats.

    What is not `finite` of a model's answer to an example is 0 in `features`, and has no weight.
    """

    features: Float[Array, "M N F"]
    finite: Bool[Array, "M N"]
    member: Bool[Array, "M N"]
    examples: Int[Array, "C n"]
    count: Int[Array, " C"]


def _forward(weights: tuple, x: Array) -> Array:
    """The log-odds of membership."""
    (w1, b1), (w2, b2) = weights
    hidden = jax.nn.relu(x @ w1 + jnp.broadcast_to(b1, (*x.shape[:-1], len(b1))))
    return (hidden @ w2)[..., 0] + b2


@functools.partial(jax.jit, static_argnames="steps")
def _trained(
    pool: _Pool, rows: Int[Array, " R"], many: Int[Array, ""], key: Array, steps: int
) -> tuple:
    """Every class's network from the first `many` rows, its features' scale, and if it learnt."""
    import optax

    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, steps))
    width = pool.features.shape[-1]
    even = _even(pool, rows)

    def one(examples: Array, count: Array, key: Array) -> tuple:
        def draw(key: Array, size: int) -> tuple:
            first, second = jax.random.split(key)
            model = rows[jax.random.randint(first, (size,), 0, many)]
            example = examples[jax.random.randint(second, (size,), 0, count)]
            at = model, example
            return pool.features[at], pool.member[at].astype(jnp.float32), even[at]

        first, second, key = jax.random.split(key, 3)
        he = jax.nn.initializers.he_normal()
        weights = (
            (he(first, (width, HIDDEN)), jnp.zeros(HIDDEN)),
            (he(second, (HIDDEN, 1)), jnp.zeros(())),
        )
        sample, _, weight = draw(key, 4096)
        centre = _mean(sample, weight[:, None])
        scale = jnp.sqrt(_mean((sample - centre[None]) ** 2, weight[:, None])) + 1e-3

        def step(carry: tuple, i: Array) -> tuple:
            weights, state = carry
            x, y, weight = draw(jax.random.fold_in(key, i), BATCH)

            def loss(weights: tuple) -> Array:
                odds = _forward(weights, _scaled(x, centre, scale))
                return _mean(optax.sigmoid_binary_cross_entropy(odds, y), weight)

            updates, state = optimizer.update(jax.grad(loss)(weights), state)
            return (optax.apply_updates(weights, updates), state), None

        (weights, _), _ = jax.lax.scan(step, (weights, optimizer.init(weights)), jnp.arange(steps))
        return weights, centre, scale, (even[:, examples] > 0).any()

    return jax.vmap(one)(pool.examples, pool.count, jax.random.split(key, len(pool.examples)))


def _even(pool: _Pool, rows: Int[Array, " R"]) -> Float[Array, "M N"]:
    """How much each model's answer weighs, so that an example's IN and OUT rows weigh the same.

    Examples of which only one side is known among the rows weigh nothing.
    """
    there = pool.finite & jnp.zeros(len(pool.finite), bool).at[rows].set(True)[:, None]
    inside, outside = (there & pool.member).sum(0), (there & ~pool.member).sum(0)
    own = jnp.where(pool.member, inside[None], outside[None])
    both = there & ((inside > 0) & (outside > 0))[None]
    return jnp.where(both, (inside + outside)[None] / (2 * jnp.maximum(own, 1)), 0.0)


def _mean(x: Array, weight: Array) -> Array:
    """The weighted mean over the first axis; 0 where nothing weighs."""
    total = weight.sum(0)
    return (x * weight).sum(0) / jnp.where(total > 0, total, 1)


def _scaled(x: Array, centre: Array, scale: Array) -> Array:
    shape = (1,) * (x.ndim - 1) + centre.shape
    return (x - centre.reshape(shape)) / scale.reshape(shape)


@jax.jit
def _odds(trained: tuple, x: Float[Array, "N F"], examples: Array) -> Float[Array, " N"]:
    """The log-odds of every example by its own class's network; NaN where that learnt nothing."""

    def one(trained: tuple, at: Array) -> Array:
        weights, centre, scale, learnt = trained
        return jnp.where(learnt, _forward(weights, _scaled(x[at], centre, scale)), jnp.nan)

    odds = jax.vmap(one)(trained, examples)
    return jnp.zeros(len(x)).at[examples.reshape(-1)].set(odds.reshape(-1))


def _learn(pool: _Pool, rows: Sequence[int] | np.ndarray, size: int) -> tuple:
    """Networks from these models; `size` is the same for all folds, so one program serves them."""
    key = jax.random.key(0, impl="threefry2x32")
    return _trained(pool, jnp.asarray(np.resize(rows, size)), jnp.int32(len(rows)), key, STEPS)


def _mask(x: np.ndarray) -> tuple[Float[np.ndarray, "M N F"], Bool[np.ndarray, "M N"]]:
    """The features, 0 where an example's are not all finite, and where they are."""
    finite = np.asarray(np.isfinite(x).all(-1))
    return (x if finite.all() else np.where(finite[..., None], x, np.float32(0))), finite


def _score(trained: tuple, x: np.ndarray, examples: Array) -> Float[np.ndarray, "T N"]:
    x, finite = _mask(x)
    odds = [np.asarray(_odds(trained, one, examples), np.float64) for one in x]
    return np.where(finite, np.stack(odds), np.nan)


def attack(
    features: Callable[[Signals], Float[np.ndarray, "M N F"]],
    groups: Callable[[Int[np.ndarray, " N"]], Groups],
    attacker: Attacker,
    needs: tuple[str, ...],
    paper: str,
) -> Attack:
    """The attack as a rung of the ladder: `features` of many models' signals, with labels.

    `groups(y)` names the examples of each network, every example in one of them, and how many they
    are before they repeat.
    """

    def prepared(
        signals: Signals, member: Array
    ) -> tuple[_Pool, np.ndarray, Bool[np.ndarray, " M"]]:
        """What networks learn from, the features, and of which models any are known."""
        x = features(signals)
        (inputs, finite), whose = _mask(x), np.asarray(member, bool)
        pool = _Pool(*map(jnp.asarray, (inputs, finite, whose, *groups(np.asarray(signals.y)))))
        return pool, x, finite.any(1)

    def on_target(target: Signals, reference: Signals, member: Bool[Array, "R N"]):
        pool, _, some = prepared(reference, member)
        if not some.any():
            return np.full(len(np.asarray(reference.y)), np.nan)
        rows = np.flatnonzero(some)
        trained = _learn(pool, rows, len(rows))
        return _score(trained, features(as_one(target, reference)), pool.examples)[0]

    def on_all(signals: Signals, member: Bool[Array, "M N"], leave_out: LeaveOut):
        pool, x, some = prepared(signals, member)
        fold = folds(leave_out)
        out = np.full(x.shape[:2], np.nan)
        for number in range(fold.max() + 1):
            rows = np.flatnonzero((fold != number) & some)
            if len(rows):
                trained = _learn(pool, rows, len(x))
                out[fold == number] = _score(trained, x[fold == number], pool.examples)
        return out

    return Attack(on_target, on_all, attacker, needs, trains=True, paper=paper)


def as_one(target: Signals, reference: Signals) -> Signals:
    """A target as a row of many models, with the references' labels."""
    return replace(target.models(None), y=reference.y)


def folds(leave_out: LeaveOut) -> Int[np.ndarray, " M"]:
    """The fold of each model, those that leave together in one."""
    groups = leave_out.groups
    return groups % min(FOLDS, groups.max() + 1)
