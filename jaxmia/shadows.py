"""A block of shadow models, trained and queried as one: one compiled program for each stage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from jaxmia import parallel
from jaxmia.query import asker
from jaxmia.train import Curve, Pool, Shadow, Trainer, model_key, pool, trainer
from jaxmia.types import Data, Recipe


@dataclass(frozen=True)
class Programs:
    """The compiled stages for blocks of one shape, and the data on the devices.

    `init(None, keys)`, `epoch((pool, number), member, keys, shadows)` and `ask(pool, shadows)` take
    and give arrays whose leading axis is the block's models.
    """

    trainer: Trainer
    mesh: Mesh
    pool: Pool
    held_out: Pool
    init: Callable
    epoch: Callable
    ask: Callable


def programs(
    recipe: Recipe,
    data: Data,
    views: Callable,
    *,
    members: int,
    width: int,
    mesh: Mesh,
    query_batch: int = 1024,
    logits: bool = False,
) -> Programs:
    """Readies a recipe on the devices of a mesh; nothing is compiled before its first use."""
    one = trainer(recipe, data, members)
    ask = asker(recipe, one.model, views, query_batch, logits)

    def epoch(shared: tuple, member: Any, key: Any, shadow: Shadow) -> tuple[Shadow, Curve]:
        examples, number = shared
        return one.epoch(examples, member, key, number, shadow)

    return Programs(
        trainer=one,
        mesh=mesh,
        pool=parallel.shared(pool(data, data.x, data.y), mesh),
        held_out=parallel.shared(pool(data, data.x_test, data.y_test), mesh),
        init=parallel.over_models(lambda _, key: one.init(key), mesh, width),
        epoch=parallel.over_models(epoch, mesh, width, donate=(2,)),
        ask=parallel.over_models(ask, mesh, width),
    )


def keys(programs: Programs, seed: int, models: Int[np.ndarray, " G"]) -> Any:
    """The models' own keys, on the devices."""
    made = jax.jit(jax.vmap(lambda m: model_key(seed, m)))(jnp.asarray(models, jnp.uint32))
    return parallel.spread(made, programs.mesh)
