"""A block of shadow models, trained, saved and queried as one: one program for each stage."""

import functools
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Int

from jaxmia import augment
from jaxmia.data import HeldOut, held_out
from jaxmia.storage import checkpoints
from jaxmia.storage.folder import Folder
from jaxmia.training import gradients, parallel
from jaxmia.training.interrupt import Interrupt
from jaxmia.training.pool import Pool, pool
from jaxmia.training.progress import Progress
from jaxmia.training.query import querier
from jaxmia.training.start import network
from jaxmia.training.trainer import Curve, Shadow, Trainer, check, model_key, trainer
from jaxmia.types import Array, Data, Key, Recipe

QUERY_BATCH = 512  # views that one model is asked at once
POINTS = 8  # of a training at which phi is read for its trajectory, the last epoch's included


@dataclass(frozen=True)
class Programs:
    """The compiled stages for blocks of one shape, and the data on the devices.

    `init(None, keys)`, `epoch((pool, number), member, keys, shadows)` and `query(pool, shadows)`
    take and give arrays whose leading axis is the block's models; so do `gradients_of(pool,
    shadows)` and `trajectory_of(pool, shadows)`, None where no attack wants what they give.
    """

    trainer: Trainer
    mesh: Mesh
    pool: Pool
    held_out: Pool
    init: Callable
    epoch: Callable
    query: Callable
    gradients_of: Callable | None
    trajectory_of: Callable | None
    layers: tuple[str, ...]


def programs(
    recipe: Recipe,
    data: Data,
    views: Callable,
    *,
    members: int,
    width: int,
    mesh: Mesh,
    convolution: str,
    logits: bool = False,
    copies: Callable | None = None,
    extra: Collection[str] = (),
    outputs: Callable | None = None,
    put: Callable = parallel.shared,
) -> Programs:
    """Readies a recipe on the devices of a mesh; each program is compiled at its first use.

    `extra` names signals beyond the usual ones: those of `gradients.SIGNALS`, "trajectory".
    `put(tree, mesh)` gives every device the data, or its shapes where programs are only compiled.
    """
    one = trainer(recipe, data, members)
    over_models = functools.partial(
        parallel.over_models, mesh=mesh, width=width, convolution=convolution
    )
    query = querier(recipe, one.model, views, QUERY_BATCH, logits, copies, outputs)
    inside = along = None
    if observables := set(extra) & set(gradients.SIGNALS):
        platform = mesh.devices.flat[0].platform
        observe = gradients.observer(recipe, one.model, data, observables, platform)
        inside = over_models(observe)
    if "trajectory" in extra:
        look = querier(
            recipe, one.model, augment.itself, QUERY_BATCH, logits=False, outputs=outputs
        )
        along = over_models(lambda x, shadow: look(x, shadow)["phi"])
    shapes = jax.eval_shape(one.init, model_key(0, 0)).params

    def epoch(shared: tuple, member: Any, key: Any, shadow: Shadow) -> tuple[Shadow, Curve]:
        examples, number = shared
        return one.epoch(examples, member, key, number, shadow)

    return Programs(
        trainer=one,
        mesh=mesh,
        pool=put(examples(recipe, data), mesh),
        held_out=put(pool(data, data.x_test, data.y_test), mesh),
        init=over_models(lambda _, key: one.init(key)),
        epoch=over_models(epoch, donate=(2,)),
        query=over_models(query),
        gradients_of=inside,
        trajectory_of=along,
        layers=tuple(gradients.layers(shapes)),
    )


def examples(recipe: Recipe, data: Data) -> Pool:
    """The pool as a recipe's models get it; raises `ValueError` for what it cannot be used on."""
    check(recipe, network(recipe, data))
    return pool(data, data.x, data.y, held_out(data).validation if recipe.validation else None)


_RETRY = 1 << 16  # a stream of a model's key that no stage uses
_REPEAT = 1 << 17  # and another, for the model that is trained on the same set once more


def keys(
    mesh: Mesh,
    seed: int,
    models: Int[np.ndarray, " G"],
    attempts: Int[np.ndarray, " G"] | None = None,
    repeat: bool = False,
) -> Any:
    """The models' own keys, on the devices; from a further attempt on, another one of each.

    `repeat` gives those of the models that are trained once more on the same sets.
    """
    again = np.zeros(len(models)) if attempts is None else attempts

    def key_of(m: Array, attempt: Array) -> Key:
        key = model_key(seed, m)
        key = jax.random.fold_in(key, _REPEAT) if repeat else key
        anew = jax.random.fold_in(jax.random.fold_in(key, _RETRY), attempt)
        return jnp.where(attempt > 0, anew, key)

    both = (jnp.asarray(a, jnp.int32) for a in (models, again))
    return parallel.spread(jax.vmap(key_of)(*both), mesh)


