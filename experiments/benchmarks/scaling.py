"""Does a model cost the same, however many are trained: time and memory from 16 to 1024 models.

    python -m experiments.benchmarks.scaling [--quick]

The digits experiment without attacks, topped up again and again in one run folder and one process,
in blocks of 4: time per model is that of training and querying (median over the blocks of a step,
whose first one compiles), memory what the process has held at most. Rows are appended to
experiments/results/scaling.jsonl.
"""

import json
import resource
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import jaxmia
from experiments import digits
from experiments.rows import RESULTS, about
from jaxmia.command.terminal import parsed
from jaxmia.options import Options
from jaxmia.storage.store import Store
from jaxmia.training.progress import Progress

BLOCK = 4


@dataclass(frozen=True)
class Flags:
    """What is measured."""

    quick: bool = False
    """Few models and epochs, nothing kept: to see that it works."""
    out: Path = RESULTS / "scaling.jsonl"
    """The file that rows are appended to."""


def measured(path: Path, models: int, epochs: int) -> dict[str, float]:
    """Tops the run up to so many models."""
    recipe = replace(digits.experiment.recipe, epochs=epochs)
    experiment = replace(digits.experiment, models=models, recipe=recipe, attacks=())
    had = len(Store(path).records()) if (path / "experiment.json").exists() else 0
    start = time.perf_counter()
    options = Options(workdir=path, width=1, block=BLOCK, progress=Progress(quiet=True))
    jaxmia.run(experiment, options)
    whole = time.perf_counter() - start
    new = Store(path).records()[had:]
    per_model = [s / len(r["models"]) for r in new for s in r["seconds"].values()]
    return {
        "models": models,
        "model_ms": 1e3 * float(np.median(per_model)),
        "first_block_ms": 1e3 * per_model[0],
        "run_s": whole,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "phi_mib": 4 * models * 1438 / 2**20,
    }


def main() -> None:
    """Measures, prints, appends."""
    flags = parsed(
        Flags, None, prog="python -m experiments.benchmarks.scaling", description=__doc__
    )
    sizes = (4, 8) if flags.quick else (16, 64, 256, 1024)
    print(f"{'models':>7}{'ms a model':>12}{'peak memory':>14}{'phi':>10}{'whole step':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for models in sizes:
            epochs = 2 if flags.quick else digits.experiment.recipe.epochs
            row = measured(Path(folder) / "run", models, epochs)
            print(
                f"{row['models']:>7}{row['model_ms']:>12.1f}{row['peak_mib']:>10.0f} MiB"
                f"{row['phi_mib']:>6.1f} MiB{row['run_s']:>10.1f} s",
                flush=True,
            )
            if not flags.quick:
                flags.out.parent.mkdir(parents=True, exist_ok=True)
                with flags.out.open("a") as out:
                    out.write(json.dumps(row | about()) + "\n")


if __name__ == "__main__":
    main()
