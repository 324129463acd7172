"""An experiment: what is trained, on what, how often, and how it is attacked."""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int

from jaxmia import augment, design, machine
from jaxmia import data as sources
from jaxmia.attacks import ATTACKS as LADDER
from jaxmia.estimators import Procedure, Table, table
from jaxmia.training import start
from jaxmia.training.trainer import DTYPES
from jaxmia.types import Data, Recipe
from jaxmia.values import describe

LIBRARIES = ("scikit-learn", "xgboost", "lightgbm", "catboost")  # of estimators
AT_ONCE = 1 << 26  # entries of a membership that are drawn at once, in less than a second
BALANCING = 17  # bytes of each entry while columns are balanced: a draw, its rank, the answer
LEAST_SETS = 4  # trained twice: two halves of the pool with each example, two without
ATTACKS = (
    "lira_online",
    "lira_offline",
    "lira_offline_imputed",
    "base",
    "global_threshold",
    "correctness",
)


@dataclass(frozen=True)
class Experiment:
    """Plain values: `data() -> Data`, `design(seed, M, N) -> member`, `views(x) -> [Q, ...]`.

    A `recipe` trains networks; a `Procedure` fits estimators, and its `data()` are a `Table`.

    `views` sees one example as the network does; its view 0 is the example itself. `copies(x)` are
    the changed copies of which label-only attacks count how many keep the label. `outputs(logits)`
    is what a model's answers go through, a defence. On the sets of the first `repeat_sets` models
    as many more are trained with other seeds, to measure what the sets do (`finite_pool`). On the
    pool of `shadow_data()` as many models again are trained, whose attacks on the experiment's own
    are those of somebody who has other records (`summary.json`'s `shadow_data`).
    """

    name: str
    data: Callable[[], Data] | Callable[[], Table]
    recipe: Recipe | Procedure
    models: int = 128
    design: Callable = design.complementary_halves
    views: Callable = augment.itself
    copies: Callable | None = None
    outputs: Callable | None = None
    attacks: tuple[str, ...] = ATTACKS
    seed: int = 0
    repeat_sets: int = 0
    shadow_data: Callable[[], Data] | None = None

    def __post_init__(self) -> None:
        """Refuses what no run could be made of."""
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", self.name):
            raise ValueError(
                f"name={self.name[:120]!r} must be 1 to 100 letters, digits, '_', '.', '-', "
                "since it names a folder"
            )
        if self.models < 1:
            raise ValueError(f"models={self.models} must be 1 or more")
        if self.repeat_sets and not LEAST_SETS <= self.repeat_sets <= self.models:
            raise ValueError(
                f"repeat_sets={self.repeat_sets} must be 0, or {LEAST_SETS} to models={self.models}"
            )
        if isinstance(self.recipe, Recipe):
            _check_recipe(self.recipe)
        if self.shadow_data is not None:
            _check_shadow_data(self)
        for name in self.attacks:
            if name not in LADDER:
                raise ValueError(
                    f"attacks: {name[:80]!r} is not one of {', '.join(sorted(LADDER))}"
                )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must be between 0 and 2**32 - 1")

    @property
    def networks(self) -> Recipe:
        """How networks are trained; raises `ValueError` where estimators are fitted instead."""
        if not isinstance(self.recipe, Recipe):
            raise ValueError("recipe: these are estimators; this is for networks alone")
        return self.recipe


def _check_shadow_data(experiment: Experiment) -> None:
    if not isinstance(experiment.recipe, Recipe):
        raise ValueError("shadow_data: these are estimators; it is for networks alone")
    if design.names_examples(experiment.design):
        raise ValueError(
            f"shadow_data: design={experiment.design!r:.200} names examples of the pool, which "
            "other records are not; take one that draws at random"
        )


def _check_recipe(recipe: Recipe) -> None:
    if recipe.epochs < 1 or recipe.batch_size < 1:
        raise ValueError(
            f"epochs={recipe.epochs} and batch_size={recipe.batch_size} must be 1 or more"
        )
    if recipe.dtype not in DTYPES:
        raise ValueError(f"recipe.dtype={recipe.dtype!r} is not one of {DTYPES}")


def identity(experiment: Experiment, data: Data | Table) -> dict[str, Any]:
    """What every start of a run must agree on: not the attacks, not a larger number of models."""
    out = {
        "pool": table.digest(data) if isinstance(data, Table) else sources.digest(data),
        "examples": len(data.y),
        "recipe": describe(experiment.recipe),
        "design": describe(experiment.design),
        "views": describe(experiment.views),
        "seed": experiment.seed,
    }
    if data.person is not None:
        out["people"] = len(np.unique(data.person))  # who are in or out whole
    if isinstance(experiment.recipe, Recipe) and experiment.recipe.init_from is not None:
        out["init_from"] = start.digest(experiment.recipe, data)
    if isinstance(experiment.recipe, Recipe) and experiment.recipe.tune is not None:
        out["tune"] = describe(experiment.recipe.tune)
    if experiment.copies is not None:
        out["copies"] = describe(experiment.copies)
    if experiment.outputs is not None:
        out["outputs"] = describe(experiment.outputs)
    if design.fixed_models(experiment.design):
        out["models"] = experiment.models  # its columns are balanced over just so many
    return out


