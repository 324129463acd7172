"""The execution plan: how many models are trained together, chosen by measurement and then kept.

Weights are bit-equal only where the same program runs, so a run's plan is chosen once, by its first
start, and every later start and every worker takes it from the run folder.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxmia import augment, machine
from jaxmia.models import conv
from jaxmia.storage.files import UnwritableError, write_json
from jaxmia.training import block, parallel
from jaxmia.types import Array, Data, Recipe
from jaxmia.values import describe

BLOCK = 64  # models, where there are enough and they fit


@dataclass(frozen=True)
class Plan:
    """`width` models are vmapped together, `block` models are trained, saved and queried as one."""

    width: int
    block: int
    convolution: str


@dataclass(frozen=True)
class Trial:
    """One candidate as measured: seconds of one model's training step, of compiling; memory."""

    width: int
    convolution: str
    step_seconds: float
    compile_seconds: float
    bytes: int


def candidates(mesh: Mesh, models: int, recipe: Recipe, data: Data) -> list[tuple[int, str]]:
    """Widths and convolutions worth timing on this backend, the most likely first.

    On a CPU convolutions are mapped one model at a time whatever the width (see `models.conv`).
    """

    def once() -> Array:
        key, model = jax.random.key(0, impl="threefry2x32"), recipe.model(data)
        x = jnp.zeros((1, *data.x.shape[1:]))
        return model.apply(*model.init(key), x, key, False)[0]

    platform = mesh.devices.flat[0].platform
    most = max(1, -(-models // mesh.devices.size))
    widths = (1, 8) if platform == "cpu" else (8, 4, 16, 1, 32, 64)
    return [(w, c) for c in conv.choices(platform, once) for w in widths if w <= most]


def choose(
    recipe: Recipe,
    data: Data,
    mesh: Mesh,
    models: int,
    width: int | str = "auto",
    block: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Plan, list[Trial]]:
    """The plan for a recipe on these devices, and the measurements it rests on (none if cached).

    A given `width` is taken as it is. Raises `ValueError` for a width below 1.
    """
    tried = candidates(mesh, models, recipe, data)
    if width != "auto":
        if not (isinstance(width, int) and width >= 1):
            raise ValueError(f"width={width!r} must be 1 or more, or 'auto'")
        tried = [(width, c) for c in dict.fromkeys(c for _, c in tried)]
    trials: list[Trial] = []
    if len(tried) > 1:
        where = machine.cache_folder() / "plans" / f"{_key(recipe, data, mesh, tried)}.json"
        trials = _cached(where)
        if not trials:
            say("timing how many models to train together (once; kept for later runs)")
            trials = measure(recipe, data, mesh, tried)
            with contextlib.suppress(UnwritableError):  # it is measured again next time
                write_json(where, [asdict(t) for t in trials])
        best = min(trials, key=lambda t: t.step_seconds)
        tried = [(best.width, best.convolution)]
    ((g, convolution),) = tried
    return Plan(g, block_size(g, mesh.devices.size, models, block), convolution), trials


def block_size(width: int, devices: int, models: int, block: int | None = None) -> int:
    """The models of a block: as asked for, or `BLOCK` where there are so many, in whole turns."""
    together = width * devices
    size = min(models, BLOCK) if block is None else block
    return together * max(1, -(-size // together))


def measure(
    recipe: Recipe, data: Data, mesh: Mesh, tried: list[tuple[int, str]], steps: int = 6
) -> list[Trial]:
    """Times a few steps of every candidate, interleaved; one that does not fit is left out."""
    short = replace(recipe, epochs=1)
    runs = {}
    for width, convolution in tried:
        try:
            runs[width, convolution] = stepper(short, data, mesh, width, convolution, steps)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
    seconds: dict = {at: [] for at in runs}
    for _ in range(3):
        for at, one in runs.items():
            seconds[at].append(one.step_seconds())
    return [
        Trial(width, convolution, float(np.median(took)), one.compile_seconds, one.bytes)
        for ((width, convolution), one), took in zip(runs.items(), seconds.values(), strict=True)
    ]


class Stepper(NamedTuple):
    """A compiled epoch: `step_seconds()` runs it once and gives the time of one model's step."""

    step_seconds: Callable[[], float]
    compile_seconds: float
    bytes: int  # of the program and its arguments, on one device


def stepper(
    recipe: Recipe, data: Data, mesh: Mesh, width: int, convolution: str, steps: int
) -> Stepper:
    """Readies an epoch of at most `steps` steps of `width` models on every device."""
    start = time.perf_counter()
    members = max(1, min(steps * recipe.batch_size, len(data.y) // 2))
    many = width * mesh.devices.size
    stages = block.programs(
        recipe,
        data,
        augment.itself,
        members=members,
        width=width,
        mesh=mesh,
        convolution=convolution,
    )
    keys = block.keys(mesh, 0, np.arange(many))
    member = parallel.spread(np.arange(len(data.y))[None] % 2 == np.arange(many)[:, None] % 2, mesh)
    state = stages.init(None, keys)
    shared = (stages.pool, jnp.int32(0))
    compiled = stages.epoch.lower(shared, member, keys, state).compile()
    memory = compiled.memory_analysis()
    size = memory.temp_size_in_bytes + memory.argument_size_in_bytes if memory else 0
    state, _ = jax.block_until_ready(compiled(shared, member, keys, state))
    seconds = time.perf_counter() - start
    current = [state]

    def run() -> float:
        start = time.perf_counter()
        current[0], _ = jax.block_until_ready(compiled(shared, member, keys, current[0]))
        return (time.perf_counter() - start) / stages.trainer.steps / many

    return Stepper(run, seconds, size)


def _key(recipe: Recipe, data: Data, mesh: Mesh, tried: list) -> str:
    device = mesh.devices.flat[0]
    facts = [
        describe(replace(recipe, epochs=1)),
        [list(data.x.shape), str(data.x.dtype), data.classes],
        [device.device_kind, mesh.devices.size, jax.__version__, machine.cores()],
        tried,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _cached(where: Path) -> list[Trial]:
    try:
        return [Trial(**t) for t in json.loads(where.read_text())]
    except (OSError, ValueError, TypeError):
        return []
