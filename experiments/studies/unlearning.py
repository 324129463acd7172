"""What an unlearned model still tells of what it has unlearned: LiRA against models never trained.

    python -m experiments.studies.unlearning

Three families of models on the digits: trained on a core and on a random half of some candidates;
the same models, after they have unlearned all their candidates; and models that were trained on
the core alone. LiRA online tells the last two apart, candidate by candidate: has the model
unlearned this record, or never had it? (Hayes et al. 2024, "Inexact Unlearning Needs More Careful
Evaluations to Avoid a False Sense of Privacy".) Retraining is exact, so that nothing is to be
found; doing nothing leaves the whole leak. All of it once with the candidates' own labels, and
once with wrong ones, which are learned by heart or not at all.

An unlearning function of your own (`unlearning_methods` says what it is made of) is measured by
`study(Flags(), {"mine": mine})`.

3 min of one CPU core; what came out: docs/results/unlearning.md.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import rows
from experiments.studies import unlearning_methods as methods
from experiments.studies.unlearning_methods import Task, Unlearner
from jaxmia import augment, data, design, metrics, recipes
from jaxmia.attacks import lira
from jaxmia.command.terminal import guarded, parsed
from jaxmia.models import mlp
from jaxmia.training import parallel
from jaxmia.training.pool import Pool, pool
from jaxmia.training.query import querier
from jaxmia.training.trainer import model_key, trainer
from jaxmia.types import Data, Recipe

LEVELS = (1e-2, 1e-3)
METHODS: dict[str, Unlearner] = {
    "nothing": methods.nothing(),
    "retraining": methods.retraining(),
    "fine-tuning, 5 epochs": methods.fine_tuning(5),
    "fine-tuning, 20 epochs": methods.fine_tuning(20),
    "ascent, 5 epochs": methods.gradient_ascent(5),
    "ascent, 10 epochs": methods.gradient_ascent(10),
    "ascent, 15 epochs": methods.gradient_ascent(15),
    "ascent, 10 epochs, then fine-tuning, 5": methods.ascent_then_tuning(10, then=5),
}
AGAINST = ("never trained", "unlearned others")
LABELS = ("own", "wrong")


@dataclass(frozen=True)
class Flags:
    """Models, and how much they have to forget."""

    models: int = 32
    """Models of each family, an even number."""
    epochs: int = 50
    """Epochs each is trained."""
    candidates: int = 200
    """Candidates, half of whom each model is trained on and has to forget."""
    seed: int = 0
    """Everything random comes from it."""
    out: Path = Path("checkpoints/unlearning")
    """Folder for rows.json."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""


class Families(NamedTuple):
    """Phi `[M, candidates]` in each family, who was in, and facts of each family by name."""

    member: np.ndarray
    never: np.ndarray
    unlearned: dict[str, np.ndarray]
    facts: dict[str, dict[str, float]]


def task(flags: Flags, labels: str) -> tuple[Data, np.ndarray, Recipe]:
    """The digits with the candidates' own or wrong labels, the candidates, and the recipe.

    Raises `ValueError` for options that do not fit.
    """
    if flags.models < 4 or flags.models % 2:
        raise ValueError(f"--models: {flags.models} must be even, 4 or more")
    source = data.digits()
    examples = len(source().y)
    if not 2 <= flags.candidates <= examples // 2:
        raise ValueError(f"--candidates: {flags.candidates} must be from 2 to {examples // 2}")
    order = np.random.default_rng([flags.seed, 7]).permutation(examples)
    candidates = np.sort(order[: flags.candidates])
    if labels == "wrong":
        source = data.mislabelled(source, candidates.tolist(), seed=flags.seed)
    return data.usable(source()), candidates, recipes.sgd(mlp(128, 128), epochs=flags.epochs)


def families(
    source: Data, candidates: np.ndarray, recipe: Recipe, flags: Flags, unlearners: dict
) -> Families:
    """Trains, unlearns, and asks every model; model m depends on `(seed, m)` alone."""
    M, examples = flags.models, pool(source, source.x, source.y)
    inside = design.complementary_halves(flags.seed, M, len(candidates))
    core, forgotten = np.ones((M, len(source.y)), bool), np.zeros((M, len(source.y)), bool)
    core[:, candidates], forgotten[:, candidates] = False, inside
    retained, half = int(core[0].sum()), len(candidates) // 2
    keys = jax.vmap(lambda m: model_key(flags.seed, m))(np.arange(M))
    others, later = (_keys(keys, stream) for stream in (1000, 1001))
    mesh, width = parallel.mesh(jax.local_devices()[:1]), math.gcd(M, 8)

    def on_models(function: Callable, *rest: Any) -> tuple[Any, float]:
        """What a function of one model gives for all, and its seconds once it is compiled."""
        return _timed(parallel.over_models(function, mesh, width), examples, *rest)

    answers = _answers(source, candidates, core[0], recipe, on_models)
    trained, cost = on_models(_training(recipe, source, retained + half), core | forgotten, keys)
    never, _ = on_models(_training(recipe, source, retained), core, others)
    phi, facts = answers(never)
    unlearned, by_name = {}, {"never": facts}
    for name, unlearner in unlearners.items():
        forget = unlearner(Task(recipe, source, retained, half))
        shadows, seconds = on_models(forget, core, forgotten, later, trained)
        unlearned[name], facts = answers(shadows)
        by_name[name] = facts | {"cost": seconds / cost}
    return Families(inside, phi, unlearned, by_name)