def shadow_experiment(experiment: Experiment, first: int) -> Experiment:
    """That of the shadow models of other data, which stand behind the `first` of a pool.

    Its seed is another one, or model m would start as the target m does.
    """
    seed = np.random.SeedSequence([experiment.seed, _SHADOWS]).generate_state(1)[0]
    return replace(
        experiment,
        design=design.after(experiment.design, first),
        seed=int(seed),
        repeat_sets=0,
        shadow_data=None,
    )


_SHADOWS = 0x73686164  # a stream of seeds that nothing else uses


def about(experiment: Experiment) -> dict[str, Any]:
    """The rest of an experiment, and the machine: recorded, but free to change."""
    init_from = getattr(experiment.recipe, "init_from", None)
    other = experiment.shadow_data
    optional = {} if init_from is None else {"init_from": str(init_from)}
    optional |= {} if other is None else {"shadow_data": describe(other)}
    return optional | {
        "name": experiment.name[:200],
        "data": describe(experiment.data),
        "models": experiment.models,
        "repeat_sets": experiment.repeat_sets,
        "attacks": list(experiment.attacks),
        "versions": machine.versions(LIBRARIES * isinstance(experiment.recipe, Procedure)),
        "device": machine.device(),
        "git": machine.revision(),
    }


def shape_of_phi(experiment: Experiment, data: Data) -> tuple[int, int, int]:
    """Models, examples, and views of each."""
    example = jax.ShapeDtypeStruct(data.x.shape[1:], np.float32)
    views = jax.eval_shape(experiment.views, example).shape[0]
    return experiment.models, len(data.y), views


def members(experiment: Experiment, data: Data | Table) -> int:
    """How many members a model is expected to have."""
    return expected_members(experiment, len(data.y), data.person)


def expected_members(
    experiment: Experiment, examples: int, person: Int[np.ndarray, " N"] | None
) -> int:
    """How many members that is, of a pool known by its size and its people."""
    draw = drawing(experiment, person)
    return design.expected_members(draw, experiment.seed, examples)


def drawing(experiment: Experiment, person: Int[np.ndarray, " N"] | None) -> Callable:
    """The experiment's design as it is drawn: over persons, where records belong to them."""
    return experiment.design if person is None else design.of_people(experiment.design, person)


class Membership:
    """Who is in which model's training set, drawn for the models that are asked for.

    Of a design that cannot draw models one by one the whole `[M, N]` is drawn, once. Raises
    `ValueError` where that does not fit into memory, and for a model without members.
    """

    def __init__(self, experiment: Experiment, data: Data | Table) -> None:
        self._experiment, self._draw = experiment, drawing(experiment, data.person)
        self.shape = (experiment.models, len(data.y))
        if not design.by_row(experiment.design):
            _check_memory(experiment, self.shape)
        if self.shape[0] * self.shape[1] <= AT_ONCE:
            _ = self.whole  # which checks every model

    def of(self, models: Sequence[int]) -> Bool[np.ndarray, "n N"]:
        """The rows of some models."""
        if "whole" in vars(self) or not design.by_row(self._experiment.design):
            return self.whole[np.asarray(models)]
        return self._checked(design.some(self._draw, self._experiment.seed, *self.shape, models))

    @functools.cached_property
    def whole(self) -> Bool[np.ndarray, "M N"]:
        """The rows of all models."""
        return self._checked(self._draw(self._experiment.seed, *self.shape))

    def _checked(self, member: np.ndarray) -> np.ndarray:
        member = np.asarray(member, bool)
        if not member.any(1).all():
            raise ValueError(f"design={self._experiment.design!r} leaves a model without members")
        return member


def _check_memory(experiment: Experiment, shape: tuple[int, int]) -> None:
    """Refuses what does not fit, of a design whose rows depend on each other."""
    size = shape[0] * shape[1] * (BALANCING if design.fixed_models(experiment.design) else 1)
    if size > (free := machine.free_memory()):
        raise ValueError(
            f"design={experiment.design!r} cannot draw one model without all others, and "
            f"{shape[0]} models x {shape[1]} examples take {size / 1e9:.0f} GB, of which "
            f"{free / 1e9:.0f} are free; complementary_halves or poisson(0.5) draw each by itself"
        )
