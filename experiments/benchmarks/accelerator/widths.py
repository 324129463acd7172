"""Models an hour by width on the device, and the compiled programs' bound beside it."""

import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.accelerator import record
from experiments.limits import Limits, copy, figures, gemm, step_of
from experiments.throughput import Case, cases, images
from jaxmia.experiment import Experiment
from jaxmia.models import conv
from jaxmia.roofline import programs
from jaxmia.roofline.bound import bound
from jaxmia.roofline.child import EndedError, in_child
from jaxmia.roofline.compiled import compiled
from jaxmia.roofline.devices import CHIPS, accelerator
from jaxmia.training import parallel
from jaxmia.training.plan import stepper
from jaxmia.types import Data
from jaxmia.values import factory

PART, BOUND = "widths", "bound"
RECIPES = ("fast", "resnet20", "mlp_446")
WIDTHS = (8, 1, 32, 4, 16, 64)  # the most telling first
STEPS = 16  # of one timed epoch
ROUNDS = 5
# how a driver calls a chip, where that is not its name
DRIVERS = {"TPU v5 lite": "v5e", "TPU v5": "v5p", "TPU v6 lite": "v6e", "TPU v4": "v4"}


def case_of(name: str, quick: bool) -> Case:
    """A recipe of the throughput benchmark, in epochs as long as an accelerator wants them."""
    case = cases(quick)[name]()
    if case.data.x.ndim < 4:
        return case
    steps = 1 if quick else STEPS
    size = case.data.x.shape[1]
    return case._replace(data=images(size, 2 * steps * case.recipe.batch_size), steps=steps)


def sweep(out: Path, quick: bool) -> None:
    """A row for each recipe and width: every recipe at one width before the next width."""
    widths = (2, 1) if quick else WIDTHS
    names = RECIPES[2:] if quick else RECIPES
    limits_of: dict[str, tuple] = {}
    for width in widths:
        for name in names:
            what = f"{name} {width}"
            if record.there(out, PART, what):
                continue
            case = case_of(name, quick)
            if name not in limits_of:
                dtype = case.recipe.dtype
                limits_of[name] = (step_of(case.recipe, case.data), gemm(dtype), copy())
            row = timed(case, width, 1 if quick else ROUNDS, *limits_of[name])
            record.add_measured(out, PART, what, recipe=name, width=width, **row)


def timed(case: Case, width: int, rounds: int, step: Any, gemm: Any, copy: Any) -> dict[str, Any]:
    """A width's figures, or that it does not fit; limits are measured in the same rounds."""
    convolution = conv.choices(jax.default_backend())[0]
    recipe = replace(case.recipe, epochs=1)
    try:
        one = stepper(recipe, case.data, parallel.mesh(), width, convolution, case.steps)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"too_large": "for the device's memory"}
    took = np.array([(one.step_seconds(), gemm(), copy()) for _ in range(rounds)])
    seconds, *limits = np.median(took, 0)
    return {
        **figures(case.recipe, case.members, step, float(seconds), Limits(*map(float, limits))),
        "convolution": convolution,
        "gemm_tflops": limits[0] / 1e12,
        "copy_tbs": limits[1] / 1e12,
        "compile_s": one.compile_seconds,
        "peak_bytes": one.bytes,
    }


@factory
def timed_data(name: str, quick: bool) -> Any:
    """The data of a recipe, by name: what a compiler's process can be handed."""

    def load() -> Data:
        return case_of(name, quick).data

    return load


def kind_of(driver: str) -> str | None:
    """The chip of `roofline` that a driver calls so, if it is one of them."""
    for called, kind in DRIVERS.items():
        if driver == called:
            return kind
    words = set(re.findall(r"[a-z]\d+", driver.lower()))
    return next((kind for kind in CHIPS if kind in words), None)


def bounds(out: Path, quick: bool) -> None:
    """Beside each recipe's best width what its compiled program takes at least on this chip."""
    best: dict[str, dict[str, Any]] = {}
    for row in record.read(out):
        if row["part"] == PART and "models_per_hour" in row:
            other = best.get(row["recipe"], {"models_per_hour": 0})
            best[row["recipe"]] = max(row, other, key=lambda r: r["models_per_hour"])
    for name, row in best.items():
        what = f"{name} {row['width']}"
        if not record.there(out, BOUND, what):
            record.add(out, BOUND, what, recipe=name, width=row["width"], **_bound(row, quick))


def _bound(row: dict[str, Any], quick: bool) -> dict[str, Any]:
    driver = row["device"].split(" x ")[-1]
    if (kind := kind_of(driver)) is None:
        return {"no_bound": f"no figures of a chip called {driver!r}"}
    on = accelerator(kind if kind[0] != "v" else f"tpu-{kind}-8")
    name, width = row["recipe"], row["width"]
    recipe = case_of(name, quick).recipe
    experiment = Experiment(name, timed_data(name, quick), recipe, 64)
    build = functools.partial(programs.of_experiment, experiment, "train", width, width)
    try:
        program = in_child(compiled, build, on)
    except (EndedError, ValueError) as error:
        return {"left_out": str(error)}
    step = program.costs.total.times(1 / program.steps / program.models)
    least = bound(step, on.chip, recipe.dtype)
    return {
        "bound_step_ms": 1e3 * least.seconds,
        "share": 1e3 * least.seconds / row["step_ms"],
        "limits_ms": {k: 1e3 * v for k, v in least._asdict().items()},
        "step": step._asdict(),
    }
