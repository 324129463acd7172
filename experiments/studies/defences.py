"""Do defences hold for the most exposed examples? All of them, at several strengths.

    python -m experiments.studies.defences                (digits, on a laptop)
    python -m experiments.studies.defences --data cifar10 (or cifar100: ResNet-20, accelerators)

Every cell trains models with a defence on natural examples, and on a pool with mislabelled
canaries, and attacks every one of them by LiRA online: by the others, trained and asked alike
(adaptive), and by undefended models (non-adaptive). Output defences share the undefended models.
A cell's folder is a run of its own; rerunning goes on where it stopped. Rows go to
RESULTS/defences_DATA.jsonl and a table beside them, the frontier and the histograms of the loss to
FIGURES; `--draw` draws the frontier again from the rows.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxmia
from experiments.studies import defences_figures
from experiments.throughput import about
from jaxmia import Experiment, data, defences, design, metrics, recipes, signals
from jaxmia.attacks import attack_by_others, attack_every_model
from jaxmia.command.terminal import guarded, parsed
from jaxmia.defences import outputs
from jaxmia.models import mlp, resnet
from jaxmia.options import Options
from jaxmia.storage.run import Run
from jaxmia.storage.store import Store
from jaxmia.training.progress import Progress
from jaxmia.types import Data, Recipe, Signals

ATTACK = "lira_online"
LEVEL = 1e-3
FOLDER = Path(__file__).parents[1]


class Setup(NamedTuple):
    """What is defended, and how strongly."""

    source: Callable[[], Data]
    recipe: Recipe
    canaries: int
    cells: dict[str, Callable[[Recipe], Recipe]]  # "defence strength": the defence


def digits() -> Setup:
    """MLPs on scikit-learn's scans; half of 1438 are members."""
    recipe = recipes.sgd(mlp(128, 128), epochs=50, batch_size=64, rate=0.1)
    large = replace(recipe, epochs=30, batch_size=128)  # fewer, larger steps need less noise
    large = defences.weight_decay(large, 0.0)
    return Setup(data.digits(image=True), recipe, 80, _cells(large, epochs=(3, 6, 12), pixels=1))


def cifar(name: str) -> Setup:
    """ResNet-20 on 50 000 images; for DP-SGD with GroupNorm."""
    recipe = recipes.sgd(resnet(20), epochs=60, batch_size=128, rate=0.1)
    group = recipes.sgd(
        resnet(20, norm="group"), epochs=60, batch_size=1024, rate=1.0, weight_decay=0.0
    )
    return Setup(data.tfds(name), recipe, 500, _cells(group, epochs=(10, 20, 40), pixels=4))


SETUPS = {
    "digits": digits,
    "cifar10": partial(cifar, "cifar10"),
    "cifar100": partial(cifar, "cifar100"),
}


def _cells(private: Recipe, epochs: tuple[int, ...], pixels: int) -> dict[str, Callable]:
    """The grid. DP-SGD starts from a recipe of its own."""
    d = defences

    def grid(defence: Callable, name: str, strengths: tuple, **more: Any) -> dict[str, Callable]:
        cells = {s: partial(defence, **{name: s}, **more) for s in strengths}
        return {f"{defence.__name__} {name}={s:g}": cell for s, cell in cells.items()}

    return (
        {"none": lambda recipe: recipe}
        | grid(d.mixup, "alpha", (0.2, 1.0, 4.0))
        | grid(d.mixup_mmd, "weight", (1.0, 3.0, 10.0))
        | {
            f"dp_sgd epsilon={e:g}": lambda _, e=e: d.dp_sgd(private, epsilon=e, clip=1.0)
            for e in (64.0, 16.0, 4.0)
        }
        | grid(d.early_stopping, "epochs", epochs)
        | grid(d.weight_decay, "strength", (2e-3, 5e-3, 2e-2))
        | grid(d.dropout, "rate", (0.25, 0.5, 0.75))
        | grid(d.label_smoothing, "smoothing", (0.1, 0.3, 0.6))
        | grid(d.flip_and_shift, "pixels", (pixels, 2 * pixels), flip=pixels > 1)
        | grid(d.cutout, "size", (2 * pixels, 3 * pixels, 4 * pixels))
        | grid(d.relax_loss, "alpha", (0.05, 0.15, 0.5))
        | grid(d.hamp, "gamma", (0.5, 0.7, 0.9))
    )


OUTPUTS = {
    "temperature t=10": outputs.temperature(10.0),
    "top_k k=3": outputs.top_k(3),
    "top_k k=1": outputs.top_k(1),
    "rounded digits=3": outputs.rounded(3),
    "rounded digits=1": outputs.rounded(1),
    "label_only": outputs.label_only(),
    "mem_guard budget=0.05": outputs.mem_guard(0.05),
    "mem_guard budget=0.5": outputs.mem_guard(0.5),
}


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
    results: Path = FOLDER / "results"
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


