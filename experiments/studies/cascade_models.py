"""The models of the study of cascades: targets, ordinary shadow models, and rounds around anchors.

Every run lies in a folder of its own, so that what is there is taken as it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import cost, digits
from jaxmia.attacks.cascading import Round, Shadows, score_of, together
from jaxmia.cascade import Cascade, anchored, cascade, shadows_of
from jaxmia.experiment import Experiment
from jaxmia.options import Options
from jaxmia.training.progress import Progress
from jaxmia.types import Signals

PARTS = ("cascade", "truth", "oracle")
APART = {"targets": 1, "more": 2}  # seeds of models that are no round's


@dataclass(frozen=True)
class Flags:
    """How many targets, rounds and shadow models."""

    parts: tuple[str, ...] = PARTS
    """Of cascade, truth, oracle."""
    targets: int = 16
    """Models that are attacked."""
    models: int = 64
    """Shadow models of a round."""
    rounds: int = 3
    """Rounds of a cascade."""
    references: int = 1
    """Shadow models of a round whose errors set the thresholds of its anchors."""
    shares: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Shares of the records whose membership an oracle tells."""
    attack: str = "lira_online"
    """The attack that scores."""
    epochs: int = digits.experiment.recipe.epochs
    """Epochs each network is trained."""
    seed: int = 0
    """All that is random comes from it."""
    draws: int = 400
    """Draws of the paired bootstrap."""
    workdir: Path = Path("checkpoints/cascade")
    """Folder for the runs."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    quiet: bool = False
    """No progress."""


class Study(NamedTuple):
    """What both parts share: targets, and ordinary shadow models, those of round 1 first."""

    flags: Flags
    experiment: Experiment
    targets: Shadows
    ordinary: Shadows

    def target(self, t: int) -> Signals:
        """The signals of a target."""
        return self.targets.signals.models(t)

    def some(self, at: slice) -> Shadows:
        """Some of the ordinary shadow models."""
        return Shadows(self.ordinary.signals.models(at), self.ordinary.member[at])

    def baseline(self, t: int, models: int) -> np.ndarray:
        """A target's score by so many ordinary shadow models."""
        return score_of(self.target(t), self.some(slice(models)), self.flags.attack)


def study(flags: Flags) -> Study:
    """The targets, round 1, and as many ordinary models as the other rounds have."""
    recipe = replace(digits.experiment.recipe, epochs=flags.epochs)
    experiment = replace(
        digits.experiment, recipe=recipe, models=flags.models, seed=flags.seed,
        attacks=(flags.attack,),
    )  # fmt: skip
    more = max(flags.rounds - 1, 1) * flags.models
    ordinary = [shadows_of(experiment, options(flags, "round_1"))]
    ordinary.append(shadows_of(apart(experiment, "more", more), options(flags, "more")))
    targets = shadows_of(apart(experiment, "targets", flags.targets), options(flags, "targets"))
    return Study(flags, experiment, targets, together(ordinary))


def apart(experiment: Experiment, name: str, models: int) -> Experiment:
    """The experiment with another seed."""
    seed = np.random.SeedSequence([experiment.seed, APART[name]]).generate_state(1)[0]
    return replace(experiment, models=models, seed=int(seed))


def options(flags: Flags, folder: str) -> Options:
    """Where a run lies."""
    return Options(flags.workdir / folder, progress=Progress(flags.quiet))


def cascade_of(of: Study, t: int) -> list[Round]:
    """The rounds of a target's cascade."""
    flags = of.flags
    settings = Cascade(flags.rounds, flags.references, flags.attack)
    return list(cascade(
        of.experiment, of.target(t), settings, options(flags, f"target_{t:02d}"),
        number=t, first=flags.workdir / "round_1",
    ))  # fmt: skip


def around(of: Study, t: int, anchor: np.ndarray, round_: int, folder: str) -> Shadows:
    """The shadow models of a target's round around these anchors."""
    return shadows_of(anchored(of.experiment, anchor, round_, t), options(of.flags, folder))


def costs(flags: Flags, own: Iterable[str]) -> dict[str, Any]:
    """What the ordinary models cost, which serve all targets, and those of single targets."""
    return {
        "case": "cost",
        "targets": flags.targets,
        "shared": cost.of([flags.workdir / name for name in ("round_1", "more")]),
        "own": cost.of([flags.workdir / name for name in own]),
    }
