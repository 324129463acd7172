"""A network of which only some parameters train, as a `Model` whose parameters are just those.

What stays is part of the compiled program, once for all models: it has no copy for each of them, no
gradient, no clipping, no noise, no optimizer state and no place in a checkpoint.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxmia.training.names import by_name, nested
from jaxmia.tuning import Parts, matrix
from jaxmia.types import Array, Key, Model, Params, State

_ADAPTERS = 1 << 18  # a stream of a model's key that no network draws from


def tuned(model: Model, parts: Parts, start: Mapping[str, np.ndarray]) -> Model:
    """The network from `start`, its arrays by name; what trains may be missing, and is drawn.

    The parameters are a tree of what trains, in which an adapter has the place of its kernel, as
    `a [in, rank]` and `b [rank, out]`. A network with running statistics keeps them, and is in
    evaluation mode while it trains: examples of a batch do not see each other.
    """
    shapes, states = jax.eval_shape(model.init, jax.random.key(0, impl="threefry2x32"))
    tree, names = jax.tree.structure(shapes), by_name(shapes)
    learned = {n: jnp.asarray(start[n]) for n in parts.trained if n in start}
    base = {n: jnp.asarray(start[n]) for n in names if n not in parts.trained}
    statistics = {n: jnp.asarray(start[n]) for n in by_name(states, "state/")}
    still = jax.tree.unflatten(jax.tree.structure(states), list(statistics.values()))

    def init(key: Key) -> tuple[Params, State]:
        fresh = by_name(model.init(key)[0])  # compiled, only what is missing is drawn
        leaves = {n: learned.get(n, fresh[n]) for n in parts.trained}
        for i, name in enumerate(parts.adapted):
            own = jax.random.fold_in(jax.random.fold_in(key, _ADAPTERS), i)
            rows, columns = matrix(names[name].shape)
            a = jax.random.normal(own, (rows, parts.rank)) / np.sqrt(rows).astype(np.float32)
            leaves |= {f"{name}/a": a, f"{name}/b": jnp.zeros((parts.rank, columns))}
        return nested(leaves), {}

    def apply(params: Params, state: State, x: Array, key: Key, train: bool) -> tuple[Array, State]:
        whole = _merged(params, base, parts, x.dtype)
        leaves = [whole[n] for n in names]
        mode = train and not statistics
        logits, _ = model.apply(jax.tree.unflatten(tree, leaves), still, x, key, mode)
        return logits, state

    return Model(init, apply)


def _merged(
    params: Params, base: Mapping[str, Array], parts: Parts, dtype: np.dtype
) -> dict[str, Array]:
    """All of a network's parameters by name, in the dtype it computes in: `W + scale A B`."""
    own = by_name(params)
    whole = {name: array.astype(dtype) for name, array in base.items()}
    for name in parts.adapted:
        product = own.pop(f"{name}/a") @ own.pop(f"{name}/b")
        whole[name] = whole[name] + parts.scale * product.reshape(whole[name].shape)
    return whole | own