def _keys(keys: Any, stream: int) -> Any:
    """Another key of each model, of a stream that no stage of its training uses."""
    return jax.vmap(lambda key: jax.random.fold_in(key, stream))(keys)


def _training(recipe: Recipe, source: Data, members: int) -> Callable:
    one = trainer(recipe, source, members)
    return lambda pool, member, key: methods.epochs(
        one, recipe.epochs, pool, member, key, one.init(key)
    )


def _answers(
    source: Data, candidates: np.ndarray, core: np.ndarray, recipe: Recipe, on_models: Callable
) -> Callable[[Any], tuple[np.ndarray, dict[str, float]]]:
    """Of models phi of the candidates, and the accuracies on the core and on the test part."""
    ask = querier(recipe, recipe.model(source), augment.itself, 512, logits=False)
    outside = pool(source, source.x_test, source.y_test)

    def both(examples: Any, shadow: Any) -> Any:
        own, other = ask(examples, shadow), ask(outside, shadow)
        return own["phi"][:, 0], own["margin"], other["margin"]

    def answers(shadows: Any) -> tuple[np.ndarray, dict[str, float]]:
        phi, own, other = jax.device_get(on_models(both, shadows)[0])
        accuracy = {"core": own[:, core], "test": other}
        facts = {f"{k}_accuracy": float((margin > 0).mean()) for k, margin in accuracy.items()}
        return phi[:, candidates].astype(np.float64), facts

    return answers


def _timed(program: Any, shared: Pool, *rest: Any) -> tuple[Any, float]:
    """What a program gives, and its seconds without those of compiling it."""
    compiled = program.lower(shared, *rest).compile()
    start = time.perf_counter()
    out = jax.block_until_ready(compiled(shared, *rest))
    return out, time.perf_counter() - start


def attacked(of: Families, name: str, against: str) -> np.ndarray:
    """LiRA's scores `[M, candidates]`: how much a candidate looks unlearned, rather than not.

    "never trained": where a model had not the candidate, phi is that of a model which was trained
    on the core alone. "unlearned others": phi is that of the model itself, which has unlearned
    other candidates, but not this one.
    """
    phi = of.unlearned[name]
    if against == "never trained":
        phi = np.where(of.member, phi, of.never)
    return lira.leave_one_out(phi, of.member)


def measured(score: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """AUC and TPRs of the unlearned against the others, with their intervals over candidates."""
    rates = metrics.figures(score, member, LEVELS)
    spans = metrics.bootstrap(score, member, LEVELS)
    levels = [f"{level:g}" for level in LEVELS]
    return {
        "n": int(member.sum()),
        "auc": rates.auc,
        "auc_interval": spans.auc.tolist(),
        "tpr_at_fpr": dict(zip(levels, rates.tpr_at_fpr.tolist(), strict=True)),
        "tpr_interval": dict(zip(levels, spans.tpr_at_fpr.tolist(), strict=True)),
    }


def study(flags: Flags, unlearners: dict[str, Unlearner] | None = None) -> list[dict[str, Any]]:
    """A row for each method, the candidates' labels, and what is held against it."""
    unlearners = METHODS if unlearners is None else unlearners
    out = []
    for labels in LABELS:
        source, candidates, recipe = task(flags, labels)
        of = families(source, candidates, recipe, flags, unlearners)
        about = {"models": flags.models, "core": len(source.y) - len(candidates),
                 "candidates": len(candidates), "never": of.facts["never"]}  # fmt: skip
        for name in unlearners:
            for against in AGAINST:
                row = {"method": name, "labels": labels, "against": against}
                score = attacked(of, name, against)
                out.append(row | measured(score, of.member) | of.facts[name] | about)
    flags.out.mkdir(parents=True, exist_ok=True)
    (flags.out / "rows.json").write_text(json.dumps(out, indent=1))
    if flags.results:
        command = rows.command("experiments.studies.unlearning", flags)
        common = {"seed": flags.seed, "command": command} | rows.about()
        rows.keep(flags.results, "unlearning", out, common)
    return out


def table(lines: list[dict[str, Any]]) -> Table:
    """The rows, for people."""
    out = Table(box=None, pad_edge=False)
    for head in ("method", "labels", "against", "AUC", "TPR@1%", "TPR@0.1%", "core", "test",
                 "cost"):  # fmt: skip
        words = head in ("method", "labels", "against")
        out.add_column(head, justify="left" if words else "right")
    for row in lines:
        rates = [f"{row['tpr_at_fpr'][k]:.2%}" for k in ("0.01", "0.001")]
        accuracy = [f"{row[k]:.3f}" for k in ("core_accuracy", "test_accuracy")]
        names = [row[k] for k in ("method", "labels", "against")]
        out.add_row(*names, f"{row['auc']:.3f}", *rates, *accuracy, f"{row['cost']:.3f}")
    return out


def main(flags: Flags) -> None:
    """Runs, and prints what was found."""
    lines = study(flags)
    if flags.json:
        print(json.dumps(lines))
    Console(file=sys.stderr if flags.json else sys.stdout, highlight=False).print(table(lines))


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.unlearning")
    guarded(lambda: main(flags))
