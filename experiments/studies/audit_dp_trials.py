"""Many trainings of one recipe, each with its canaries by fair coins, and what the models say then.

By the compiled stages of a run (`training.block`), without a run's folder: thousands of small
models are trained in less time than it would take to write about each. A model is a function of the
seed and its number, as everywhere; repetitions are further numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxmia import augment, design, machine
from jaxmia.training import block, parallel, processes
from jaxmia.types import Data, Recipe

WIDTH = 8  # models that a core trains at once


class Trials(NamedTuple):
    """Of so many models: who of the canaries was in, and what was seen when training was over."""

    member: Bool[np.ndarray, "M K"]
    phi: Float[np.ndarray, "M K"]  # of the canaries
    shadows: Any  # `training.trainer.Shadow`, its arrays [M, ...]
    accuracy: float  # on test examples, mean over the models


def trials(
    recipe: Recipe,
    data: Data,
    canaries: Sequence[int],
    runs: int,
    repetitions: int = 1,
    seed: int = 0,
    number: Callable[[int], int] = int,
) -> Iterator[Trials]:
    """Trains `runs` models for each repetition; all others of the pool are always in.

    `number(epoch)` is what the trainer is told of an epoch, which its keys are drawn by.
    """
    processes.start(machine.cache_folder() / "programs")
    mesh, draw = parallel.mesh(), design.canaries(canaries)
    expected = design.expected_members(draw, seed, len(data.y))
    together = mesh.devices.size * min(WIDTH, -(-runs // mesh.devices.size))
    stages = block.programs(
        recipe, data, augment.itself, members=expected, width=together // mesh.devices.size,
        mesh=mesh, convolution="",
    )  # fmt: skip
    member = draw(seed, runs * repetitions, len(data.y))
    for first in range(0, runs * repetitions, runs):
        models = np.arange(first, first + runs)
        rows = np.resize(models, -(-runs // together) * together)  # the last are trained twice
        keys = block.keys(mesh, seed, rows)
        inside, shadows = parallel.spread(member[rows], mesh), stages.init(None, keys)
        for epoch in range(recipe.epochs):
            shared = (stages.pool, jnp.int32(number(epoch)))
            shadows, _ = stages.epoch(shared, inside, keys, shadows)
        phi = np.asarray(stages.query(stages.pool, shadows)["phi"])[:runs, list(canaries), 0]
        margin = np.asarray(stages.query(stages.held_out, shadows)["margin"])[:runs]
        yield Trials(
            member[models][:, list(canaries)],
            phi.astype(np.float64),
            _first(shadows, runs),
            float((margin > 0).mean()),
        )


def _first(shadows: Any, runs: int) -> Any:
    import jax

    return jax.tree.map(lambda a: np.asarray(a)[:runs], shadows)
