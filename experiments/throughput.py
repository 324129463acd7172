"""Shadow models an hour: jaxmia against plain JAX and a PyTorch loop, recipe by recipe.

    python -m experiments.throughput [--quick] [--recipes cnn16 resnet20]

One process; every method of a recipe is compiled and warmed up, then all are timed in turn, round
by round, and medians are compared. Each row is appended to experiments/results/throughput.jsonl.

Operations are three times the forward pass's as XLA counts them where the convolutions are its
own, whatever a method does more; bytes are those that it counts in such a step of one model, so a
method that fuses more passes may exceed a copy's roofline. `torch_pair` is two processes of the
PyTorch loop side by side, with half of the cores each. The roofline's two sides, a matrix product
and a copy on all devices, are measured in the same rounds.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import cifar10_fast, cifar10_lira, digits
from experiments.limits import Limits, copy, figures, gemm, step_of
from experiments.rows import RESULTS, about
from jaxmia import augment, data, recipes
from jaxmia.command.terminal import parsed
from jaxmia.models import cnn, conv, mlp, resnet
from jaxmia.training import block, parallel, processes
from jaxmia.training.plan import Stepper, candidates, stepper
from jaxmia.training.pool import normalised
from jaxmia.training.pool import pool as pooled
from jaxmia.training.trainer import in_dtype, trainer
from jaxmia.types import Data, Recipe


class Case(NamedTuple):
    """A recipe, examples to time it on, and how many members a model of a real run has."""

    recipe: Recipe
    data: Data
    members: int
    steps: int  # timed in a round
    shift: int  # pixels of the training augmentation


@dataclass(frozen=True)
class Flags:
    """What is timed."""

    recipes: tuple[str, ...] = ()
    """Names of recipes; all by default."""
    methods: tuple[str, ...] = ("jaxmia", "jax_sequential", "torch_loop", "torch_pair")
    """Names of methods."""
    widths: tuple[int, ...] = ()
    """Widths of jaxmia; by default those that width="auto" would try."""
    rounds: int = 7
    """Rounds, of which the median is taken."""
    quick: bool = False
    """One round with the smallest batches, to see that it works: no measurement, nothing kept."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    out: Path = RESULTS / "throughput.jsonl"
    """The file that rows are appended to."""


