"""Flax modules as `Model`: two pure functions for one network.

A user's own module needs nothing but a call that gives logits, `module(x)` in NNX,
`module.apply(variables, x)` in Linen. One that takes `train` or `training`, or their inverse
`deterministic`, learns from it whether it is trained.
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
    own key; BatchNorm and Dropout follow training and evaluation. Raises `ValueError`, when it is
    first called, for anything but logits `[B, C]`.
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
            module = nnx.merge(
                graph,
                _filled(params_like, params),
                _fresh(streams_like, key),
                _filled(rest_like, state),
            )
            module.train() if train else module.eval()
            logits = _logits(module, module(x, **_mode(module, train)), x)
            _, _, _, rest = nnx.split(module, nnx.Param, nnx.RngState, ...)
            return logits, nnx.to_pure_dict(rest) if train else state

        return Model(init, apply)

    return model


def _mode(module: Any, train: bool) -> dict[str, bool]:
    """Whether it is trained, under the name by which the module's call takes it."""
    names = inspect.signature(module.__call__).parameters
    modes = {"train": train, "training": train, "deterministic": not train}
    return {name: value for name, value in modes.items() if name in names}


def _logits(module: Any, output: Any, x: Array) -> Array:
    """A module's output as float32; raises `ValueError` where it is not `[B, C]`."""
    if getattr(output, "shape", ())[:1] != x.shape[:1] or output.ndim != 2:
        what = f"an array {output.shape}" if hasattr(output, "shape") else type(output).__name__
        raise ValueError(
            f"model: {type(module).__name__}'s call gives {what} for {x.shape[0]} examples, needs "
            "logits [examples, classes] and nothing else"
        )
    return output.astype(jnp.float32)


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

    The collection "params" is learned, all others are its state. Raises `ValueError`, when it is
    first called, for anything but logits `[B, C]`.
    """

    def model(data: Data) -> Model:
        module = build(data)

        def init(key: Key) -> tuple[Params, State]:
            variables = module.init(key, jnp.zeros((1, *data.x.shape[1:])), **_mode(module, False))
            return variables["params"], {k: v for k, v in variables.items() if k != "params"}

        def apply(
            params: Params, state: State, x: Array, key: Key, train: bool
        ) -> tuple[Array, State]:
            variables, rngs = {"params": params, **state}, {"dropout": key}
            how = _mode(module, train)
            if not train:
                return _logits(module, module.apply(variables, x, **how), x), state
            out, new = module.apply(variables, x, **how, rngs=rngs, mutable=list(state))
            return _logits(module, out, x), {**state, **new}

        return Model(init, apply)

    return model
