"""Querying one model: its signals on examples under fixed views, reduced on the device."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxmia import signals
from jaxmia.training.pool import Pool, normalised
from jaxmia.training.trainer import Shadow, in_dtype
from jaxmia.types import Array, Model, Recipe


def querier(
    recipe: Recipe,
    model: Model,
    views: Callable[[Array], Array],
    batch_size: int,
    logits: bool,
    copies: Callable[[Array], Array] | None = None,
    outputs: Callable[[Array], Array] | None = None,
) -> Callable[[Pool, Shadow], dict[str, Array]]:
    """`query(pool, shadow)`: phi `[N, Q]`, and of view 0 the other signals `[N]` (logits `[N, C]`).

    With `copies` also `robustness [N]`, the share of them that is classified rightly. Networks are
    in evaluation mode, and their logits go through `outputs`. A batch holds about `batch_size`
    views.
    """
    apply = in_dtype(model.apply, recipe.dtype)
    key = jax.random.key(0, impl="threefry2x32")  # evaluation draws nothing

    def query(pool: Pool, shadow: Shadow) -> dict[str, Array]:
        def responses(x: Array, y: Array, views: Callable) -> tuple[Array, Array]:
            """Logits `[b, Q, C]` of views, and the labels `[b, Q]`."""
            inputs = jax.vmap(views)(x)  # [b, Q, ...]
            flat = inputs.reshape(-1, *inputs.shape[2:])
            z, _ = apply(shadow.params, shadow.state, flat, key, False)
            z = (outputs(z) if outputs else z).reshape(*inputs.shape[:2], -1)
            return z, jnp.broadcast_to(y[:, None], z.shape[:2])

        def batch(at: tuple[Array, Array]) -> dict[str, Array]:
            x, y = at
            z, labels = responses(normalised(pool, x), y, views)
            out = {k: of(z[:, 0], y) for k, of in signals.OF_LOGITS.items() if k != "phi"}
            out["phi"] = signals.phi(z, labels)
            if copies is not None:
                margins = signals.margin(*responses(normalised(pool, x), y, copies))
                out["robustness"] = jnp.where(jnp.isnan(margins), jnp.nan, margins > 0).mean(1)
            return out | ({"logits": z[:, 0]} if logits else {})

        examples = len(pool.y)
        most = max(_count(v, pool) for v in (views, copies) if v is not None)
        size = min(max(1, batch_size // most), examples)
        batches = [_batched(a, size) for a in (pool.x, pool.y)]
        out = lax.map(batch, tuple(batches))
        return {k: v.reshape(-1, *v.shape[2:])[:examples] for k, v in out.items()}

    return query


def _count(views: Callable[[Array], Array], pool: Pool) -> int:
    return jax.eval_shape(views, jax.ShapeDtypeStruct(pool.x.shape[1:], jnp.float32)).shape[0]


def _batched(a: Array, size: int) -> Array:
    """Cut into batches of `size`, the last one filled up with the first examples."""
    short = -len(a) % size
    return jnp.concatenate([a, a[:short]]).reshape(-1, size, *a.shape[1:])