def images(size: int, count: int) -> Data:
    """Noise as images, which is as good as any for timing."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8)
    y = rng.integers(10, size=count).astype(np.int32)
    return Data(
        x=x,
        y=y,
        x_test=x[:0],
        y_test=y[:0],
        classes=10,
        shift=np.float32(127.5),
        scale=np.float32(127.5),
        name="noise",
    )


def cases(quick: bool) -> dict[str, Callable[[], Case]]:
    """The recipes; their images only as many as are timed, their tables whole."""

    def on_images(recipe: Recipe, size: int, steps: int, shift: int = 4) -> Case:
        if quick:
            recipe, steps = replace(recipe, batch_size=4), 1
        return Case(recipe, images(size, 2 * steps * recipe.batch_size), 25_000, steps, shift)

    def on_table(recipe: Recipe, table: Data) -> Case:
        members = len(table.y) // 2
        return Case(recipe, table, members, members // recipe.batch_size, 0)

    small = recipes.sgd(cnn(16, 32, 64), epochs=20, batch_size=128, augment=augment.none)
    residual = recipes.sgd(resnet(20), epochs=50, batch_size=128, augment=augment.flip_and_shift(4))
    return {
        "mlp_digits": lambda: on_table(digits.experiment.recipe, data.digits()()),
        "mlp_446": lambda: on_table(
            recipes.sgd(mlp(256, 128), epochs=50, batch_size=64),
            data.synthetic(examples=5000, features=446, classes=30)(),
        ),
        "cnn16": lambda: on_images(small, 16, 8, 0),
        "cnn32": lambda: on_images(small, 32, 4, 0),
        "resnet20": lambda: on_images(residual, 32, 2),
        "fast": lambda: on_images(cifar10_fast.experiment.recipe, 32, 1),
        "wrn28_2": lambda: on_images(cifar10_lira.experiment.recipe, 32, 1),
    }


def sequential(case: Case) -> Stepper:
    """Plain JAX: a jitted step of one model in a Python loop over batches and models."""
    start = time.perf_counter()
    recipe, device = case.recipe, jax.local_devices()[0]
    one = trainer(recipe, case.data, case.steps * recipe.batch_size)
    optimizer = recipe.optimizer(case.steps)
    apply = in_dtype(one.model.apply, recipe.dtype)

    def step(pool, shadow, at, key):
        x, y = pool.x[at], pool.y[at]
        x = jax.vmap(recipe.augment)(normalised(pool, x), jax.random.split(key, len(at)))
        grads, loss, state, _ = recipe.gradient(
            recipe.loss, apply, shadow.params, shadow.state, x, y, key
        )
        updates, opt = optimizer.update(grads, shadow.optimizer, shadow.params)
        params = jax.tree.map(jnp.add, shadow.params, updates)
        return shadow._replace(params=params, state=state, optimizer=opt), loss

    key = jax.random.key(0, impl="threefry2x32")
    with jax.default_device(device):
        pool = jax.device_put(pooled(case.data, case.data.x, case.data.y), device)
        shadow = one.init(key)
        at = jnp.arange(recipe.batch_size)
        compiled = jax.jit(step, donate_argnums=1).lower(pool, shadow, at, key).compile()
    rng, current = np.random.default_rng(0), [shadow]
    memory = compiled.memory_analysis()

    def seconds() -> float:
        start = time.perf_counter()
        order = rng.permutation(len(case.data.y))[: case.steps * recipe.batch_size]
        keys = jax.device_put(jax.random.split(key, case.steps), device)
        for i, at in enumerate(order.reshape(case.steps, -1)):
            current[0], loss = compiled(pool, current[0], jax.device_put(at, device), keys[i])
        jax.block_until_ready((current[0], loss))
        return (time.perf_counter() - start) / case.steps

    seconds()
    size = memory.temp_size_in_bytes + memory.argument_size_in_bytes if memory else 0
    return Stepper(seconds, time.perf_counter() - start, size)


def asking(case: Case, width: int, convolution: str) -> Callable[[], float]:
    """Seconds that one model takes for one example and view, asked as a run asks."""
    mesh = parallel.mesh()
    many = width * mesh.devices.size
    stages = block.programs(
        case.recipe, case.data, augment.itself, members=case.steps * case.recipe.batch_size,
        width=width, mesh=mesh, convolution=convolution,
    )  # fmt: skip
    state = stages.init(None, block.keys(mesh, 0, np.arange(many)))
    jax.block_until_ready(stages.query(stages.pool, state))

    def seconds() -> float:
        start = time.perf_counter()
        jax.block_until_ready(stages.query(stages.pool, state))
        return (time.perf_counter() - start) / many / len(case.data.y)

    return seconds


def methods(name: str, case: Case, flags: Flags) -> dict[tuple[str, int, str], Stepper]:
    """Everything that is timed for a recipe, by method, width and convolution."""
    mesh, out = parallel.mesh(), {}
    tried = candidates(mesh, 1 << 10, case.recipe, case.data)
    if flags.widths:
        tried = [(w, c) for w in flags.widths for c in dict.fromkeys(c for _, c in tried)]
    for width, convolution in tried if "jaxmia" in flags.methods else ():
        try:
            out["jaxmia", width, convolution] = stepper(
                replace(case.recipe, epochs=1), case.data, mesh, width, convolution, case.steps
            )
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            print(f"{name}: width {width}, {convolution}: does not fit", file=sys.stderr)
    if "jax_sequential" in flags.methods:
        out["jax_sequential", 1, conv.choices(jax.default_backend())[0]] = sequential(case)
    if {"torch_loop", "torch_pair"} & set(flags.methods):
        try:
            from experiments.benchmarks import torch_loop
        except ImportError:
            print("torch_loop: left out, PyTorch is not installed", file=sys.stderr)
            return out
        ours = jax.eval_shape(case.recipe.model(case.data).init, jax.random.key(0))[0]
        size = sum(int(np.prod(p.shape)) for p in jax.tree.leaves(ours))
        theirs = torch_loop.parameters(name, case.data)
        assert size == theirs, f"{name}: {size} parameters here, {theirs} in PyTorch"
        arguments = (name, case.recipe, case.data, case.steps, case.shift)
        if "torch_loop" in flags.methods:
            out["torch_loop", 1, "torch"] = torch_loop.stepper(*arguments)
        if "torch_pair" in flags.methods and jax.default_backend() == "cpu":
            out["torch_pair", 1, "torch"] = torch_loop.pair(*arguments)
    return out


def measured(name: str, case: Case, flags: Flags) -> list[dict[str, Any]]:
    """The rows of one recipe."""
    timed = methods(name, case, flags)
    step = step_of(case.recipe, case.data)
    rates = {"gemm": gemm(case.recipe.dtype), "copy": copy()}
    ours = [at for at in timed if at[0] == "jaxmia"]
    queries = {at: asking(case, *at[1:]) for at in ours[:1]}
    took = {at: [] for at in (*timed, *rates, "ask")}
    for _ in range(1 if flags.quick else flags.rounds):
        for at, one in timed.items():
            took[at].append(one.step_seconds())
        for at, rate in rates.items():
            took[at].append(rate())
        for seconds in queries.values():
            took["ask"].append(seconds())
    middle = {at: float(np.median(v)) for at, v in took.items() if v}
    best = min(ours, key=lambda at: middle[at], default=None)
    limits = Limits(middle["gemm"], middle["copy"])
    rows = []
    for at, one in timed.items():
        rows.append(
            {
                "recipe": name,
                "method": at[0],
                "width": at[1],
                "convolution": at[2],
                "auto": at == best,
                **figures(case.recipe, case.members, step, middle[at], limits),
                "compile_s": one.compile_seconds,
                "peak_bytes": one.bytes or None,
                "ask_us": 1e6 * middle["ask"] if at in queries else None,
                **({"measurement": False} if flags.quick else {}),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows of one recipe as lines, with the ratios to the others."""
    best = next((r for r in rows if r["auto"]), rows[0])
    lines = []
    for r in rows:
        lines.append(
            f"{r['recipe']:<11}{r['method']:<15}{r['width']:>4} {r['convolution']:<10}"
            f"{r['models_per_hour']:>11,.0f}{r['step_ms']:>10.2f} ms"
            f"{r['flops_per_s'] / 1e9:>9,.1f}{r['arithmetic_share']:>7.0%}{r['memory_share']:>7.0%}"
            f"{r['compile_s']:>8.1f} s"
            f"{(r['peak_bytes'] or 0) / 2**20:>8,.0f} MiB"
            f"{best['models_per_hour'] / r['models_per_hour']:>8.2f}{' *' if r['auto'] else ''}"
            f"{' no measurement' if 'measurement' in r else ''}"
        )
    return lines


HEAD = (
    f"{'recipe':<11}{'method':<15}{'width':>4} {'conv':<10}{'models/h':>10}{'step':>13}"
    f"{'GFLOP/s':>9}{'gemm':>7}{'copy':>7}{'compile':>10}{'memory':>12}{'auto is':>8}"
)


def main() -> None:
    """Times, prints, appends."""
    flags = parsed(Flags, None, prog="python -m experiments.throughput", description=__doc__)
    choices = cases(flags.quick)
    if unknown := set(flags.recipes) - set(choices):
        print(f"--recipes: {unknown.pop()!r} is not one of {', '.join(choices)}", file=sys.stderr)
        raise SystemExit(2)
    processes.start()
    stream = sys.stderr if flags.json else sys.stdout
    print(HEAD, file=stream)
    for name in flags.recipes or choices:
        rows = measured(name, choices[name](), flags)
        print("\n".join(table(rows)), file=stream, flush=True)
        if flags.json:
            print("\n".join(json.dumps(r) for r in rows), flush=True)
        if not flags.quick:
            flags.out.parent.mkdir(parents=True, exist_ok=True)
            with flags.out.open("a") as out:
                out.writelines(json.dumps(r | about()) + "\n" for r in rows)


if __name__ == "__main__":
    main()
