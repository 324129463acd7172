"""How much a fine-tuned network gives away, by the number of examples of each class.

    python -m experiments.studies.fine_tuning                          (digits)
    python -m experiments.studies.fine_tuning --features FILE.npz      (experiments.backbone)

Tobaben et al. 2024 ("Impact of Dataset Properties on Membership Inference Vulnerability of Deep
Transfer Learning"): TPR - FPR at a fixed FPR falls as a power of the number of examples of each
class, by their theory as the root. The first command trains a perceptron on the digits 0 to 4, and
fine-tunes it on the digits 5 to 9: a new head alone, the head and adapters of rank 4 in the hidden
layer, or everything. The second trains a head on features of a network of your own. Every number of
examples has models of its own on halves of pools twice as large, several pools where they are
small; LiRA online, every model in turn. The slope is that of log(TPR - FPR) in log(examples), by
least squares, with the 95 % percentile interval over draws of examples; a rate that no member is
above counts as half a member.

What came out: docs/results/fine_tuning.md.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import paired, rows
from jaxmia import augment, data, design, metrics, recipes, tuning
from jaxmia.attacks import lira
from jaxmia.command.terminal import guarded, parsed
from jaxmia.models import mlp
from jaxmia.training import block, parallel, start
from jaxmia.training.pool import pool
from jaxmia.training.trainer import model_key, trainer
from jaxmia.types import Data, Recipe

LEVELS = (1e-2, 1e-3)
NETWORK = mlp(64)
WAYS: dict[str, Any] = {
    "head": tuning.only("layers/1"),
    "adapters": tuning.lora(4, "layers/0/kernel", also=("layers/1",)),
    "all": tuning.only("*"),
}
RATE, FEATURES_RATE = 0.05, 0.002
BATCH = 20


@dataclass(frozen=True)
class Flags:
    """What is fine-tuned, and how often."""

    features: Path | None = None
    """An .npz of features: x [N, F], y, x_test, y_test; the digits without it."""
    examples: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Examples of each class that a model is trained on, as expected."""
    ways: tuple[str, ...] = ("head", "adapters", "all")
    """What trains on the digits: head, adapters, all."""
    records: int = 640
    """Records that small pools have together, at least."""
    models: int = 64
    """Models of each pool."""
    epochs: int = 40
    """Epochs each is trained."""
    rate: float = 0.0
    """Learning rate; 0 takes 0.05 on the digits and 0.002 on features."""
    width: int = 8
    """Models trained side by side."""
    seed: int = 0
    """Everything random comes from it."""
    workdir: Path = Path("checkpoints/fine_tuning")
    """Folder for the network's parameters and rows.json."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    quiet: bool = False
    """No progress."""


def digits(low: int) -> Data:
    """Five digits from `low` on, named 0 to 4."""
    whole = data.digits()()
    inside, outside = ((low <= y) & (y < low + 5) for y in (whole.y, whole.y_test))
    return replace(
        whole,
        x=whole.x[inside], y=whole.y[inside] - low, classes=5,
        x_test=whole.x_test[outside], y_test=whole.y_test[outside] - low,
    )  # fmt: skip


def network_file(flags: Flags) -> Path:
    """A file with the hidden layer of a perceptron trained on the digits 0 to 4."""
    source = digits(0)
    one = trainer(recipes.sgd(NETWORK, epochs=20), source, len(source.y))
    shadow = jax.jit(one.init)(key := model_key(flags.seed, 0))
    epoch, examples = jax.jit(one.epoch), pool(source, source.x, source.y)
    for number in range(20):
        shadow, _ = epoch(examples, jnp.ones(len(source.y), bool), key, number, shadow)
    flags.workdir.mkdir(parents=True, exist_ok=True)
    file = flags.workdir / "digits_0_to_4.npz"
    start.save(file, {"layers": {0: shadow.params["layers"][0]}}, {})
    return file


def setups(flags: Flags) -> tuple[Data, dict[str, Recipe]]:
    """The records, and a recipe for each way; raises `ValueError` for options that do not fit."""
    if wrong := [w for w in flags.ways if w not in WAYS]:
        raise ValueError(f"--ways: {wrong[0]!r} is not one of {', '.join(WAYS)}")
    common = {"epochs": flags.epochs, "batch_size": BATCH}
    if flags.features:
        source, ways = data.arrays(str(flags.features))(), {}
        ways["head"] = recipes.sgd(mlp(), rate=flags.rate or FEATURES_RATE, **common)
    else:
        source, file = digits(5), network_file(flags)
        plain = recipes.sgd(NETWORK, rate=flags.rate or RATE, init_from=file, **common)
        ways = {way: replace(plain, tune=WAYS[way]) for way in flags.ways}
    least = int(np.bincount(source.y, minlength=source.classes).min())
    if len(flags.examples) < 2 or not 2 <= min(flags.examples) <= max(flags.examples) <= least // 2:
        raise ValueError(
            f"--examples: {flags.examples} must be two or more, from 2 to {least // 2}, half of "
            "the smallest class"
        )
    return source, ways


def few(source: Data, count: int, rng: np.random.Generator) -> Data:
    """A pool with so many records of each class, drawn at random."""
    places = [np.flatnonzero(source.y == c) for c in range(source.classes)]
    index = np.sort(np.concatenate([rng.permutation(p)[:count] for p in places]))
    return replace(source, x=source.x[index], y=source.y[index])


def phi(
    recipe: Recipe, source: Data, member: np.ndarray, seed: int, width: int
) -> tuple[np.ndarray, float]:
    """Phi `[M, N]` of models trained on these members, and their test accuracy."""
    mesh = parallel.mesh(jax.devices()[:1])
    programs = block.programs(
        recipe, source, augment.itself,
        members=len(source.y) // 2, width=width, mesh=mesh, convolution="",
    )  # fmt: skip
    keys = block.keys(mesh, seed, np.arange(len(member)))
    shadows, everyone = programs.init(None, keys), parallel.spread(member, mesh)
    for number in range(recipe.epochs):
        at = (programs.pool, jnp.int32(number))
        shadows, _ = programs.epoch(at, everyone, keys, shadows)
    right = np.asarray(programs.query(programs.held_out, shadows)["margin"]) > 0
    inside = np.asarray(programs.query(programs.pool, shadows)["phi"])[..., 0]
    return inside, float(right.mean())


def scores(
    flags: Flags, source: Data, recipe: Recipe, count: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """LiRA's scores and membership of all pools side by side, and the models' test accuracy."""
    pools = max(1, -(-flags.records // (2 * count * source.classes)))
    score, member, accuracy = [], [], []
    for number in range(pools):
        some = few(source, 2 * count, np.random.default_rng([flags.seed, count, number]))
        seed = flags.seed + 1000 * number
        inside = design.complementary_halves(seed, flags.models, len(some.y))
        out, share = phi(recipe, some, inside, seed, flags.width)
        score.append(lira.leave_one_out(out, inside))
        member.append(inside)
        accuracy.append(share)
    return np.concatenate(score, 1), np.concatenate(member, 1), float(np.mean(accuracy))


def slope(examples: np.ndarray, rate: np.ndarray, level: float, least: np.ndarray) -> np.ndarray:
    """The exponent b of `TPR - FPR = a S^b`, by least squares of logarithms.

    `rate [..., S]`; a TPR that is not above the FPR counts as `least [S]` above it.
    """
    y = np.log(np.maximum(rate - level, least))
    x = np.log(examples) - np.log(examples).mean()
    return (y * x).sum(-1) / (x**2).sum()


def slopes(examples: list[int], lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each FPR: the slope, and its interval over draws of examples."""
    out = []
    least = np.array([0.5 / row["n"] for row in lines])
    for i, level in enumerate(LEVELS):
        rate = np.array([row["tpr_at_fpr"][f"{level:g}"] for row in lines])
        draws = np.stack([row["draws"][:, i] for row in lines], -1)
        x = np.array(examples, float)
        low, high = paired.ends(slope(x, draws, level, least))
        value = float(slope(x, rate, level, least))
        out.append({"fpr": level, "slope": value, "interval": [float(low), float(high)]})
    return out


