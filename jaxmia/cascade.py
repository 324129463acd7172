"""The cascading attack on a target, its shadow models trained as runs: a run folder for each round.

    WORKDIR/round_1    the experiment itself
    WORKDIR/round_2    its design with the first anchors (`design.anchored`), and so on

Rerunning goes on in the round that is not finished. Round 1 knows nothing of the target, so that
several targets may share its folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxmia import design, machine
from jaxmia.attacks import cascading
from jaxmia.attacks.anchors import FREE, Rule
from jaxmia.attacks.cascading import Round, Shadows
from jaxmia.experiment import Experiment
from jaxmia.options import Options
from jaxmia.pipeline import train_missing
from jaxmia.storage.run import read_signals
from jaxmia.storage.urls import Place, folder_at
from jaxmia.training import processes
from jaxmia.types import Signals
from jaxmia.work import opened


@dataclass(frozen=True)
class Cascade:
    """How an attack goes on: `attacks.cascading.cascade` says what the fields mean."""

    rounds: int = 3
    references: int = 1
    attack: str = "lira_online"
    rule: Rule = Rule()

    def __post_init__(self) -> None:
        """Refuses what no cascade could be made by."""
        cascading.check(self.rounds, self.references, self.attack, self.rule)


def cascade(
    experiment: Experiment,
    target: Signals,
    settings: Cascade | None = None,
    options: Options | None = None,
    *,
    number: int = 0,
    first: Place | None = None,
) -> Iterator[Round]:
    """The rounds of an attack on one target, each of `experiment.models` shadow models.

    Options' `workdir` (`checkpoints/NAME_cascade` by default) has a run folder for each round,
    `first` is that of round 1 if it lies elsewhere. Shadow models of later rounds depend on the
    experiment's seed, the round, and the target's `number`. Raises `ValueError` as an experiment
    and a cascade do, as `check` does, and for the folder of a round with other anchors (the target
    or an earlier round has changed).
    """
    settings, options = settings or Cascade(), options or Options()
    check(experiment, options)
    default = Path("checkpoints") / f"{experiment.name}_cascade"
    folder = folder_at(options.workdir or default, "workdir")
    attacks = tuple(dict.fromkeys((*experiment.attacks, settings.attack)))
    experiment = replace(experiment, attacks=attacks, repeat_sets=0)

    def train(round_: int, anchor: Int[np.ndarray, " N"]) -> Shadows:
        path = first if round_ == 1 and first else folder.under(f"round_{round_}")
        one = experiment if round_ == 1 else anchored(experiment, anchor, round_, number)
        return shadows_of(one, replace(options, workdir=path))

    yield from cascading.cascade(
        target, train, settings.rounds, settings.references, settings.attack, settings.rule
    )


def check(experiment: Experiment, options: Options) -> None:
    """Raises `ValueError` for several workers, other shadow data, and records of persons."""
    if experiment.shadow_data is not None:
        raise ValueError("cascade: anchors are records of the target's pool; without shadow_data")
    if options.shard_count > 1:
        raise ValueError("cascade: a round needs the one before it; leave --shard-count out")
    if experiment.data().person is not None:
        raise ValueError("cascade: not for records that belong to persons: an anchor is a record")


def anchored(
    experiment: Experiment, anchor: Int[np.ndarray, " N"], round_: int, number: int
) -> Experiment:
    """The experiment with its anchors fixed and a seed of its own."""
    at = np.flatnonzero(anchor != FREE)
    anchors = dict(zip(at.tolist(), anchor[at].tolist(), strict=True))
    seed = np.random.SeedSequence([experiment.seed, number, round_]).generate_state(1)[0]
    return replace(experiment, design=design.anchored(experiment.design, anchors), seed=int(seed))


def shadows_of(experiment: Experiment, options: Options) -> Shadows:
    """The models of a run, trained where they are not there yet; without a report."""
    processes.start(machine.cache_folder() / "programs")
    work = opened(experiment, options)
    train_missing(work)
    return Shadows(*read_signals(work.store, experiment.models))
