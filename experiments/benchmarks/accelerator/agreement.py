"""Whether the device trains and asks as a CPU does: phi of few models after a few steps of both.

No two machines round alike, so the yardstick is rounding itself: how far phi of the same models,
computed by the CPU in bfloat16, is from that in float32. A device's float32 (TF32 on NVIDIA's) may
be as far from the CPU's as that, its bfloat16 twice as far. Training moves phi by many times more,
which a row says too: a check in which nothing moves is none.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.accelerator import record
from jaxmia import augment, data, recipes
from jaxmia.blocks import train
from jaxmia.defences import dp_sgd
from jaxmia.experiment import Experiment
from jaxmia.models import cnn, fast, mlp, resnet
from jaxmia.options import Options
from jaxmia.storage.run import read_signals
from jaxmia.training.progress import Progress
from jaxmia.types import Data, Recipe
from jaxmia.values import describe
from jaxmia.work import opened

PART, REFERENCE = "agreement", "reference"
ALLOWED = {"float32": 1.0, "bfloat16": 2.0}  # times the yardstick
MOVED = 4.0  # times what is allowed: less says nothing
STILL = 1e-30  # a learning rate


class Case(NamedTuple):
    """A recipe by its learning rate, the data it is trained on, the views it is asked in."""

    recipe: Callable[[float], Recipe]
    data: Callable[[], Data]
    rate: float
    views: Callable = augment.itself


def cases() -> dict[str, Case]:
    """What is compared: three recipes, one of DP-SGD, and the question in 18 views alone."""
    some = {"epochs": 2, "batch_size": 32}

    def of_table(rate: float) -> Recipe:
        return recipes.sgd(mlp(64, 64), rate=rate, **some)

    def residual(rate: float) -> Recipe:
        return recipes.sgd(resnet(8), rate=rate, augment=augment.flip_and_shift(2), **some)

    def in_bfloat16(rate: float) -> Recipe:
        return recipes.sgd(fast(16, 32, 64), rate=rate, dtype="bfloat16", **some)

    def private(rate: float) -> Recipe:
        plain = replace(recipes.sgd(cnn(8, 16), rate=rate, **some), batches="poisson")
        return dp_sgd(plain, noise_multiplier=0.5)

    table = data.synthetic(examples=256, features=32, classes=10)
    pictures = data.synthetic(examples=128, features=768, classes=10, shape=(16, 16, 3))
    return {
        "mlp": Case(of_table, table, 0.05),
        "resnet8": Case(residual, pictures, 0.1),
        "fast_bfloat16": Case(in_bfloat16, pictures, 0.1),
        "dp_sgd": Case(private, pictures, 0.5),
        "query_18_views": Case(residual, pictures, STILL, augment.shifted_views(4, 2)),
    }


def reference(out: Path, quick: bool) -> None:
    """Computes, on this process's CPU, what the device is compared with; kept beside the rows."""
    for name, case in some_of(quick).items():
        try:
            file = _file(out, name, case)
            single = replace(case.recipe(case.rate), dtype="float32")
        except ValueError as error:  # a package is missing
            record.add(out, REFERENCE, name, left_out=str(error))
            continue
        if file.exists():
            continue
        own = {
            "float32": phi(single, case),
            "bfloat16": phi(replace(single, dtype="bfloat16"), case),
            "start": phi(replace(case.recipe(STILL), dtype="float32"), case),
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new.npz")
        np.savez(new, **own)
        new.replace(file)


def compare(out: Path, quick: bool) -> None:
    """A row for each case, of the device that this process has."""
    for name, case in some_of(quick).items():
        if record.there(out, PART, name):
            continue
        try:
            recipe, file = case.recipe(case.rate), _file(out, name, case)
        except ValueError as error:  # a package is missing
            record.add(out, PART, name, left_out=str(error))
            continue
        if not file.exists():
            record.add(out, PART, name, left_out="there is no answer of a CPU")
            continue
        with np.load(file) as of_cpu:
            row = verdict(phi(recipe, case), dict(of_cpu), recipe.dtype, asks=case.rate == STILL)
        record.add_measured(out, PART, name, **row)


def some_of(quick: bool) -> dict[str, Case]:
    """All cases; of a trial the first and the private one."""
    return {k: v for k, v in cases().items() if not quick or k in ("mlp", "dp_sgd")}


def verdict(
    ours: np.ndarray, of_cpu: dict[str, np.ndarray], dtype: str, asks: bool = False
) -> dict[str, Any]:
    """How far phi is from the CPU's, beside what rounding does, and whether that may be.

    Of a question alone (`asks`) it need not have moved.
    """
    single, theirs = of_cpu["float32"], of_cpu[dtype]
    allowed = ALLOWED[dtype] * _rms(of_cpu["bfloat16"] - single)
    difference, moved = _rms(ours - theirs), _rms(single - of_cpu["start"])
    return {
        "dtype": dtype,
        "models": len(ours),
        "difference": difference,
        "largest": float(np.abs(ours - theirs).max()),
        "allowed": allowed,
        "moved": None if asks else moved,
        "agrees": difference <= allowed and (asks or moved >= MOVED * allowed),
    }


def phi(recipe: Recipe, case: Case) -> np.ndarray:
    """Phi `[M, N, Q]` of four models of a run, trained and asked as any run is."""
    experiment = Experiment(
        "agreement", case.data, recipe, 4, views=case.views, attacks=("lira_online",)
    )
    with tempfile.TemporaryDirectory() as folder:
        options = Options(Path(folder) / "run", width=2, progress=Progress(quiet=True))
        work = opened(experiment, options)
        train(work)
        signals, _ = read_signals(work.store, experiment.models)
        return np.array(signals.phi, np.float64)


def _file(out: Path, name: str, case: Case) -> Path:
    """Where the CPU's answer to just this case lies."""
    facts = [describe(case.recipe(case.rate)), describe(case.data), describe(case.views)]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return out / REFERENCE / f"{name}_{digest}.npz"


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
