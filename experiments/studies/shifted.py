"""What each attack loses where shadow models are trained on other data, or in another way.

    python -m experiments.studies.shifted
    python -m experiments.studies.shifted --shadow-data FILE.npz     (x [500 or more, 64], y)

Targets are trained on random halves of 500 digits, and these are asked about. The attacker's shadow
models are trained on halves of the same 500 (what every figure elsewhere stands for; also by half
as many, the number of those of other data), of 500 other digits, of those turned, noised, or with
rare classes, or of a file: then no shadow model has seen a query, and attacks that want such models
are left out. Or they are trained on the same 500, but another network, for another time. Everything
is asked about the same targets.

Intervals are 95 % percentiles over draws of targets, and a loss, the figure by matched shadow
models less it, is taken on the same draws. The null holds the scores against the membership of
other targets, which are independent of them: their AUC is 1/2.

2 min of one CPU core; what came out: docs/results/shifted.md.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import jaxmia
from experiments import cost, digits, paired, rows
from experiments.studies.shifted_data import (
    PART,
    QUERIES,
    SHIFTS,
    examples,
    halves_of_parts,
    shifted,
)
from jaxmia import Experiment, data, metrics
from jaxmia.attacks import attack_targets
from jaxmia.command.terminal import guarded, parsed
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.training.progress import Progress
from jaxmia.types import Recipe, Signals

WITHOUT = (
    "lira_offline", "lira_offline_imputed", "proxy_global", "proxy_class", "proxy_instance", "base",
    "rmia_offline_gamma_1", "attack_r", "instance_threshold", "class_threshold", "global_threshold",
)  # fmt: skip  # do not need models trained on the queries
ATTACKS = ("lira_online", *WITHOUT)
LEVELS = (1e-2, 1e-3)
FEWER = f"{QUERIES}, half as many"
FILE = "a file"
SCALES = {"auc": 1, "tpr_at_0.001": 100}  # a TPR in points


@dataclass(frozen=True)
class Flags:
    """How many models, and what else they are trained on."""

    targets: int = 32
    """Models that are attacked."""
    references: int = 48
    """Shadow models without each query: all on other data, half of those on the queries."""
    epochs: int = 50
    """Epochs each is trained."""
    shadow_data: Path | None = None
    """An .npz with x and y as those of the digits: one more kind of shadow data."""
    draws: int = 400
    """Draws of targets for intervals."""
    seed: int = 0
    """All that is random comes from it."""
    out: Path = Path("checkpoints/shifted")
    """Folder for the runs."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    quiet: bool = False
    """No progress."""


