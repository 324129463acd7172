"""Does DP-SGD keep what its accountant promises? An audit with mislabelled canaries, on digits.

    python -m experiments.studies.audit_dp

For each epsilon, and for no privacy at all, models are trained on the digits, among which canaries
with a wrong label are each in by a fair coin (`design.canaries`); jax-privacy clips and adds the
noise, its accountant says what is promised (add/remove, at delta). Every model is attacked by LiRA
online with the others as references, black-box. Against the promise stand

- the ROC of the canaries under the accountant's bound, which no attack can pass (a bound; the ROC
  is pooled over dependent canaries and models, an estimate);
- a lower bound of epsilon from one canary in many independent runs: canary and threshold chosen on
  the first quarter of the models, Clopper-Pearson on the others, whose scores are its phi;
- one-run audits (Steinke, Nasr & Jagielski 2023; for a Gaussian mechanism Mahloujifar, Melis &
  Chaudhuri 2024), a lower bound from every single model, 95 % each.

Some 4 min on 2 shared CPU cores; what came out: docs/results/audit_dp.md. Black-box audits of so
few digits refute no promise, and do not say that the promise is tight.
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
from experiments import rows
from jaxmia import Experiment, data, defences, design, metrics, privacy, recipes
from jaxmia.command.terminal import guarded, parsed
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.report import figures
from jaxmia.storage.run import Run
from jaxmia.training.progress import Progress
from jaxmia.types import Recipe

ATTACK = "lira_online"
LEVELS = (1e-1, 1e-2, 1e-3)


@dataclass(frozen=True)
class Flags:
    """What is promised, and how it is tried."""

    epsilons: tuple[float, ...] = (4.0, 32.0)
    """The epsilons that the noise is calibrated to; models without privacy come on top."""
    delta: float = 1e-5
    """The delta of all of them."""
    models: int = 32
    """Models of each epsilon."""
    canaries: int = 400
    """Mislabelled digits that are in by a coin each; the other 1438 less so many are always in."""
    guesses: int = 40
    """Canaries of one model that are guessed to be in, and as many out, in a one-run audit."""
    epochs: int = 20
    """Epochs each model is trained."""
    clip: float = 1.0
    """The norm that each example's gradient is clipped to."""
    seed: int = 0
    """All that is random comes from it."""
    out: Path = Path("checkpoints/audit_dp")
    """Folder for the runs, rows.json and the figure."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    quiet: bool = False
    """No progress."""


def recipe_of(flags: Flags, epsilon: float | None) -> Recipe:
    """The same network and steps with the noise for an epsilon, or without clipping and noise."""
    plain = recipes.sgd(
        mlp(64), epochs=flags.epochs, batch_size=256, rate=0.5, momentum=0.0, weight_decay=0.0
    )
    if epsilon is None:
        return plain
    return defences.dp_sgd(
        plain, epsilon=epsilon, delta=flags.delta, clip=flags.clip, microbatch=None
    )


def trained(flags: Flags, epsilon: float | None) -> Run:
    """The models of one epsilon, attacked."""
    canaries = tuple(range(flags.canaries))
    experiment = Experiment(
        name="audit_dp",
        data=data.mislabelled(data.digits(), canaries, seed=flags.seed),
        recipe=recipe_of(flags, epsilon),
        design=design.canaries(canaries),
        models=flags.models,
        attacks=(ATTACK,),
        seed=flags.seed,
    )
    folder = flags.out / ("none" if epsilon is None else f"epsilon_{epsilon:g}")
    return jaxmia.run(experiment, Options(workdir=folder, progress=Progress(flags.quiet)))


def audited(flags: Flags, epsilon: float | None) -> dict[str, Any]:
    """What is promised of these models and what was found of them."""
    shadow_run = trained(flags, epsilon)
    canary = slice(0, flags.canaries)
    score, member = shadow_run.scores[ATTACK][:, canary], shadow_run.member[:, canary]
    phi = np.asarray(shadow_run.signals.phi)[:, canary, 0]
    promise = shadow_run.summary.get("differential_privacy")
    rates, spans = metrics.figures(score, member, LEVELS), metrics.bootstrap(score, member, LEVELS)
    curve = metrics.roc(score, member)
    points = np.searchsorted(curve.fpr, np.geomspace(1e-4, 1, 300), side="right") - 1
    keep = np.unique(points)
    out: dict[str, Any] = {
        "epsilon": epsilon,
        "promise": promise,
        "models": len(member),
        "canaries": flags.canaries,
        "train_accuracy": shadow_run.summary["train_accuracy"],
        "test_accuracy": shadow_run.summary["test_accuracy"],
        "auc": rates.auc,
        "auc_interval": spans.auc.tolist(),
        "tpr_at_fpr": dict(zip(map(str, LEVELS), rates.tpr_at_fpr.tolist(), strict=True)),
        "many_runs": many_runs(phi, member, flags.delta),
        "one_run": one_run(score, member, flags),
        "roc": [curve.fpr[keep].tolist(), curve.tpr[keep].tolist()],
    }
    if promise:
        profile = privacy.dp_sgd_profile(
            promise["noise_multiplier"], promise["rate"], promise["steps"]
        )
        fpr = np.geomspace(1e-4, 1, 200)
        out["bound"] = [fpr.tolist(), profile.tpr_bound(fpr).tolist()]
    return out


def many_runs(phi: np.ndarray, member: np.ndarray, delta: float) -> dict[str, float]:
    """One canary, chosen on the first quarter of the models; the bound is of the others alone."""
    first = len(phi) // 4
    worth = [
        privacy.epsilon_lower_bound(
            phi[:first, c], member[:first, c], delta, thresholds="corrected"
        )
        if 0 < member[:first, c].sum() < first
        else 0.0
        for c in range(phi.shape[1])
    ]
    area = metrics.figures_per_target(phi[:first].T, member[:first].T, ()).auc
    best = int(np.lexsort((np.nan_to_num(area), worth))[-1])
    cut = _cut(phi[:first, best], member[:first, best], delta)
    called, truth = phi[first:, best] >= cut, member[first:, best]
    event = privacy.Event(
        int((called & truth).sum()), int(truth.sum()),
        int((called & ~truth).sum()), int((~truth).sum()),
    )  # fmt: skip
    lowest = float(privacy.epsilon_of_event(event, delta))
    perfect = privacy.Event(event.positives, event.positives, 0, event.negatives)
    return {
        "canary": best,
        "epsilon": lowest,
        "most": float(privacy.epsilon_of_event(perfect, delta)),  # if no trial ever failed
        "trials": len(phi) - first,
    }


def _cut(phi: np.ndarray, member: np.ndarray, delta: float) -> float:
    """The threshold whose event would bound epsilon best, had it been fixed beforehand."""
    curve = metrics.roc_counts(phi, member)
    events = privacy.Event(curve.tp, curve.tp[-1], curve.fp, curve.fp[-1])
    return float(curve.threshold[np.argmax(privacy.epsilon_of_event(events, delta))])


def one_run(score: np.ndarray, member: np.ndarray, flags: Flags) -> dict[str, list[float]]:
    """A lower bound from each model by itself: the surest canaries of both ends are guessed."""
    out: dict[str, list[float]] = {"pure": [], "gaussian": [], "correct": []}
    for s, m in zip(score, member, strict=True):
        run = privacy.guessed(s, m, flags.guesses, flags.guesses)
        out["correct"].append(run.correct / run.guesses)
        out["pure"].append(privacy.epsilon_one_run(*run, flags.delta))
        out["gaussian"].append(privacy.epsilon_one_run_gaussian(*run, flags.delta))
    return out


def picture(rows: list[dict[str, Any]], delta: float) -> Any:
    """Theory and measurement: ROCs under their bounds, lower bounds under the promised epsilon."""
    figure, left = figures.blank(10.4, 4.6, 2)
    right = figure.axes[1]
    left.plot([1e-4, 1], [1e-4, 1], color="#888888", lw=1, ls=(0, (2, 3)))
    for i, row in enumerate(rows):
        colour = figures.COLOURS[i % len(figures.COLOURS)]
        name = "no privacy" if row["epsilon"] is None else f"ε = {row['epsilon']:g}"
        x, y = (np.array(v) for v in row["roc"])
        left.plot(np.maximum(x, 1e-4), y, color=colour, lw=1.8, label=name)
        if "bound" in row:
            left.plot(*row["bound"], color=colour, lw=1.2, ls="--")
    left.plot([], [], color="#888888", lw=1.2, ls="--", label="what the accountant allows")
    left.set(xscale="log", yscale="log", xlim=(1e-4, 1), ylim=(1e-4, 1.2))
    left.set(xlabel="false-positive rate of canaries", ylabel="true-positive rate")
    left.legend(frameon=False, fontsize=8, loc="lower right")
    left.set_title("ROC (estimate) under the bound", loc="left", fontsize=11)
    private = [row for row in rows if row["promise"]]
    promised = [row["promise"]["epsilon"] for row in private]
    ends = np.array([min(promised) / 2, max(promised) * 2]) if promised else np.array([0.5, 2])
    line = np.geomspace(ends[0], ends[1], 200)
    right.plot(line, line, color="#222222", lw=1.4, label=f"promised (δ = {delta:g})")
    right.fill_between(line, line, 2 * ends[1], color="#eeeeee", lw=0)
    for row in rows:
        if not row["promise"]:
            middle = float(np.median(row["one_run"]["pure"]))
            right.axhline(
                middle, color="#888888", lw=1, ls=":", label="one run, no privacy: median"
            )
    series = (
        ("one run, each model", [row["one_run"]["pure"] for row in private], "o"),
        ("one run, if Gaussian", [row["one_run"]["gaussian"] for row in private], "s"),
    )
    for i, (name, values, mark) in enumerate(series):
        for j, (at, each) in enumerate(zip(promised, values, strict=True)):
            label = f"{name}: median, 5 to 95 %" if not j else None
            low, middle, high = np.quantile(each, [0.05, 0.5, 0.95])
            right.errorbar(
                [at * (0.94 + 0.12 * i)], [middle], [[middle - low], [high - middle]], label=label,
                marker=mark, ms=5, lw=1.4, capsize=3, ls="", color=figures.COLOURS[i],
            )  # fmt: skip
    right.plot(
        promised, [row["many_runs"]["epsilon"] for row in private], "^", ms=6,
        color=figures.COLOURS[2], label="one canary, many runs",
    )  # fmt: skip
    right.set(xscale="log", xlim=ends, ylim=(-0.05, 1.15 * ends[1] / 2))
    right.set_xticks(promised, [f"{p:.3g}" for p in promised])
    right.minorticks_off()
    right.set(xlabel="ε that the accountant says", ylabel="lower bounds of ε, 95 %")
    right.legend(frameon=False, fontsize=8, loc="upper left")
    right.set_title("Lower bounds under the promise", loc="left", fontsize=11)
    return figure


def run(flags: Flags) -> list[dict[str, Any]]:
    """All epsilons, the rows and the picture; raises `ValueError` for numbers that do not fit."""
    if not 0 < 2 * flags.guesses <= flags.canaries:
        raise ValueError(
            f"--guesses: {flags.guesses} must be 1 or more, twice it at most the "
            f"{flags.canaries} canaries"
        )
    if flags.models < 16:
        raise ValueError(f"--models: {flags.models} must be 16 or more")
    out = [audited(flags, epsilon) for epsilon in (*flags.epsilons, None)]
    for ending in ("svg", "png"):
        figures.saved(picture(out, flags.delta), flags.out / f"audit.{ending}")
    (flags.out / "rows.json").write_text(json.dumps(out, indent=1))
    if flags.results:
        common = {
            "guesses": flags.guesses, "delta": flags.delta, "seed": flags.seed,
            "command": rows.command("experiments.studies.audit_dp", flags),
        }  # fmt: skip
        curves = ("roc", "bound")  # the curves of the figure
        short = [{k: v for k, v in row.items() if k not in curves} for row in out]
        rows.keep(flags.results, "audit_dp", short, common | rows.about())
    return out


def main(flags: Flags) -> None:
    """Runs, and prints promise and measurement."""
    results = run(flags)
    if flags.json:
        print(json.dumps(results))
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False)
    table = Table(box=None, pad_edge=False)
    heads = ("promised", "noise", "test acc.", "AUC", "TPR@1%", "one run", "too high", "many runs")
    for head in heads:
        table.add_column(head, justify="right")
    for row in results:
        promise, one = row["promise"], np.array(row["one_run"]["pure"])
        limit = promise["epsilon"] if promise else np.inf
        table.add_row(
            f"{limit:.2f}" if promise else "none",
            f"{promise['noise_multiplier']:.2f}" if promise else "0",
            f"{row['test_accuracy']:.3f}",
            f"{row['auc']:.3f}",
            f"{100 * row['tpr_at_fpr']['0.01']:.2f} %",
            f"{np.median(one):.2f} ({np.quantile(one, 0.95):.2f})",
            f"{int((one > limit).sum())} of {len(one)}" if promise else "–",
            f"{row['many_runs']['epsilon']:.2f} of {row['many_runs']['most']:.2f}",
        )
    console.print(table)
    console.print(
        f"promised: epsilon at delta {flags.delta:g}, add/remove, by the accountant (a bound). one "
        "run: median (95 % quantile) of the models' lower bounds; too high: how many exceed the "
        "promise, 5 % may. many runs: the lower bound by one canary, of what so many trials could "
        "show at most. AUC, TPR: estimates."
    )


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.audit_dp")
    guarded(lambda: main(flags))
