"""The headline: LiRA with fast networks on CIFAR-10, as far as the time reaches; a call goes on."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments import cifar10_fast
from experiments.benchmarks.accelerator import record
from experiments.benchmarks.many_models import finished
from jaxmia import data
from jaxmia.experiment import Experiment
from jaxmia.options import Options
from jaxmia.pipeline import run
from jaxmia.storage.run import Run
from jaxmia.training.interrupt import StoppedError

PART, WHAT = "headline", "cifar10_fast"
FOLDER = "cifar10_fast"  # of the run, beside the rows


def experiment(file: Path, models: int, epochs: int) -> Experiment:
    """The experiment of `experiments.cifar10_fast` on a file of images."""
    own = cifar10_fast.experiment
    recipe = replace(own.recipe, epochs=epochs or own.recipe.epochs)
    return replace(own, data=data.arrays(str(file)), models=models, recipe=recipe)


def train(out: Path, file: Path, models: int, epochs: int) -> None:
    """Trains and reports what is missing; asked to stop, it saves what it has."""
    with contextlib.suppress(StoppedError):
        run(experiment(file, models, epochs), Options(out / FOLDER))


def keep(out: Path, models: int, seconds: float, before: int, ended: str) -> None:
    """A row of this call, and what the attacks found where all models are there."""
    folder = out / FOLDER
    figures: dict[str, Any] = {
        "models": models,
        "finished": finished(folder),
        "in_this_call": finished(folder) - before,
        "seconds": round(seconds, 1),
        "ended": ended,
    }
    if (summary := summary_of(out, models)) is not None:
        figures["models_per_hour"] = summary.get("models_per_hour")
        figures["attacks"] = {
            name: {k: attack[k] for k in ("auc", "tpr_at_fpr", "intervals") if k in attack}
            for name, attack in summary["attacks"].items()
        }
    record.add(out, PART, WHAT, **figures)


def summary_of(out: Path, models: int) -> dict[str, Any] | None:
    """What was found with just so many models, if it was."""
    if not (out / FOLDER / "summary.json").exists():
        return None
    summary = Run.open(out / FOLDER).summary
    return summary if summary["models"] == models else None
