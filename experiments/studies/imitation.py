"""Do shadow models that imitate the target find more than ordinary ones (IMIA)?

    python -m experiments.studies.imitation --results experiments/results

Targets are models of the digits, each on a random half of the pool. For each, a few models on
halves of their own imitate it: its logits on their members draw them for the last fifth of their
epochs (`jaxmia.imitation`). The attacker is asked about the pool that he trains on. What they find
is held against three attacks at equal cost, by ordinary shadow models in the imitators' place: the
same score, so that imitation is all that differs, LiRA with one variance for all and with the
Student-t, and BASE. And against the same score by imitators of another target, which is all that
somebody has who made imitators once, for all targets. `more` is what the imitators' score has over
another one on the same targets, with the 95 % percentile interval of a paired bootstrap over
examples; `over_ordinary` is what another target's imitators have over ordinary models. `cost` is
of the ordinary models, shared by all targets, and of the imitators.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import cost, digits, paired, rows
from jaxmia import Experiment, metrics
from jaxmia.attacks import attack_targets
from jaxmia.attacks.imitative import MOST, imitative
from jaxmia.blocks import train
from jaxmia.command.terminal import guarded, parsed
from jaxmia.imitation import WARM_UP, answered, imitating
from jaxmia.options import Options
from jaxmia.storage.run import read_signals
from jaxmia.training.progress import Progress
from jaxmia.types import Signals
from jaxmia.work import opened

OWN, SAME, OTHER = "imitative", "imitative_ordinary", "imitative_other"
CONTROLS = ("lira_online_global_variance", "lira_online", "base")
LEVELS = (1e-2, 1e-3)


@dataclass(frozen=True)
class Flags:
    """How many, and where the runs are."""

    targets: int = 16
    """Models that are imitated and attacked."""
    imitators: int = MOST
    """Models that imitate each target."""
    warm_up: float = WARM_UP
    """Share of the epochs before they do."""
    epochs: int = 0
    """Epochs of every model, in place of the experiment's own."""
    out: Path = Path("checkpoints/imitation")
    """Folder for the runs."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    quiet: bool = False
    """No progress."""


def signals_of(
    experiment: Experiment, name: str, flags: Flags, keep_logits: bool = False
) -> tuple[Signals, np.ndarray]:
    """What was seen of an experiment's models, trained unless they are there, and their members."""
    how = Options(
        flags.out / name, min(experiment.models, 64), keep_logits=keep_logits,
        progress=Progress(flags.quiet),
    )  # fmt: skip
    work = opened(replace(experiment, name=name), how)
    train(work)
    signals, member = read_signals(work.store, experiment.models)
    return replace(signals, population=None), member


