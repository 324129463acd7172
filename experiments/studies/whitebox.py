"""How much does it help an attacker to hold the parameters? Black-box against white-box attacks.

    python -m experiments.studies.whitebox          (the digits' 128 models)
    python -m experiments.studies.whitebox --speed  (how long the gradient norms of all take)

The models of `experiments.digits`, of which gradient norms (whole and of each layer), activations
and phi along the training are taken too. Every white-box attack is held against its black-box
twin on the same models and the same scores: the difference is given with the 95 % percentile
interval of a paired bootstrap over examples (one is drawn with all its targets).

A gradient's log-norm is log(1 - p) + log ||grad phi||, and the first part is black-box knowledge:
so the black-box attacks are also made on 1 - p, in place of phi, as controls.
"""

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxmia
from experiments import digits, paired, rows
from jaxmia import data, machine, metrics
from jaxmia.attacks import attack_every_model
from jaxmia.command.terminal import guarded, parsed
from jaxmia.experiment import Experiment
from jaxmia.options import Options
from jaxmia.training import block, parallel, processes
from jaxmia.training.progress import Progress
from jaxmia.types import Data, Signals

TWINS = {
    "gradient_norm": "global_threshold",
    "activations": "shadow_classifier",
    "gradients": "shadow_classifier",
    "loss_trajectory": "shadow_classifier",
    "gradient_norm_instance_threshold": "instance_threshold_phi_of_1-p",
    "gradient_norm_attack_r": "attack_r_of_1-p",
    "gradient_norm_lira_offline": "lira_offline_of_1-p",
    "gradient_norm_lira_online": "lira_online",
    "gradient_norm_layers_lira_online": "lira_online",
    "trajectory_lira_online": "lira_online",
    "joint_lira_online": "lira_online",
}
CONTROL = "_of_1-p"
BLACK = ("instance_threshold_phi", "attack_r", "lira_offline")  # that have a control
LEVELS = (1e-2, 1e-3)

experiment = replace(
    digits.experiment,
    name="whitebox",
    attacks=(
        "global_threshold",
        "shadow_classifier",
        *BLACK,
        "lira_online",
        *TWINS,
    ),
)


def controls(run: jaxmia.Run) -> dict[str, np.ndarray]:
    """The black-box attacks on -log(1 - p) = softplus(phi), the score still the higher."""
    signals = Signals(phi=np.logaddexp(0, np.asarray(run.signals.phi, np.float64)))
    scores = attack_every_model(signals, run.member, BLACK)
    return {f"{name}{CONTROL}": score for name, score in scores.items()}


@dataclass(frozen=True)
class Flags:
    """Which models, and how many draws."""

    models: int = experiment.models
    """Shadow models."""
    epochs: int = experiment.recipe.epochs
    """Epochs each is trained."""
    seed: int = experiment.seed
    """Everything random comes from it."""
    data: Path | None = None
    """An .npz with x, y instead of the digits."""
    workdir: Path = Path("checkpoints/whitebox")
    """The run folder."""
    draws: int = paired.DRAWS
    """Bootstrap draws."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    speed: bool = False
    """Only time the gradient norms of all models on all examples."""
    json: bool = False
    """Print the rows as JSON on stdout."""


def configured(flags: Flags) -> Experiment:
    """The experiment that the flags ask for."""
    recipe = replace(experiment.recipe, epochs=flags.epochs)
    variant = replace(experiment, models=flags.models, recipe=recipe, seed=flags.seed)
    return replace(variant, data=data.arrays(str(flags.data))) if flags.data else variant


def compared(
    scores: dict[str, np.ndarray], member: np.ndarray, draws: int, seed: int = 0
) -> list[dict[str, Any]]:
    """A row for each attack: its figures, and for a white-box one what it has over its twin."""
    weight = paired.weights(member.shape[1], draws, seed)
    draw = {k: paired.resampled(score, member, weight, LEVELS) for k, score in scores.items()}
    out = []
    for name, score in scores.items():
        auc = metrics.auc(score, member)
        rate = metrics.tpr_at_fpr(score, member, list(LEVELS))
        row: dict[str, Any] = {
            "attack": name,
            "auc": auc,
            "auc_interval": paired.ends(draw[name][0]),
        }
        row |= {
            f"tpr_{level:g}": {"found": float(r), "interval": paired.ends(d)}
            for level, r, d in zip(LEVELS, rate, draw[name][1].T, strict=True)
        }
        if twin := TWINS.get(name):
            row["twin"] = twin
            row["more_auc"] = auc - metrics.auc(scores[twin], member)
            row["more_auc_interval"] = paired.ends(draw[name][0] - draw[twin][0])
            other = metrics.tpr_at_fpr(scores[twin], member, list(LEVELS))
            apart = (draw[name][1] - draw[twin][1]).T
            for level, r, o, d in zip(LEVELS, rate, other, apart, strict=True):
                row[f"more_tpr_{level:g}"] = {"found": float(r - o), "interval": paired.ends(d)}
        out.append(row)
    return out


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows, for people: percentages with their intervals."""
    out = Table(box=None, pad_edge=False)
    for head in ("attack", "AUC", "TPR at 0.1 %", "against", "AUC more", "TPR more"):
        out.add_column(head, justify="left" if head in ("attack", "against") else "right")
    for r in rows:
        rate = r["tpr_0.001"]
        cells = [r["attack"], f"{r['auc']:.3f}", _percent(rate["found"], rate["interval"])]
        if "twin" in r:
            low, high = r["more_auc_interval"]
            more = r["more_tpr_0.001"]
            cells += [
                r["twin"],
                f"{r['more_auc']:+.3f} [{low:+.3f}, {high:+.3f}]",
                _percent(more["found"], more["interval"], "+"),
            ]
        out.add_row(*cells)
    return out


