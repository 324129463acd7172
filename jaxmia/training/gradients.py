"""Gradients and activations of one model on every example, reduced on the device.

With phi the logit of the true class's probability, the loss is softplus(-phi), so that

    log ||grad loss|| = log sigma(-phi) + log ||grad phi||

which stays exact where the gradient itself underflows: a model that is sure of an example has
1 - p_y = 0 in float32. Since d phi / d z_y = 1, the column of the true class in phi's gradient with
respect to the last kernel is that layer's input: the last hidden layer's activations, of any
network that ends in a dense layer. Networks are in evaluation mode. Nasr et al. 2019, section III.
"""

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from jaxmia import signals
from jaxmia.training.pool import Pool, normalised
from jaxmia.training.trainer import Shadow, in_dtype
from jaxmia.types import Array, Data, Model, Params, Recipe

SIGNALS = ("gradient", "activations")
BYTES = {"cpu": 4 << 20}  # of the examples' gradients at once; a CPU wants them in its cache
OTHERS = 256 << 20
STEP = 0.5  # by which a kernel is moved to see whether logits are linear in it


def layers(params: Params) -> dict[str, list[int]]:
    """The layers by name, in the order of the parameters, and the leaves that each one has."""
    leaves: dict[str, list[int]] = {}
    for number, (path, _) in enumerate(jax.tree_util.tree_flatten_with_path(params)[0]):
        words = [str(getattr(k, "key", getattr(k, "idx", k))) for k in path]
        leaves.setdefault(".".join(words[:-1]) or words[-1], []).append(number)
    return leaves


def observer(
    recipe: Recipe, model: Model, data: Data, names: Collection[str], platform: str = ""
) -> Callable[[Pool, Shadow], dict[str, Array]]:
    """`observe(pool, shadow)`: those `names` of `SIGNALS` for every example of a pool.

    `gradient [N, 1 + L]`: the logarithm of the norm of the loss's gradient, whole and of each layer
    (`layers`). `activations [N, H]`: the input of the last dense layer. Examples are taken a few at
    a time, so that their gradients fit in `BYTES` of the platform. Raises `ValueError` for
    activations of a network without a dense layer at its end.
    """
    apply = in_dtype(model.apply, recipe.dtype)
    key = jax.random.key(0, impl="threefry2x32")  # evaluation draws nothing
    last = last_kernel(model, data) if "activations" in names else None

    def phi(params: Params, state: Any, x: Array, y: Array) -> Array:
        z, _ = apply(params, state, x[None], key, False)
        return signals.phi(z, y[None])[0]

    def observe(pool: Pool, shadow: Shadow) -> dict[str, Array]:
        def one(x: Array, y: Array) -> dict[str, Array]:
            value, gradient = jax.value_and_grad(phi)(shadow.params, shadow.state, x, y)
            out = {"gradient": log_norms(value, gradient)}
            if last is not None:
                kernel = jax.tree.leaves(gradient)[last]
                binary = kernel.shape[-1] == 1  # phi is z for class 1, and -z for class 0
                out["activations"] = kernel[:, 0] * (2 * y - 1) if binary else kernel[:, y]
            return {k: v for k, v in out.items() if k in names}

        def batch(at: tuple[Array, Array]) -> dict[str, Array]:
            return jax.vmap(one)(normalised(pool, at[0]), at[1])

        examples = len(pool.y)
        size = min(examples, microbatch(shadow.params, platform))
        short = -examples % size
        parts = (jnp.concatenate([a, a[:short]]) for a in (pool.x, pool.y))
        out = lax.map(batch, tuple(a.reshape(-1, size, *a.shape[1:]) for a in parts))
        return {k: v.reshape(-1, *v.shape[2:])[:examples] for k, v in out.items()}

    return observe


def log_norms(phi: Float[Array, ""], gradient: Params) -> Float[Array, " L"]:
    """The log-norms of one example's loss gradient, whole and by layer, from phi's gradient."""
    squares = [jnp.vdot(g, g).astype(jnp.float32) for g in jax.tree.leaves(gradient)]
    by_layer = [sum(squares[i] for i in leaves) for leaves in layers(gradient).values()]
    total = jnp.stack([sum(squares), *by_layer])
    # a layer that no unit feeds has no gradient: its logarithm stops at the smallest number
    return 0.5 * jnp.log(jnp.maximum(total, jnp.finfo(jnp.float32).tiny)) - jax.nn.softplus(phi)


def microbatch(params: Params, platform: str = "") -> int:
    """How many examples' gradients are held at once, at most 64; on this machine's by default."""
    room = BYTES.get(platform or jax.default_backend(), OTHERS)
    size = sum(4 * int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
    return int(min(max(1, room // max(1, size)), 64))


def last_kernel(model: Model, data: Data) -> int:
    """Which leaf of the parameters is the kernel `[H, C]` that logits come out of.

    Told by its gradient: that of one logit has one column, which is the same whatever the kernel,
    since logits are linear in it; else an elementwise function would be taken into the activations.
    Raises `ValueError` if there is none.
    """
    params, state = model.init(jax.random.key(0, impl="threefry2x32"))
    shift, scale = (np.broadcast_to(a, data.x.shape[1:]) for a in (data.shift, data.scale))
    x = jnp.asarray((data.x[:8].astype(np.float32) - shift[None]) / scale[None])
    key = jax.random.key(0, impl="threefry2x32")

    def logit(params: Params, c: int) -> Array:
        return model.apply(params, state, x, key, False)[0][:, c].sum()

    gradient = jax.jit(jax.grad(logit), static_argnums=1)

    def columns(params: Params) -> list[list[np.ndarray]]:
        of = (jax.tree.leaves(gradient(params, c)) for c in range(min(classes, 2)))
        return [[np.asarray(leaf) for leaf in leaves] for leaves in of]

    classes = jax.eval_shape(lambda p: model.apply(p, state, x, key, False)[0], params).shape[-1]
    first = columns(params)
    for number, leaf in enumerate(jax.tree.leaves(params)):
        if leaf.ndim != 2 or leaf.shape[1] != classes:
            continue
        own = all(
            g[number][:, c].any() and not np.delete(g[number], c, 1).any()
            for c, g in enumerate(first)
        )
        if not own:
            continue
        for step in (STEP, -STEP):
            moved = columns(_moved(params, number, step))
            if not np.allclose([g[number] for g in first], [g[number] for g in moved], 1e-3, 1e-6):
                raise ValueError(
                    "activations: logits are another function of the last dense layer's output"
                )
        return number
    raise ValueError("activations: the network does not end in a dense layer [H, C]")


def _moved(params: Params, number: int, step: float) -> Params:
    """The parameters with so much added to one of their leaves."""
    leaves, tree = jax.tree.flatten(params)
    leaves[number] = leaves[number] + step
    return jax.tree.unflatten(tree, leaves)
