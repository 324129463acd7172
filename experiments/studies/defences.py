"""Do defences hold for the most exposed examples? All of them, at several strengths.

    python -m experiments.studies.defences                (digits, on a laptop)
    python -m experiments.studies.defences --data cifar10 (or cifar100: ResNet-20, accelerators)

Every cell trains models with a defence on natural examples, and on a pool with mislabelled
canaries, and attacks every one of them by LiRA online, BASE and label-only LiRA: by the others,
trained and asked alike (adaptive); and by LiRA with undefended models (non-adaptive). Output
defences share the undefended models. A strength and an attacker that are picked on figures look
better on the same figures than they are: so both are picked on one half of the examples, and
reported on the other. A cell's folder is a run of its own; rerunning goes on where it stopped. Rows
go to RESULTS/defences_DATA.jsonl cell by cell, in place of those that the cell had, so that cells
may be done in several commands (`--only`); the frontier and the histograms of the loss to FIGURES;
`--draw` draws the frontier again from the rows.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxmia
from experiments import rows
from experiments.pages import defences as page
from experiments.studies import defences_figures
from experiments.studies.defences_cells import OUTPUTS, SETUPS, Setup
from jaxmia import Experiment, data, design, metrics, signals
from jaxmia.attacks import attack_by_others, attack_every_model
from jaxmia.command.terminal import guarded, parsed
from jaxmia.options import Options
from jaxmia.storage.run import Run
from jaxmia.storage.store import Store
from jaxmia.training.progress import Progress
from jaxmia.types import Signals

ATTACKERS = ("lira_online", "base", "label_only_lira")
LEVELS = (1e-2, 1e-3)
HALVES = {"choice": 0, "report": 1}  # of the examples, by turns
FOLDER = Path(__file__).parents[1]


@dataclass(frozen=True)
class Flags:
    """What is defended, and where it goes."""

    data: str = "digits"
    """digits, cifar10, cifar100."""
    models: int = 48
    """Models of each cell, on natural examples and again with canaries."""
    epochs: int | None = None
    """Instead of the recipe's: to see that it works."""
    only: tuple[str, ...] = ()
    """Cells whose name starts so; all by default. "none" is always among them."""
    workdir: Path | None = None
    """Run folders: checkpoints/defences_DATA by default."""
    results: Path = rows.RESULTS
    """Folder of the rows."""
    figures: Path = FOLDER.parent / "docs"
    """Folder of the figures."""
    draw: bool = False
    """Only draw the frontier and print the table again, from the rows."""