def measured(score: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """AUC and TPRs with their intervals over examples, and TPRs on draws of them."""
    rates, spans = metrics.figures(score, member, LEVELS), metrics.bootstrap(score, member, LEVELS)
    weight = paired.weights(member.shape[1], paired.DRAWS)
    names = [f"{level:g}" for level in LEVELS]
    return {
        "n": int(member.sum()), "non_members": int((~member).sum()),
        "auc": rates.auc, "auc_interval": spans.auc.tolist(),
        "tpr_at_fpr": dict(zip(names, rates.tpr_at_fpr.tolist(), strict=True)),
        "tpr_interval": dict(zip(names, spans.tpr_at_fpr.tolist(), strict=True)),
        "draws": np.asarray(paired.resampled(score, member, weight, LEVELS)[1]),
    }  # fmt: skip


def run(flags: Flags, say: Callable[[str], None] = lambda line: None) -> list[dict[str, Any]]:
    """A row for each way and number of examples, and one for each slope."""
    source, ways = setups(flags)
    out, examples = [], sorted(set(flags.examples))
    for way, recipe in ways.items():
        lines = []
        for count in examples:
            score, member, accuracy = scores(flags, source, recipe, count)
            line = {"way": way, "examples": count, "classes": source.classes}
            line |= {"models": flags.models, "records": score.shape[1], "test_accuracy": accuracy}
            lines.append(line | measured(score, member))
            say(f"{way}, {count} examples of each class: AUC {lines[-1]['auc']:.3f}")
        out += [{k: v for k, v in line.items() if k != "draws"} for line in lines]
        out += [{"way": way} | row for row in slopes(examples, lines)]
    flags.workdir.mkdir(parents=True, exist_ok=True)
    (flags.workdir / "rows.json").write_text(json.dumps(out, indent=1))
    if flags.results:
        name = "fine_tuning_features" if flags.features else "fine_tuning"
        command = rows.command("experiments.studies.fine_tuning", flags)
        rows.keep(flags.results, name, out, {"seed": flags.seed, "command": command} | rows.about())
    return out


def table(lines: list[dict[str, Any]]) -> Table:
    """The rows, for people."""
    out = Table(box=None, pad_edge=False)
    for head in ("way", "examples", "AUC", "TPR@1%", "TPR@0.1%", "test"):
        out.add_column(head, justify="left" if head == "way" else "right")
    for row in lines:
        if "slope" in row:
            low, high = row["interval"]
            out.add_row(row["way"], f"slope at {row['fpr']:g}", f"{row['slope']:.2f}",
                        f"{low:.2f}", f"{high:.2f}", "")  # fmt: skip
        else:
            rate = [f"{row['tpr_at_fpr'][k]:.2%}" for k in ("0.01", "0.001")]
            cells = (f"{row['auc']:.3f}", *rate, f"{row['test_accuracy']:.3f}")
            out.add_row(row["way"], str(row["examples"]), *cells)
    return out


def main(flags: Flags) -> None:
    """Runs, and prints what was found."""
    lines = run(flags, lambda line: None if flags.quiet else print(line, file=sys.stderr))
    if flags.json:
        print(json.dumps(lines))
    Console(file=sys.stderr if flags.json else sys.stdout, highlight=False).print(table(lines))


if __name__ == "__main__":
    options = parsed(
        Flags, None, prog="python -m experiments.studies.fine_tuning", description=__doc__
    )
    guarded(lambda: main(options))