def scores_of(flags: Flags) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The scores of every attack on all targets, and whom these were trained on."""
    plain = replace(digits.experiment, attacks=())
    if flags.epochs:
        plain = replace(plain, recipe=replace(plain.recipe, epochs=flags.epochs))
    inside = 2 * MOST  # of complementary halves: each example is in so many
    shadows = replace(plain, models=inside + flags.imitators)
    reference, member = signals_of(shadows, "shadows", flags)
    targets, truth = signals_of(
        replace(plain, models=flags.targets, seed=1), "targets", flags, keep_logits=True
    )
    logits, shape = np.asarray(targets.logits), plain.data().x.shape[1:]
    phi = np.asarray(reference.phi)
    first = phi[:inside], member[:inside]
    every, near = np.asarray(targets.phi), []
    for t in range(flags.targets):
        imitators = replace(
            plain, models=flags.imitators, seed=100 + t, data=answered(plain.data, logits[t]),
            recipe=imitating(plain.recipe, shape, flags.warm_up),
        )  # fmt: skip
        signals, of_near = signals_of(imitators, f"imitators_{t:02}", flags)
        near.append((np.asarray(signals.phi), of_near))
    places = {
        OWN: near,
        SAME: [(phi[inside:], member[inside:])] * flags.targets,
        OTHER: [*near[1:], near[0]],
    }
    scores = {
        name: np.stack(
            [
                imitative(own, out, of_out, *first)
                for own, (out, of_out) in zip(every, of, strict=True)
            ]
        )
        for name, of in places.items()
    }
    several = [targets.models(t) for t in range(flags.targets)]
    return scores | attack_targets(several, reference, member, CONTROLS), truth


def costs(flags: Flags) -> dict[str, Any]:
    """Of the ordinary shadow models, which serve all targets, and of all imitators."""
    own = [flags.out / f"imitators_{t:02}" for t in range(flags.targets)]
    return {"shared": cost.of([flags.out / "shadows"]), "own": cost.of(own)}


def rows_of(scores: dict[str, np.ndarray], truth: np.ndarray, flags: Flags) -> list[dict[str, Any]]:
    """A row for each attack: pooled figures with intervals, the AUC over targets, differences."""
    weight = paired.weights(truth.shape[1], paired.DRAWS)
    draws = {k: paired.resampled(s, truth, weight, LEVELS) for k, s in scores.items()}

    def apart(one: str, other: str) -> dict[str, list[float]]:
        (auc, tpr), (auc_other, tpr_other) = draws[one], draws[other]
        ends = {
            f"{level:g}": paired.ends(d)
            for level, d in zip(LEVELS, (tpr - tpr_other).T, strict=True)
        }
        return ends | {"auc": paired.ends(auc - auc_other)}

    out = []
    for attack, score in scores.items():
        spans = metrics.bootstrap(score, truth, LEVELS)
        own = [metrics.auc(s, m) for s, m in zip(score, truth, strict=True)]
        auc, tpr = metrics.auc(score, truth), metrics.tpr_at_fpr(score, truth, LEVELS)
        row: dict[str, Any] = {
            "attack": attack, "targets": len(truth), "examples": truth.shape[1],
            "imitators": flags.imitators, "shadows": 2 * MOST + flags.imitators,
            "warm_up": flags.warm_up, "auc": auc, "auc_interval": spans.auc.tolist(),
            "auc_of_targets": [float(np.mean(own)), float(np.std(own, ddof=1))],
            "tpr": {
                f"{level:g}": {"value": float(v), "interval": ends}
                for level, v, ends in zip(LEVELS, tpr, spans.tpr_at_fpr.tolist(), strict=True)
            },
        }  # fmt: skip
        if attack != OWN:
            row["more"] = apart(OWN, attack)
        if attack == OTHER:
            row["over_ordinary"] = apart(OTHER, SAME)
        out.append(row)
    return out


def table(lines: list[dict[str, Any]]) -> Table:
    """The rows, for people."""
    out = Table(box=None, pad_edge=False)
    for head in ("attack", "AUC", "over targets", "TPR at 1 %", "TPR at 0.1 %", "imitative has"):
        out.add_column(head, justify="left" if head == "attack" else "right")
    for r in lines:
        rates = [
            f"{100 * t['value']:.2f} [{100 * t['interval'][0]:.2f}, {100 * t['interval'][1]:.2f}]"
            for t in r["tpr"].values()
        ]
        more = "{:+.3f} to {:+.3f} of AUC".format(*r["more"]["auc"]) if "more" in r else ""
        mean, sd = r["auc_of_targets"]
        out.add_row(r["attack"], f"{r['auc']:.3f}", f"{mean:.3f} ± {sd:.3f}", *rates, more)
    return out


def main(flags: Flags) -> None:
    """Trains or opens the runs, attacks the targets, prints and keeps the rows."""
    if flags.targets < 2 or flags.imitators < 2 or flags.imitators % 2:
        raise ValueError(
            f"--targets {flags.targets} must be 2 or more, --imitators {flags.imitators} even"
        )
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False, width=140)
    lines = rows_of(*scores_of(flags), flags)
    console.print(table(lines))
    command = rows.command("experiments.studies.imitation", flags)
    common = {"cost": costs(flags), "command": command} | rows.about()
    if flags.json:
        print(json.dumps([line | common for line in lines]))
    if flags.results:
        rows.keep(flags.results, "imitation", lines, common)


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.imitation", description=__doc__)
    guarded(lambda: main(flags))
