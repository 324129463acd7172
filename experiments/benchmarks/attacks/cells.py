"""One set and one kind of model: shadow models, and a row for each number of references."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.attacks import indicators
from jaxmia import design, metrics, recipes
from jaxmia.attacks import ATTACKS
from jaxmia.attacks.references import leave_out
from jaxmia.blocks import train
from jaxmia.data.pool import held_out
from jaxmia.estimators import Procedure, Table
from jaxmia.evaluation.groups import of_groups
from jaxmia.evaluation.power import attack_in_groups
from jaxmia.experiment import Experiment
from jaxmia.fits import fit
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.storage.run import read_signals
from jaxmia.training.progress import Progress
from jaxmia.types import Data, Signals
from jaxmia.values import factory
from jaxmia.work import opened

KINDS = ("networks", "trees")
LEVELS = (1e-2, 1e-3)
WIDTH = 26  # networks trained together: timing it anew for each set would take longer
PARTNER = 2  # models that are no references of a target: itself and its partner
FROM_ALL = ("phi", "y", "margin", "entropy", "modified_entropy", "population")
# `lira_online` and `lira_offline` are one of their variants each, by the number of references
ALIASES = ("bavaria", "lira_online", "lira_offline")
EVERY = tuple(
    name
    for name, attack in ATTACKS.items()
    if set(attack.needs) <= set(FROM_ALL) and not attack.trains and name not in ALIASES
)


class Shadows(NamedTuple):
    """What is known of a cell's models, and who is a member of which."""

    signals: Signals
    member: np.ndarray
    person: np.ndarray | None


@factory
def halves_beside(outsiders: int) -> Callable[[int, int, int], np.ndarray]:
    """Complementary halves of all but the last so many, who are in no model's training set."""
    if outsiders < 0:
        raise ValueError(f"halves_beside: outsiders={outsiders} must be 0 or more")

    def draw(seed: int, M: int, N: int) -> np.ndarray:
        member = design.complementary_halves(seed, M, N - outsiders)
        return np.pad(member, ((0, 0), (0, outsiders)))

    return draw


def networks(epochs: int) -> Any:
    """The recipe of `experiments.tabular`."""
    return recipes.sgd(mlp(128, 128), epochs=epochs, batch_size=64, rate=0.05)


def trees(rounds: int) -> Procedure:
    """Gradient boosting as scikit-learn has it, by default but for the rounds."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return Procedure(HistGradientBoostingClassifier(max_iter=rounds))


def shadows(
    source: Callable[[], Data],
    kind: str,
    models: int,
    rounds: int,
    folder: Path,
    progress: Progress,
) -> Shadows:
    """The models of a cell, trained or read from their folder.

    Trees are asked about the population as well, as records that no model is trained on.
    """
    data, own = source(), {"name": folder.name, "models": models}
    width = WIDTH if kind == "networks" else "auto"
    options = Options(folder, width, progress=progress)
    if kind == "networks":
        own |= {
            "recipe": networks(rounds),
            "attacks": ("trajectory_lira_online",),
        }  # for its signal
        work = opened(Experiment(data=source, **own), options)
        train(work)
        signals, member = read_signals(work.store, models)
        return Shadows(signals, member, data.person)
    sides = halves_beside(len(held_out(data).population))
    own |= {"recipe": trees(rounds), "design": sides, "attacks": ("global_threshold",)}
    work = opened(Experiment(data=beside(source), **own), options)
    fit(work)
    signals, member = read_signals(work.store, models)
    pool, population = slice(0, len(data.y)), np.asarray(signals.phi)[:, len(data.y) :]
    signals = replace(signals.examples(pool), population=population)
    return Shadows(signals, member[:, pool], data.person)


@factory
def beside(source: Callable[[], Data]) -> Callable[[], Table]:
    """A pool as a table, the population's records at its end, each a person of its own."""

    def load() -> Table:
        data = source()
        at, person = held_out(data).population, data.person
        x, y = np.concatenate([data.x, data.x_test[at]]), np.append(data.y, data.y_test[at])
        if person is not None:
            person = np.append(person, person.max() + 1 + np.arange(len(at)))
        return Table(data.name, x, y, np.arange(data.classes), person)

    return load


def row(
    of: Shadows,
    names: Sequence[str],
    references: int,
    targets: int,
    draws: int,
    groups: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """What each attack finds with so many references, with 95 % intervals.

    The models are cut into groups of so many and two; in each every model is attacked by the
    others without its partner. An attack that could score nothing is absent. With most references
    LiRA's finds are told by the values of `groups` too, each a value for every record.
    """
    size = references + PARTNER
    scores, truth = attack_in_groups(
        of.signals, of.member, names, leave_out(of.member), size, targets
    )
    right = np.asarray(of.signals.margin)[..., 0] > 0
    out: dict[str, Any] = {
        "references": references,
        "targets": len(truth),
        "examples": truth.shape[1],
        "classes": int(np.asarray(of.signals.y).max()) + 1,
        "accuracy": {"members": _mean(right[of.member]), "others": _mean(right[~of.member])},
        "attacks": {},
    }
    if of.person is not None:
        out["people"] = len(np.unique(of.person))
    if size == len(of.member):  # every model is a target, in its place
        inner = of.signals.trajectory
        phi, lira = np.asarray(of.signals.phi)[..., 0], scores.get("lira_online_student_t")
        if lira is not None:
            out["indicators"] = indicators.measured(phi, inner, lira, truth)
            if groups:
                out["groups"] = of_groups({"lira": metrics.rank(lira, truth)}, groups, of.person)
    for name, score in scores.items():
        scored = truth[~np.isnan(score)]
        if scored.any() and not scored.all():
            out["attacks"][name] = _figures(score, truth, of.person, draws)
    return out


def _figures(
    score: np.ndarray, truth: np.ndarray, person: np.ndarray | None, draws: int
) -> dict[str, Any]:
    spans = metrics.bootstrap(score, truth, LEVELS, person=person, draws=draws)
    rates = metrics.tpr_at_fpr(score, truth, LEVELS)
    return {
        "scores": int(np.isfinite(score).sum()),
        "auc": _few(metrics.auc(score, truth), *spans.auc),
        "tpr": {
            f"{level:g}": _few(rate, *ends)
            for level, rate, ends in zip(LEVELS, rates, spans.tpr_at_fpr, strict=True)
        },
    }


def _few(*values: Any) -> list[float]:
    """A figure and its ends, to six digits after the point."""
    return [round(float(v), 6) for v in values]


def _mean(right: np.ndarray) -> float:
    return round(float(right.mean()), 4)