def _percent(value: float, interval: list[float], sign: str = "") -> str:
    low, high = (f"{100 * v:{sign}.2f}" for v in interval)
    return f"{100 * value:{sign}.2f} [{low}, {high}]"


def speed(flags: Flags) -> float:
    """Seconds for the gradient norms of all models on the pool and the test part: median of 3."""
    setup = configured(flags)
    whole = setup.data()
    assert isinstance(whole, Data)
    whole = replace(
        whole, x=np.concatenate([whole.x, whole.x_test]), y=np.concatenate([whole.y, whole.y_test])
    )
    processes.start(machine.cache_folder() / "programs")
    mesh = parallel.mesh()
    together = block.programs(
        setup.recipe,
        whole,
        setup.views,
        members=len(whole.y) // 2,
        width=1,
        mesh=mesh,
        convolution="tiled",
        extra={"gradient"},
    )
    many = -(-flags.models // mesh.devices.size) * mesh.devices.size
    models = together.init(None, block.keys(mesh, flags.seed, np.arange(many)))
    assert together.gradients_of is not None
    took = []
    for _ in range(4):
        start = time.perf_counter()
        jax.block_until_ready(together.gradients_of(together.pool, models))
        took.append(time.perf_counter() - start)
    middle = float(np.median(took[1:]))
    print(
        f"gradient norms of {many} models on {len(whole.y)} examples: {middle:.2f} s "
        f"({took[0] - middle:.1f} s to compile), {mesh.devices.size} devices"
    )
    return middle


def main(flags: Flags) -> None:
    """Runs, compares, prints; the rows are kept beside the run's summary."""
    if flags.draws < 2:
        raise ValueError(f"--draws: {flags.draws} must be 2 or more")
    if flags.speed:
        speed(flags)
        return
    options = Options(workdir=flags.workdir, progress=Progress(flags.json))
    run = jaxmia.run(configured(flags), options)
    comparison = compared(controls(run) | run.scores, run.member, flags.draws)
    (run.path / "comparison.json").write_text(json.dumps(comparison, indent=1) + "\n")
    if flags.results:
        common = {
            "models": len(run.member), "examples": run.member.shape[1], "draws": flags.draws,
            "members": int(run.member.sum()), "non_members": int((~run.member).sum()),
            "seed": flags.seed, "command": rows.command("experiments.studies.whitebox", flags),
        }  # fmt: skip
        rows.keep(flags.results, "whitebox", comparison, common | rows.about())
    if flags.json:
        print(json.dumps(comparison))
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False, width=140)
    console.print(table(comparison))
    console.print(
        f"{flags.draws} draws of {run.member.shape[1]} examples, {len(run.member)} targets; "
        f"report: {run.path / 'report' / 'index.html'}"
    )


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.whitebox", description=__doc__)
    guarded(lambda: main(flags))
