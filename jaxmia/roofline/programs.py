"""The programs of runs, for devices that are not here: shapes stand for all arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmia import data as sources
from jaxmia.attacks import needed
from jaxmia.data.blank import ready_or_blank
from jaxmia.experiment import Experiment, members
from jaxmia.federated import fedavg
from jaxmia.models import conv
from jaxmia.training import block, parallel
from jaxmia.training.pool import pool
from jaxmia.training.trainer import model_key, trainer
from jaxmia.types import Data

# what a run asks of a block's models besides training them
QUESTIONS = ("query", "query_test", "white_box", "trajectory")


class Program(NamedTuple):
    """A program of a block of models, ready to be compiled: `lower().compile()`.

    Each chip has so many `models` of the block, and takes `width` together. The block goes through
    the program `calls` times, `steps` training steps each. `own` are a model's bytes of arguments.
    """

    name: str
    width: int
    models: int
    lower: Callable[[], Any]
    calls: int
    steps: int
    own: float


def names(experiment: Experiment) -> list[str]:
    """The programs that a run of this experiment compiles, in its order."""
    signals = needed(experiment.attacks)
    inside = {"white_box": {"gradient", "activations"}, "trajectory": {"trajectory"}}
    return ["train", *(q for q in QUESTIONS if q not in inside or inside[q] & signals)]


def of_experiment(
    experiment: Experiment, name: str, width: int, models: int, mesh: Mesh
) -> Program:
    """One of an experiment's programs; of a data set that is not prepared blanks of its shape."""
    data = sources.usable(ready_or_blank(experiment.data)())
    stages = _stages(experiment, data, width, mesh)
    many = models * mesh.devices.size
    keys = jax.eval_shape(lambda: jax.vmap(lambda m: model_key(0, m))(jnp.arange(many)))
    state = spread(jax.eval_shape(lambda k: stages.init(None, k), keys), mesh)
    keys, member = spread((keys, jax.ShapeDtypeStruct((many, len(data.y)), bool)), mesh)
    number = shared(np.int32(0), mesh)
    run, whole, *rows = {
        "train": (stages.epoch, (stages.pool, number), member, keys, state),
        "query": (stages.query, stages.pool, state),
        "query_test": (stages.query, stages.held_out, state),
        "white_box": (stages.gradients_of, stages.pool, state),
        "trajectory": (stages.trajectory_of, stages.pool, state),
    }[name]
    epochs = experiment.networks.epochs
    calls = {"train": epochs, "trajectory": len(block.points(epochs))}.get(name, 1)
    steps = stages.trainer.steps if name == "train" else 1
    own = _bytes(rows) / many
    return Program(name, width, models, lambda: run.lower(whole, *rows), calls, steps, own)


def _stages(experiment: Experiment, data: Data, width: int, mesh: Mesh) -> block.Programs:
    signals = needed(experiment.attacks)
    return block.programs(
        experiment.networks,
        data,
        experiment.views,
        members=members(experiment, data),
        width=width,
        mesh=mesh,
        convolution=conv.choices(mesh.devices.flat[0].platform)[0],
        logits="logits" in signals,
        copies=experiment.copies,
        outputs=experiment.outputs,
        extra=signals,
        put=shared,
    )


def of_federation(
    settings: fedavg.Federation, source: Callable[[], Data], width: int, mesh: Mesh
) -> Program:
    """All rounds of one federation; its models are the clients' and its steps theirs."""
    data = sources.usable(ready_or_blank(source)())
    slots = len(data.y) // settings.clients
    one = trainer(settings.recipe, data, slots // 2)
    together = width * mesh.devices.size
    clients = -(-settings.clients // together) * together
    run = parallel.with_sums(fedavg.rounds(settings, one, width, mesh), mesh)
    whole = shared((pool(data, data.x, data.y), jax.eval_shape(lambda: model_key(0, 0))), mesh)
    rows = spread((np.empty((clients, slots), np.int64), np.empty(clients, np.int64)), mesh)
    return Program(
        "federation",
        width,
        clients // mesh.devices.size,
        lambda: run.lower(whole, *rows),
        1,
        settings.rounds * settings.recipe.epochs * one.steps,
        _bytes(rows) / clients,
    )


def shared(tree: Any, mesh: Mesh) -> Any:
    """The shapes of arrays that lie whole on every device (`parallel.shared`)."""
    return _shapes(tree, NamedSharding(mesh, P()))


def spread(tree: Any, mesh: Mesh) -> Any:
    """The shapes of arrays laid over the devices along their leading axis (`parallel.spread`)."""
    return _shapes(tree, NamedSharding(mesh, P("models")))


def _shapes(tree: Any, sharding: NamedSharding) -> Any:
    def shape(a: Any) -> jax.ShapeDtypeStruct:
        # a key's type stays, any other is what JAX makes of it (int64: int32)
        key = jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
        dtype = a.dtype if key else jax.dtypes.canonicalize_dtype(a.dtype)
        return jax.ShapeDtypeStruct(a.shape, dtype, sharding=sharding)

    return jax.tree.map(shape, tree)


def _bytes(tree: Any) -> int:
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))
