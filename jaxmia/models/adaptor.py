"""Flax modules as `Model`: two pure functions for one network.

A user's own module needs nothing but a call `module(x) -> logits` (NNX), or
`module.apply(variables, x, train=...)` (Linen).
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmia.types import Array, Data, Key, Model, Params, State
from jaxmia.values import factory


@factory
def nnx_module(build: Callable[[Data, nnx.Rngs], nnx.Module]) -> Callable[[Data], Model]:
    """A network from `build(data, rngs) -> nnx.Module`, whose call gives logits `[B, C]`.

    Its `nnx.Param` are learned; all other variables are its state. Dropout draws from the model's
    own key; BatchNorm and Dropout follow training and evaluation.
    """

    def model(data: Data) -> Model:
        shapes = nnx.eval_shape(lambda: build(data, nnx.Rngs(jax.random.key(0))))
        graph, params_like, streams_like, rest_like = nnx.split(
            shapes, nnx.Param, nnx.RngState, ...
        )

        def init(key: Key) -> tuple[Params, State]:
            _, params, _, rest = nnx.split(build(data, nnx.Rngs(key)), nnx.Param, nnx.RngState, ...)
            return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

        def apply(
            params: Params, state: State, x: Array, key: Key, train: bool
        ) -> tuple[Array, State]:
            states = (
                _filled(params_like, params),
                _fresh(streams_like, key),
                _filled(rest_like, state),
            )
            module = nnx.merge(graph, *states)
            module.train() if train else module.eval()
            logits = module(x).astype(jnp.float32)
            _, _, _, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
            return logits, nnx.to_pure_dict(rest) if train else state

        return Model(init, apply)

    return model


def _filled(like: nnx.State, values: Any) -> nnx.State:
    """The variables of a module, with these values."""
    state = jax.tree.map(lambda a: a, like)
    nnx.replace_by_pure_dict(state, values)
    return state


def _fresh(like: nnx.State, key: Key) -> nnx.State:
    """A module's random streams, started anew from a key."""
    leaves, tree = jax.tree.flatten(like)
    fresh = [
        jax.random.fold_in(key, i)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.zeros(leaf.shape, leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(tree, fresh)


@factory
def linen_module(build: Callable[[Data], Any]) -> Callable[[Data], Model]:
    """A network from `build(data) -> flax.linen.Module`, whose call gives logits `[B, C]`.

    A module whose call takes `train` (or its inverse, `deterministic`) is told; the collection
    "params" is learned, all others are its state.
    """

    def model(data: Data) -> Model:
        module = build(data)
        accepted = inspect.signature(module.__call__).parameters

        def mode(train: bool) -> dict[str, bool]:
            flags = {"train": train, "training": train, "deterministic": not train}
            return {name: value for name, value in flags.items() if name in accepted}

        def init(key: Key) -> tuple[Params, State]:
            variables = module.init(key, jnp.zeros((1, *data.x.shape[1:])), **mode(False))
            return variables["params"], {k: v for k, v in variables.items() if k != "params"}

        def apply(
            params: Params, state: State, x: Array, key: Key, train: bool
        ) -> tuple[Array, State]:
            variables, rngs = {"params": params, **state}, {"dropout": key}
            if not train:
                return module.apply(variables, x, **mode(False)).astype(jnp.float32), state
            logits, new = module.apply(variables, x, **mode(True), rngs=rngs, mutable=list(state))
            return logits.astype(jnp.float32), {**state, **new}

        return Model(init, apply)

    return model