class BlockResult(NamedTuple):
    """What a block's query gives: arrays `[G, ...]` for the store, facts for its record."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


class Block:
    """Some models of one block, filled up to its size with copies of the last."""

    def __init__(
        self,
        programs: Programs,
        seed: int,
        models: Sequence[int],
        member: Bool[np.ndarray, "m N"],
        size: int,
        folder: Folder,
        attempts: Sequence[int] = (),
        repeat: bool = False,
    ) -> None:
        self.programs, self.models, self.folder = programs, list(models), folder
        self.number = int(folder.name)
        filled = [*range(len(models)), *[len(models) - 1] * (size - len(models))]
        self.rows = np.asarray(models)[filled]
        self.attempts = np.asarray(attempts or [0] * len(models))[filled]
        self.keys = keys(programs.mesh, seed, self.rows, self.attempts, repeat)
        self.member = member[filled]
        self.shadows: Any = None
        self.curves = Curve(np.empty((size, 0), np.float32), np.empty((size, 0), np.float32))
        self.trajectory = np.empty((size, 0, member.shape[1]), np.float32)

    def train(self, epochs: int, every: float, progress: Progress, interrupt: Interrupt) -> None:
        """Trains all epochs, from the newest sound checkpoint on; one is saved `every` seconds.

        Raises `StoppedError` when the process is asked to stop, after a checkpoint.
        """
        p, saved = self.programs, time.time()
        member = parallel.spread(self.member, p.mesh)
        first = self._resumed(epochs, progress)
        if first:
            progress.resumed(len(self.models), first)
        for number in range(first, epochs):
            self.shadows, curve = p.epoch(
                (p.pool, jnp.int32(number)), member, self.keys, self.shadows
            )
            new = jax.device_get(curve)
            self.curves = Curve(
                *(np.c_[a, b[:, None]] for a, b in zip(self.curves, new, strict=True))
            )
            self._record_trajectory(number + 1, epochs)
            progress.advance(len(self.models), number + 1)
            if interrupt.number or (number + 1 < epochs and time.time() - saved > every):
                self._save(number + 1)
                saved = time.time()
            interrupt.check()

    def _record_trajectory(self, epoch: int, epochs: int) -> None:
        """Adds phi after this epoch to the trajectory, if it is one of its points."""
        p = self.programs
        if p.trajectory_of is not None and epoch in points(epochs):
            phi = np.asarray(p.trajectory_of(p.pool, self.shadows))[..., 0]
            self.trajectory = np.concatenate([self.trajectory, phi[:, None]], axis=1)

    def _resumed(self, epochs: int, progress: Progress) -> int:
        """The epochs that a checkpoint has behind it; fresh models without one."""
        p = self.programs
        self.shadows = p.init(None, self.keys)
        for epoch in reversed(checkpoints.epochs(self.folder)):
            if not 0 < epoch <= epochs:
                continue
            blank = np.empty((len(self.rows), epoch), np.float32)
            count = sum(at <= epoch for at in points(epochs)) if p.trajectory_of else 0
            path = np.empty((len(self.rows), count, self.member.shape[1]), np.float32)
            shadows = jax.eval_shape(lambda: self.shadows)
            like = (self._who(), shadows, Curve(blank, blank), path)
            tree, reason = checkpoints.restore(self.folder, epoch, like)
            if tree is None:
                progress.say(reason)
            elif np.array_equal(tree[0], self._who()):
                self.shadows, self.curves = parallel.spread(tree[1], p.mesh), tree[2]
                self.trajectory = tree[3]
                return epoch
        return 0

    def _save(self, epoch: int) -> None:
        tree = (self._who(), jax.device_get(self.shadows), self.curves, self.trajectory)
        checkpoints.save(self.folder, epoch, tree)

    def _who(self) -> Int[np.ndarray, "2 G"]:
        """The models, and the attempt at each: a checkpoint of others is none of theirs."""
        return np.stack([self.rows, self.attempts])

    def query(self, held_out: HeldOut) -> BlockResult:
        """Asks every model about the whole pool and the test part."""
        p, many = self.programs, len(self.models)
        inside = {k: np.asarray(v)[:many] for k, v in p.query(p.pool, self.shadows).items()}
        outside = {k: np.asarray(v)[:many] for k, v in p.query(p.held_out, self.shadows).items()}
        if p.gradients_of is not None:
            observations = p.gradients_of(p.pool, self.shadows)
            inside |= {k: np.asarray(v)[:many] for k, v in observations.items()}
        if p.trajectory_of is not None:
            inside["trajectory"] = self.trajectory[:many].swapaxes(1, 2)
        member = self.member[:many]
        arrays = {"member": member, **inside, "population": outside["phi"][:, held_out.population]}
        right = inside["margin"] > 0
        train = np.where(member, right, False).sum(1) / member.sum(1)
        test = (
            (outside["margin"][:, held_out.accuracy] > 0).mean(1)
            if len(held_out.accuracy)
            else None
        )
        numeric = ~np.isnan(inside["phi"]).any((1, 2))  # infinite phi are answers
        sound = numeric & np.isfinite(self.curves.loss[:many]).all(1)
        facts: dict[str, Any] = {
            "train_accuracy": self._by_model(train),
            "test_accuracy": self._by_model(test) if test is not None else {},
            "loss": self._by_model(self.curves.loss[:many]),
            "accuracy": self._by_model(self.curves.accuracy[:many]),
            "layers": list(p.layers),
            "diverged": [m for m, ok in zip(self.models, sound, strict=True) if not ok],
        }
        for name in [k for k in arrays if k not in ("member",)]:
            arrays[name] = np.where(_rows(sound, arrays[name]), arrays[name], np.float32(np.nan))
        return BlockResult(arrays, facts)

    def _by_model(self, values: np.ndarray) -> dict[str, Any]:
        """By model, as JSON holds it: what is not a number is None."""
        numbers = np.round(np.asarray(values, float), 6).astype(object)
        numbers[~np.isfinite(values)] = None
        return dict(zip(map(str, self.models), numbers.tolist(), strict=True))

    def keep(self, epochs: int) -> None:
        """Saves the trained models, before the block's record is written."""
        self._save(epochs)


def points(epochs: int) -> list[int]:
    """After which epochs phi is read: at most `POINTS` of them, evenly, the last one included."""
    return sorted({-(-epochs * i // POINTS) for i in range(1, POINTS + 1)})


def _rows(sound: np.ndarray, like: np.ndarray) -> np.ndarray:
    return sound.reshape(-1, *[1] * (like.ndim - 1))
