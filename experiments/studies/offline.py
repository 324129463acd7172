"""What offline attacks find: by shadow models without the records that they are asked about.

    python -m experiments.studies.offline --cifar10 FILE.npz     (without it, all other sets)
    python -m experiments.studies.offline --sets digits table

Every run's models are cut into groups, partners together; within a group each is attacked by the
others, without its partner, and the scores of all groups are pooled: so the same models show what
6, 14 and 62 references find. Of LiRA online, which needs models trained on the records, the row is
there for comparison. `more` is what the imputed attack has over another one on the same scores,
with the 95 % percentile interval of a paired bootstrap over examples. By `--results` each set's
rows are kept in a file of its own.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import jaxmia
from experiments import cifar10_small, digits, paired, rows, tabular
from jaxmia import Experiment, data, metrics, recipes
from jaxmia.attacks.references import leave_out
from jaxmia.command.terminal import guarded, parsed
from jaxmia.evaluation.power import attack_in_groups
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.training.progress import Progress

IMPUTED = "lira_offline_imputed"
ATTACKS = (
    IMPUTED, "lira_offline_student_t", "lira_offline_global_variance", "lira_online", "base",
)  # fmt: skip
LEVELS = (1e-2, 1e-3, 1e-5)
REFERENCES = (6, 14, 62)


@dataclass(frozen=True)
class Flags:
    """Which sets, and where the runs are."""

    sets: tuple[str, ...] = ()
    """Some of the sets; all without it (images only with --cifar10)."""
    cifar10: Path | None = None
    """An .npz with CIFAR-10 images: x [N, 32, 32, 3] uint8, y, x_test, y_test."""
    models: int = 0
    """Shadow models of every set, in place of the set's own number."""
    draws: int = 400
    """Draws of the paired bootstrap."""
    out: Path = Path("checkpoints/offline")
    """Folder for the runs, one of each set."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    quiet: bool = False
    """No progress."""


def wrong_labels() -> Experiment:
    """The digits with a fifth of the labels wrong."""
    pool = len(data.digits()().y)
    wrong = np.sort(np.random.default_rng(0).permutation(pool)[: pool // 5])
    source = data.mislabelled(data.digits(), wrong.tolist())
    return replace(digits.experiment, data=source, models=64)


def few_epochs() -> Experiment:
    """The digits, hardly overfitted."""
    recipe = replace(digits.experiment.recipe, epochs=8)
    return replace(digits.experiment, recipe=recipe, models=64)


def wide_table() -> Experiment:
    """As many features as a table of places visited has, and as much overfitting."""
    source = data.synthetic(examples=2000, features=446, classes=30, distance=8.0)
    return replace(tabular.experiment, data=source)


def persons() -> Experiment:
    """Records of synthetic persons, who are in or out whole."""
    recipe = recipes.sgd(mlp(32), epochs=8, batch_size=32, rate=0.05)
    return Experiment("people", data.people(600, habit=0.2), recipe, models=64)


def breast_cancer(folder: Path) -> Experiment:
    """scikit-learn's table of 569 tumours, 30 features."""
    from sklearn.datasets import load_breast_cancer

    file = folder / "breast_cancer.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        x, y = load_breast_cancer(return_X_y=True)
        np.savez(file, x=x.astype(np.float32), y=y)
    return replace(tabular.experiment, data=data.arrays(str(file)))


def images(file: Path) -> Experiment:
    """24 small CNNs on 5000 images, an image and its mirror."""
    source = data.first(data.arrays(str(file)), 5000, 2000)
    return replace(cifar10_small.experiment, data=source, models=24)


def experiments(flags: Flags) -> dict[str, Callable[[], Experiment]]:
    """The sets asked for, by name."""
    every: dict[str, Callable[[], Experiment]] = {
        "digits": lambda: digits.experiment,
        "digits_wrong_labels": wrong_labels,
        "digits_8_epochs": few_epochs,
        "table": lambda: tabular.experiment,
        "wide_table": wide_table,
        "breast_cancer": lambda: breast_cancer(flags.out),
        "people": persons,
    }
    if flags.cifar10 is not None:
        file = flags.cifar10
        every["cifar10_small"] = lambda: images(file)
    for name in flags.sets:
        if name not in every:
            raise ValueError(f"--sets: {name[:80]!r} is not one of {', '.join(every)}")
    return {k: v for k, v in every.items() if not flags.sets or k in flags.sets}


