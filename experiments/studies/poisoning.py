"""How much more is found of chosen targets by who may add records to the training set.

    python -m experiments.studies.poisoning

Truth Serum (Tramer et al. 2022): copies of a target with one wrong label are put into every model's
training set. A model that has the target must learn its label against them, one that has not
answers with theirs; so the two are further apart than without poisons. The digits, of which some
are targets, each in a model by a coin of its own; everybody else is in all of them, and the same
coins are tossed for every number of copies. LiRA online, and a threshold on phi beside it. What the
poisons cost is in the accuracies.

2 min of one CPU core; what came out: docs/results/poisoning.md.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import jaxmia
from experiments import cost, paired, rows
from jaxmia import Experiment, data, design, metrics, recipes
from jaxmia.command.terminal import guarded, parsed
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.training.progress import Progress

ATTACKS = ("lira_online", "global_threshold")
LEVELS = (1e-2, 1e-3)


@dataclass(frozen=True)
class Flags:
    """Targets and poisons."""

    targets: int = 100
    """Examples that poisons are made for."""
    copies: tuple[int, ...] = (0, 2, 8)
    """Poisons of each target; 0 is what is found without."""
    models: int = 32
    """Models with each number of copies."""
    epochs: int = 30
    """Epochs each is trained."""
    rate: float = 0.1
    """Learning rate; one that is next to 0 leaves nothing to find."""
    width: int | str = "auto"
    """Models trained side by side; auto times what is fastest."""
    seed: int = 0
    """Everything random comes from it."""
    workdir: Path = Path("checkpoints/poisoning")
    """Folder for the runs and rows.json."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    quiet: bool = False
    """No progress."""


def targets(flags: Flags) -> tuple[int, ...]:
    """The digits that are targets; raises `ValueError` for options that do not fit."""
    examples = len(data.digits()().y)
    if not 2 <= flags.targets <= examples // 2:
        raise ValueError(f"--targets: {flags.targets} must be from 2 to {examples // 2}")
    if 0 not in flags.copies or min(flags.copies) < 0:
        raise ValueError(f"--copies: {flags.copies} must be 0 or more, 0 among them")
    order = np.random.default_rng([flags.seed, 4]).permutation(examples)
    return tuple(sorted(order[: flags.targets].tolist()))


def experiment(flags: Flags, index: tuple[int, ...], copies: int) -> Experiment:
    """Models on the digits with so many poisons of each target; those are in all of them."""
    pool = data.digits()
    return Experiment(
        name="poisoning",
        data=data.poisoned(pool, index, copies, seed=flags.seed) if copies else pool,
        recipe=recipes.sgd(mlp(128, 128), epochs=flags.epochs, rate=flags.rate),
        models=flags.models,
        design=design.canaries(index),
        attacks=ATTACKS,
        seed=flags.seed,
    )


def measured(score: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """AUC and TPRs with their intervals over targets, and draws to compare by."""
    rates = metrics.figures(score, member, LEVELS)
    spans = metrics.bootstrap(score, member, LEVELS)
    levels = [f"{level:g}" for level in LEVELS]
    return {
        "n": int(member.sum()),
        "non_members": int((~member).sum()),
        "auc": rates.auc,
        "auc_interval": spans.auc.tolist(),
        "tpr_at_fpr": dict(zip(levels, rates.tpr_at_fpr.tolist(), strict=True)),
        "tpr_interval": dict(zip(levels, spans.tpr_at_fpr.tolist(), strict=True)),
    }


def more(score: np.ndarray, before: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """What poisons add to the AUC and the TPRs, on the same draws of targets."""
    weight = paired.weights(member.shape[1], paired.DRAWS)
    (auc, rate), (auc_before, rate_before) = (
        paired.resampled(s, member, weight, LEVELS) for s in (score, before)
    )
    own, other = (metrics.figures(s, member, LEVELS) for s in (score, before))
    added = [own.auc - other.auc, *(own.tpr_at_fpr - other.tpr_at_fpr).tolist()]
    ends = [paired.ends(auc - auc_before), *map(paired.ends, (rate - rate_before).T)]
    names = ("auc", *(f"tpr_{level:g}" for level in LEVELS))
    return {
        name: {"more": value, "interval": list(span)}
        for name, value, span in zip(names, added, ends, strict=True)
    }


def run(flags: Flags) -> list[dict[str, Any]]:
    """A row for each number of copies and attack."""
    index = targets(flags)
    out, before = [], {}
    for copies in sorted(set(flags.copies)):
        folder = flags.workdir / f"copies_{copies}"
        options = Options(folder, flags.width, progress=Progress(flags.quiet))
        of = jaxmia.run(experiment(flags, index, copies), options)
        member = of.member[:, index]
        facts = {k: of.summary[k] for k in ("models", "train_accuracy", "test_accuracy")}
        facts["cost"] = cost.of([folder])
        for name in ATTACKS:
            score = np.asarray(of.scores[name])[:, index]
            row = {"copies": copies, "attack": name, "targets": len(index)} | facts
            row |= measured(score, member)
            if copies:
                row["over_none"] = more(score, before[name], member)
            else:
                before[name] = score
            out.append(row)
    (flags.workdir / "rows.json").write_text(json.dumps(out, indent=1))
    if flags.results:
        command = rows.command("experiments.studies.poisoning", flags)
        rows.keep(flags.results, "poisoning", out,
                  {"seed": flags.seed, "command": command} | rows.about())  # fmt: skip
    return out


def table(lines: list[dict[str, Any]]) -> Table:
    """The rows, for people."""
    out = Table(box=None, pad_edge=False)
    for head in ("copies", "attack", "AUC", "TPR@1%", "training", "test"):
        out.add_column(head, justify="left" if head == "attack" else "right")
    for row in lines:
        rate = f"{row['tpr_at_fpr']['0.01']:.2%}"
        accuracy = [f"{row[k]:.3f}" for k in ("train_accuracy", "test_accuracy")]
        out.add_row(str(row["copies"]), row["attack"], f"{row['auc']:.3f}", rate, *accuracy)
    return out


def main(flags: Flags) -> None:
    """Runs, and prints what was found."""
    lines = run(flags)
    if flags.json:
        print(json.dumps(lines))
    Console(file=sys.stderr if flags.json else sys.stdout, highlight=False).print(table(lines))


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.poisoning", description=__doc__)
    guarded(lambda: main(flags))