class Observation(NamedTuple):
    """What a defence's models say of the examples in question, and how they were trained."""

    phi: np.ndarray  # [M, n]
    member: np.ndarray
    facts: dict[str, Any]


def observe(run: Run, columns: np.ndarray, outputs: Callable | None = None) -> Observation:
    """A run's signals, or those of its logits after an output defence."""
    phi = np.asarray(run.signals.phi)[:, columns, 0]
    if outputs is not None:
        z, y = np.asarray(run.signals.logits)[:, columns], np.asarray(run.signals.y)[columns]
        phi = np.asarray(signals.phi(np.asarray(outputs(z)), np.broadcast_to(y, z.shape[:2])))
    fields = ("train_accuracy", "test_accuracy", "differential_privacy")
    facts = {k: run.summary[k] for k in fields if k in run.summary}
    # a block without the compilation: the median of all but the first
    records = Store(run.path).records()
    took = [s for r in records for s in r["seconds"].values()]
    each = [len(r["models"]) for r in records]
    rate = np.median([3600 * n / s for n, s in zip(each, took, strict=True)][1:] or [np.nan])
    return Observation(phi, run.member[:, columns], facts | {"models_per_hour": float(rate)})


def figures(own: Observation, others: Observation | None) -> dict[str, Any]:
    """AUC and TPR at 0.1 % FPR of LiRA, with 95 % intervals, by the others' models or its own."""
    y = np.zeros(own.phi.shape[1], np.int32)
    mine = Signals(own.phi[..., None], y)
    if others is None:
        score = attack_every_model(mine, own.member, [ATTACK])[ATTACK]
    else:
        theirs = Signals(others.phi[..., None], y)
        score = attack_by_others(mine, theirs, own.member, [ATTACK])[ATTACK]
    spans = metrics.bootstrap(score, own.member, (LEVEL,), draws=400)
    return {
        "auc": metrics.auc(score, own.member),
        "auc_interval": spans.auc.tolist(),
        "tpr": metrics.tpr_at_fpr(score, own.member, LEVEL),
        "tpr_interval": spans.tpr_at_fpr[0].tolist(),
        "non_members": int((~own.member).sum()),
    }


def rows(cell: str, kind: str, own: Observation, plain: Observation) -> list[dict[str, Any]]:
    """A cell's figures on one kind of examples, both ways of attacking."""
    common = {"cell": cell, "examples": kind, "models": len(own.phi), **own.facts}
    adaptive = [common | {"attack": "adaptive"} | figures(own, None)]
    return [*adaptive, common | {"attack": "non-adaptive"} | figures(own, plain)]


def selection(flags: Flags, names: list[str]) -> list[str]:
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
        grid(flags, where)
    entries = [json.loads(line) for line in where.read_text().splitlines()]
    where.with_suffix(".md").write_text(defences_figures.table(entries) + "\n")
    print(defences_figures.table(entries, defences_figures.best(entries)))
    print(f"all strengths: {where.with_suffix('.md')}")
    defences_figures.frontier(entries, flags.figures / f"defences_{flags.data}.svg")


def grid(flags: Flags, where: Path) -> None:
    """All cells, and their rows."""
    setup = SETUPS[flags.data]()
    names = selection(flags, [*setup.cells, *OUTPUTS])
    entries: list[dict[str, Any]] = []
    plain: dict[str, Any] = {}
    losses: dict[str, Observation] = {}
    titles = {"none": "no defence", "mixup alpha=1": "mixup", "mixup_mmd weight=3": "mixup + MMD"}
    for name in names:
        if name in setup.cells:
            current = runs(flags, setup, name)
            plain = plain or current
        for kind in ("natural", "canaries"):
            run, columns = (current if name in setup.cells else plain)[kind]
            own = observe(run, columns, OUTPUTS.get(name))
            entries += rows(name, kind, own, observe(*plain[kind]))
            if kind == "natural" and name in titles:
                losses[titles[name]] = own
        natural, canaries = entries[-4], entries[-2]
        print(
            f"{name:<26} test {natural['test_accuracy']:.3f}  natural AUC {natural['auc']:.3f} "
            f"TPR {natural['tpr']:.2%}  canaries AUC {canaries['auc']:.3f} "
            f"TPR {canaries['tpr']:.2%}  {natural['models_per_hour']:,.0f} models/h",
            flush=True,
        )
        jax.clear_caches()  # another cell is another program
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text("".join(json.dumps(row | about()) + "\n" for row in entries))
    if len(losses) == len(titles):
        path = flags.figures / f"defences_{flags.data}_losses.svg"
        defences_figures.losses({k: (s.phi, s.member) for k, s in losses.items()}, path)


if __name__ == "__main__":
    main()