def recipes(flags: Flags) -> dict[str, Recipe]:
    """How shadow models are trained that are not trained as the target."""
    own = replace(digits.experiment.networks, epochs=flags.epochs)
    return {
        "a narrow network": replace(own, model=mlp(32)),
        "a third of the epochs": replace(own, epochs=max(1, flags.epochs // 3)),
    }


def trained(flags: Flags, name: str, recipe: Recipe, models: Sequence[int], seed: int):
    """The run of so many models on each part of the pool."""
    file = str(flags.shadow_data) if flags.shadow_data else None
    experiment = Experiment(
        name="shifted",
        data=shifted(file),
        recipe=recipe,
        models=sum(models),
        design=halves_of_parts(tuple(models)),
        attacks=("global_threshold",),
        seed=seed,
    )
    return jaxmia.run(experiment, Options(flags.out / name, progress=Progress(flags.quiet)))


@dataclass(frozen=True, eq=False)
class Case:
    """Shadow models of one kind, and what they say of the queries and of their own records."""

    name: str
    reference: Signals
    member: np.ndarray
    at: np.ndarray  # numbers of these examples in the pool, the queries first
    attacks: tuple[str, ...]

    def scores(self, targets: Signals) -> dict[str, np.ndarray]:
        """Of the targets about the queries, by attack `[T, PART]`."""
        reference = self.reference.examples(self.at)
        several = [targets.models(t).examples(self.at) for t in range(len(targets.phi))]
        every = attack_targets(several, reference, self.member[:, self.at], self.attacks)
        return {name: score[:, :PART] for name, score in every.items()}


def cases(flags: Flags, run: jaxmia.Run, signals: Signals) -> Iterator[Case]:
    """Matched shadow models first, then those of other data, then those trained in another way."""
    first, number = flags.targets, flags.references
    which = np.arange(first, first + 2 * number)
    queries = examples(0)
    yield Case(QUERIES, signals.models(which), run.member[which], queries, ATTACKS)
    yield Case(FEWER, signals.models(which[:number]), run.member[which[:number]], queries, ATTACKS)
    kinds = (*SHIFTS, FILE) if flags.shadow_data else SHIFTS
    for part, name in enumerate(kinds, start=1):
        which = first + number * (1 + part) + np.arange(number)
        yield Case(name, signals.models(which), run.member[which], examples(part), WITHOUT)
    for i, (name, recipe) in enumerate(recipes(flags).items(), start=1):
        other = trained(flags, f"recipe_{i}", recipe, (2 * number,), flags.seed + i)
        own = replace(other.signals, features=signals.features)
        yield Case(name, own, other.member, queries, ATTACKS)


def study(flags: Flags) -> list[dict[str, Any]]:
    """A row for each kind of shadow models and attack."""
    parts = 1 + len(SHIFTS) + (flags.shadow_data is not None)
    models = (flags.targets + 2 * flags.references, *(flags.references,) * (parts - 1))
    own = replace(digits.experiment.networks, epochs=flags.epochs)
    run = trained(flags, "data", own, models, flags.seed)
    file = str(flags.shadow_data) if flags.shadow_data else None
    signals = replace(run.signals, features=data.features(shifted(file)()))
    targets, truth = signals.models(slice(flags.targets)), run.member[: flags.targets, :PART]
    weight = paired.weights(flags.targets, flags.draws, flags.seed)
    out, matched = [], {}
    for case in cases(flags, run, signals):
        for attack, score in case.scores(targets).items():
            figures = Figures.of(score, truth, weight)
            if case.name == QUERIES:
                matched[attack] = figures
            row = {"shadows": case.name, "attack": attack, "references": len(case.member)}
            row |= {"targets": flags.targets, "queries": PART}
            row |= {"scored": int(np.isfinite(score).sum())} | figures.row()
            row["null"] = null(score, truth, weight)
            if case.name != QUERIES:
                row["loss"] = figures.below(matched[attack])
            out.append(row)
    return out


@dataclass(frozen=True, eq=False)
class Figures:
    """AUC and TPR at each level, and those of each draw of targets `[D, 1 + L]`."""

    values: np.ndarray
    draws: np.ndarray

    @classmethod
    def of(cls, score: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> "Figures":
        """Of pooled scores `[T, N]`; a target is drawn with all its queries."""
        tpr = np.asarray(metrics.tpr_at_fpr(score, truth, LEVELS))
        aucs, rates = paired.resampled(score.T, truth.T, weight, LEVELS)
        values = np.append(metrics.auc(score, truth), tpr)
        return cls(values, np.concatenate([aucs[:, None], rates], 1))

    def row(self) -> dict[str, Any]:
        """Each figure with its interval."""
        return _by_name(self.values, self.draws)

    def below(self, matched: "Figures") -> dict[str, Any]:
        """How much less than by matched shadow models."""
        return _by_name(matched.values - self.values, matched.draws - self.draws)


def _by_name(values: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    names = ("auc", *(f"tpr_at_{level:g}" for level in LEVELS))
    both = zip(names, values, draws.T, strict=True)
    return {k: {"value": float(v), "interval": paired.ends(d)} for k, v, d in both}


def null(score: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """AUC where each target's scores are held against the membership of the next."""
    return Figures.of(score, np.roll(truth, 1, axis=0), weight).row()["auc"]


def costs(flags: Flags) -> dict[str, Any]:
    """Of all models, the targets among them."""
    names = ("data", *(f"recipe_{i}" for i in range(1, 1 + len(recipes(flags)))))
    return cost.of([flags.out / name for name in names])


def table(lines: list[dict[str, Any]]) -> Table:
    """The rows, for people."""
    out = Table(box=None, pad_edge=False)
    for head in ("shadow models", "attack", "AUC", "TPR at 0.1 %", "loss of AUC", "of TPR, points"):
        out.add_column(head, justify="left" if head in ("shadow models", "attack") else "right")
    for r in lines:
        loss = r.get("loss")
        less = (
            ()
            if loss is None
            else (f"{loss['auc']['value']:+.3f}", f"{100 * loss['tpr_at_0.001']['value']:+.2f}")
        )
        tpr = f"{100 * r['tpr_at_0.001']['value']:.2f} %"
        out.add_row(r["shadows"], r["attack"], f"{r['auc']['value']:.3f}", tpr, *less)
    return out


def main(flags: Flags) -> None:
    """Trains or opens the runs, attacks the targets, prints and keeps the rows."""
    if flags.targets < 2 or flags.references < 2:
        raise ValueError(
            f"--targets {flags.targets} and --references {flags.references} must be 2 or more"
        )
    lines = study(flags)
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False, width=120)
    console.print(table(lines))
    common = {"command": rows.command("experiments.studies.shifted", flags), "seed": flags.seed}
    common["cost"] = costs(flags)
    if flags.json:
        print(json.dumps([row | common for row in lines]))
    if flags.results:
        rows.keep(flags.results, "shifted", lines, common | rows.about())


if __name__ == "__main__":
    options = parsed(Flags, None, prog="python -m experiments.studies.shifted", description=__doc__)
    guarded(lambda: main(options))
