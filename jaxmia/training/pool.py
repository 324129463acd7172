"""The examples on the devices, and how a network sees them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Num

from jaxmia.types import Array, Data, Key


class Pool(NamedTuple):
    """The examples on the device, as they were stored; all models of a device share them."""

    x: Num[Array, "N ..."]
    y: Int[Array, " N"]
    shift: Float[Array, "..."]
    scale: Float[Array, "..."]
    x_validation: Num[Array, "V ..."] | None = None  # outside of the pool, for defences
    y_validation: Int[Array, " V"] | None = None


def pool(
    data: Data, x: np.ndarray, y: np.ndarray, validation: Int[np.ndarray, " V"] | None = None
) -> Pool:
    """Examples of a data set as a model gets them; those for validation by their test numbers."""
    scaling = (np.asarray(data.shift, np.float32), np.asarray(data.scale, np.float32))
    if validation is None:
        return Pool(x, y, *scaling)
    outside = data.y_test[validation]
    if lacking := sorted(set(np.unique(y).tolist()) - set(outside.tolist())):
        raise ValueError(
            f"{data.name}: classes {lacking[:5]} have no validation example among the "
            f"{len(outside)} of the test part, which the defence compares with"
        )
    return Pool(x, y, *scaling, data.x_test[validation], outside)


def normalised(pool: Pool, x: Num[Array, "B ..."]) -> Float[Array, "B ..."]:
    """Examples as the network sees them: `(x - shift) / scale`."""
    shift, scale = (jnp.broadcast_to(a, x.shape) for a in (pool.shift, pool.scale))
    return (x.astype(jnp.float32) - shift) / scale


def like(pool: Pool, y: Int[Array, " B"], key: Key) -> Float[Array, "B ..."]:
    """For each label a validation example that has it, drawn uniformly, as the network sees it."""
    assert pool.x_validation is not None and pool.y_validation is not None
    same = jnp.asarray(pool.y_validation)[None, :] == y[:, None]
    draw = jax.random.uniform(key, same.shape)
    index = jnp.where(same, draw, -1.0).argmax(1)
    return normalised(pool, jnp.asarray(pool.x_validation)[index])