def runs(flags: Flags, setup: Setup, cell: str) -> dict[str, tuple[Run, np.ndarray]]:
    """A cell's two runs, trained or resumed, and the columns of the examples in question.

    Both pools have one size and as many members, so that one compiled program trains both.
    """
    recipe = setup.cells[cell](setup.recipe)
    if flags.epochs:
        recipe = replace(recipe, epochs=flags.epochs)
    examples = len(setup.source().y)
    canary = np.arange(setup.canaries)
    chance = np.zeros(examples)  # of the others, enough are always in
    chance[: examples // 2 + setup.canaries // 2] = 1.0
    chance[canary] = 0.5
    pools = {
        "natural": (setup.source, design.complementary_halves, np.arange(examples)),
        "canaries": (data.mislabelled(setup.source, canary), design.poisson(chance), canary),
    }
    folder = flags.workdir or Path("checkpoints") / f"defences_{flags.data}"
    out = {}
    for kind, (source, who, columns) in pools.items():
        name = f"{cell.replace(' ', '_').replace('=', '_')}_{kind}"
        experiment = Experiment(name, source, recipe, flags.models, who, attacks=())
        block = max(1, flags.models // 4)
        options = Options(folder / name, 1, block, keep_logits=cell == "none", progress=QUIET)
        out[kind] = jaxmia.run(experiment, options), columns
    return out


QUIET = Progress(quiet=True)


class Answers(NamedTuple):
    """What a defence's models say of the examples in question, and how they were trained."""

    signals: Signals
    member: np.ndarray
    facts: dict[str, Any]


def answers(run: Run, columns: np.ndarray, defence: Callable | None = None) -> Answers:
    """A run's signals, or those of its logits after an output defence."""
    phi, margin = (np.asarray(getattr(run.signals, k))[:, columns, 0] for k in ("phi", "margin"))
    if defence is not None:
        z, y = np.asarray(run.signals.logits)[:, columns], np.asarray(run.signals.y)[columns]
        z, y = np.asarray(defence(z)), np.broadcast_to(y, z.shape[:2])
        phi, margin = (np.asarray(of(z, y)) for of in (signals.phi, signals.margin))
    names = ("train_accuracy", "test_accuracy", "differential_privacy")
    facts = {k: run.summary[k] for k in names if k in run.summary}
    # a block without the compilation: the median of all but the first
    records = Store(run.path).records()
    took = [s for r in records for s in r["seconds"].values()]
    each = [len(r["models"]) for r in records]
    rate = np.median([3600 * n / s for n, s in zip(each, took, strict=True)][1:] or [np.nan])
    y = np.zeros(phi.shape[1], np.int32)
    whole = Signals(phi[..., None], y, margin=margin[..., None])
    return Answers(whole, run.member[:, columns], facts | {"models_per_hour": float(rate)})


def figures(score: np.ndarray, member: np.ndarray) -> dict[str, dict[str, Any]]:
    """AUC and TPR at 1 % and 0.1 % FPR with 95 % intervals, of each half of the examples."""
    out = {}
    for half, first in HALVES.items():
        s, m = score[:, first::2], member[:, first::2]
        ends = metrics.bootstrap(s, m, LEVELS, draws=400)
        rates = metrics.tpr_at_fpr(s, m, list(LEVELS))
        out[half] = {
            "auc": metrics.auc(s, m),
            "auc_interval": ends.auc.tolist(),
            "tpr": {f"{level:g}": float(r) for level, r in zip(LEVELS, rates, strict=True)},
            "tpr_interval": {
                f"{level:g}": e.tolist() for level, e in zip(LEVELS, ends.tpr_at_fpr, strict=True)
            },
            "members": int(m.sum()),
            "non_members": int((~m).sum()),
        }
    return out


def row(cell: str, kind: str, own: Answers, plain: Answers) -> dict[str, Any]:
    """A cell's figures on one kind of examples: by every attacker, and by undefended models."""
    scores = attack_every_model(own.signals, own.member, ATTACKERS)
    others = attack_by_others(own.signals, plain.signals, own.member, ATTACKERS[:1])
    return {
        "cell": cell,
        "examples": kind,
        "models": len(own.member),
        **own.facts,
        "adaptive": {name: figures(score, own.member) for name, score in scores.items()},
        "non_adaptive": figures(others[ATTACKERS[0]], own.member),
    }


def selected(flags: Flags, names: list[str]) -> list[str]:
    """The cells that were asked for."""
    if unknown := [o for o in flags.only if not any(n.startswith(o) for n in names)]:
        raise ValueError(f"--only: {unknown[0]!r} starts no cell; there are {', '.join(names)}")
    return [n for n in names if n == "none" or n.startswith(flags.only or ("",))]


def main() -> None:
    """Trains, attacks, prints, writes, draws."""
    name = "python -m experiments.studies.defences"
    flags = parsed(Flags, None, prog=name, description=__doc__)
    guarded(lambda: run(flags))


def run(flags: Flags) -> None:
    """What the flags ask for."""
    if flags.data not in SETUPS:
        raise ValueError(f"--data: {flags.data!r} is not one of {', '.join(SETUPS)}")
    where = flags.results / f"defences_{flags.data}.jsonl"
    if not flags.draw:
        grid(flags)
    lines = [json.loads(line) for line in where.read_text().splitlines()]
    print(page.best(lines))
    print(f"all strengths: {where}")
    defences_figures.frontier(lines, flags.figures / f"defences_{flags.data}.svg")


def keep(lines: list[dict[str, Any]], flags: Flags, order: list[str]) -> None:
    """A cell's rows, in place of those that it had, beside those of others in the grid's order."""
    file = flags.results / f"defences_{flags.data}.jsonl"
    former = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    others = [row for row in former if row["cell"] != lines[0]["cell"]]
    rows.keep(
        flags.results,
        f"defences_{flags.data}",
        sorted(others + lines, key=lambda row: order.index(row["cell"])),
        {},
    )


def grid(flags: Flags) -> None:
    """All cells, and their rows."""
    setup = SETUPS[flags.data]()
    plain: dict[str, Any] = {}
    losses: dict[str, Answers] = {}
    module = "experiments.studies.defences"
    common = {"seed": 0, "command": rows.command(module, replace(flags, figures=Flags.figures))}
    common |= rows.about()
    titles = {"none": "no defence", "mixup alpha=1": "mixup", "mixup_mmd weight=3": "mixup + MMD"}
    for name in selected(flags, [*setup.cells, *OUTPUTS]):
        pair = runs(flags, setup, name) if name in setup.cells else plain
        plain, lines = plain or pair, []
        for kind in ("natural", "canaries"):
            run, columns = pair[kind]
            own = answers(run, columns, OUTPUTS.get(name))
            lines.append(row(name, kind, own, answers(*plain[kind])))
            if kind == "natural" and name in titles:
                losses[titles[name]] = own
        keep([r | common for r in lines], flags, [*setup.cells, *OUTPUTS])
        print(f"{name:<26} {page.line(lines[0])}  canaries {page.line(lines[1])}", flush=True)
        jax.clear_caches()  # another cell is another program
    if len(losses) == len(titles):
        path = flags.figures / f"defences_{flags.data}_losses.svg"
        pairs = {k: (s.signals.phi[..., 0], s.member) for k, s in losses.items()}
        defences_figures.losses(pairs, path)


if __name__ == "__main__":
    main()