def run_of(name: str, experiment: Experiment, flags: Flags) -> jaxmia.Run:
    """The run of a set, which is opened where it is finished."""
    models = flags.models or experiment.models
    settings = replace(experiment, name=name, models=models, attacks=("lira_online",))
    return jaxmia.run(settings, Options(flags.out / name, progress=Progress(flags.quiet)))


def rows_of(name: str, run: jaxmia.Run, references: int, draws: int) -> list[dict[str, Any]]:
    """A row for each attack with so many references; where records are persons', these are drawn.

    Intervals of the figures themselves are then percentiles too, as those of differences are.
    """
    leaves = leave_out(run.member)
    size = references + leaves.fewer
    scores, truth = attack_in_groups(
        run.signals, run.member, ATTACKS, leaves, size, len(run.member)
    )
    examples, person = truth.shape[1], run.person
    weight = paired.weights(examples, draws) if person is None else paired.by_person(person)
    replicates = {k: paired.resampled(s, truth, weight, LEVELS) for k, s in scores.items()}
    rates = {k: tpr for k, (_, tpr) in replicates.items()}
    out = []
    for attack, score in scores.items():
        spans = metrics.bootstrap(score, truth, LEVELS)
        auc_ends, tpr_ends = spans.auc.tolist(), spans.tpr_at_fpr.tolist()
        if person is not None:
            auc_ends = paired.ends(replicates[attack][0])
            tpr_ends = [paired.ends(r) for r in rates[attack].T]
        row: dict[str, Any] = {
            "set": name, "attack": attack, "references": references, "targets": len(truth),
            "examples": examples, "scores": int(np.isfinite(score).sum()),
            "auc": metrics.auc(score, truth), "auc_interval": auc_ends,
            "tpr": {
                f"{level:g}": {"value": float(v), "interval": ends}
                for level, v, ends in zip(
                    LEVELS, metrics.tpr_at_fpr(score, truth, LEVELS), tpr_ends, strict=True
                )
            },
        }  # fmt: skip
        if attack != IMPUTED:
            row["more"] = {
                f"{level:g}": paired.ends(apart)
                for level, apart in zip(LEVELS, (rates[IMPUTED] - rates[attack]).T, strict=True)
            }
        out.append(row)
    return out


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows, for people: percentages with their intervals."""
    out = Table(box=None, pad_edge=False)
    for head in ("set", "references", "attack", "AUC", *(f"TPR at {x:.3g} %" for x in (1, 0.1)),
                 "TPR at 0.001 %", "imputed has more at 0.1 %"):  # fmt: skip
        out.add_column(head, justify="left" if head in ("set", "attack") else "right")
    for r in rows:
        rates = [
            f"{100 * t['value']:.2f} [{100 * t['interval'][0]:.2f}, {100 * t['interval'][1]:.2f}]"
            for t in r["tpr"].values()
        ]
        more = "{:+.2f} to {:+.2f}".format(*(100 * v for v in r["more"]["0.001"])) if (
            "more" in r
        ) else ""  # fmt: skip
        out.add_row(
            r["set"], str(r["references"]), r["attack"], f"{r['auc']:.3f}", *rates, more
        )  # fmt: skip
    return out


def main(flags: Flags) -> None:
    """Trains or opens the runs, attacks them, prints and keeps the rows."""
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False, width=180)
    for name, make in experiments(flags).items():
        run = run_of(name, make(), flags)
        fewer = leave_out(run.member).fewer
        most = run.models - fewer
        numbers = sorted({*(r for r in REFERENCES if r <= most), most})
        lines = [
            row for references in numbers for row in rows_of(name, run, references, flags.draws)
        ]
        console.print(table(lines))
        where = f" --cifar10 {flags.cifar10.name}" if name == "cifar10_small" else ""  # type: ignore[union-attr]
        command = f"python -m experiments.studies.offline --sets {name}{where}"
        common = {"command": command} | rows.about()
        if flags.json:
            print(json.dumps([row | common for row in lines]))
        if flags.results:
            rows.keep(flags.results, f"offline_{name}", lines, common)


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.offline", description=__doc__)
    guarded(lambda: main(flags))
