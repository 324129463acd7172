"""A run, opened: what is to be done, how, on what, and the folder it goes into."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from jaxmia import data as sources
from jaxmia import design
from jaxmia.attacks import ATTACKS, needed
from jaxmia.attacks.references import LeaveOut, leave_out
from jaxmia.data.beside import Beside
from jaxmia.estimators import Procedure, Table
from jaxmia.experiment import Experiment, Membership, about, identity, shadow_experiment
from jaxmia.options import Options
from jaxmia.storage.folder import Folder
from jaxmia.storage.store import Store
from jaxmia.storage.urls import folder_at
from jaxmia.training import block, gradients, parallel, start
from jaxmia.training.plan import Plan, choose
from jaxmia.types import SIGNALS, Data

FITS = 16  # estimators of one block: they share a lock, a record and a chunk of every array
OF_REGRESSION = ("phi",)
OF_CLASSIFIER = ("phi", "y", "margin", "entropy", "modified_entropy")


@dataclass(frozen=True, eq=False)
class Work:
    """An experiment with its data and membership, its run folder and execution plan.

    `repeats` are the models trained once more on the first sets, in a folder of their own: they are
    `repeat`. `shadow_data` are those trained on other data, in another, with these behind the pool.
    """

    experiment: Experiment
    options: Options
    data: Data | Table
    membership: Membership
    store: Store
    plan: Plan
    repeat: bool = False
    repeats: "Work | None" = None
    shadow_data: "Work | None" = None

    @cached_property
    def member(self) -> Bool[np.ndarray, "M N"]:
        """Of all models: what an evaluation needs, and training does not."""
        return self.membership.of(range(self.experiment.models))

    @cached_property
    def leave_out(self) -> LeaveOut:
        """Who is no reference of a target, where every model is one in turn."""
        return leave_out(self.member)

    @property
    def parts(self) -> "dict[str, Work]":
        """What is to be trained: the run's own models ("signals"), and further ones if any."""
        every = {"signals": self, "repeats": self.repeats, "shadow_data": self.shadow_data}
        return {name: part for name, part in every.items() if part is not None}

    def mine(self, number: int) -> bool:
        """Whether a block is this worker's."""
        return number % self.options.shard_count == self.options.shard_index

    def missing(self) -> list[tuple[int, list[int]]]:
        """The blocks with models that are not finished, and which."""
        return self.store.missing(self.experiment.models)


def opened(experiment: Experiment, options: Options) -> Work:
    """Makes or opens the run folder, once all is known to fit.

    Raises `ValueError`, before anything is written, for what cannot be trained or attacked, and for
    a folder of another experiment; `UnwritableError` for one that cannot be written.
    """
    folder = _place(experiment, options)
    if not Store.there(folder):
        folder.check("report")
    data = experiment.data()
    data = data if isinstance(data, Table) else sources.usable(data)
    membership = Membership(experiment, data)
    check(experiment, data)
    other = other_shadows(experiment, data)
    store, plan = _folder(experiment, options, data)
    _check_signals(experiment, store)
    work = Work(experiment, options, data, membership, store, plan)
    if experiment.repeat_sets:
        work = replace(work, repeats=_repeats(work))
    return replace(work, shadow_data=_shadow_data(work, *other)) if other else work


def _repeats(work: Work) -> Work:
    """The repeats of a run's first models: a run of their own beneath it, of phi alone.

    Repeat m depends on the seed and m, whatever the number of models or repeats. They are neither
    targets nor references: all figures of the run's own models are as without them. Their blocks
    are as small as they are few.
    """
    count, options = work.experiment.repeat_sets, replace(work.options, keep_logits=False)
    estimators = isinstance(work.experiment.recipe, Procedure)
    together = 1 if estimators else work.plan.width * parallel.mesh().devices.size
    block = min(work.plan.block, together * -(-count // together))
    own = replace(work.experiment, models=count, repeat_sets=0, attacks=(), copies=None)
    same = {**identity(work.experiment, work.data), "repeats": "the same sets, other seeds"}
    plan = vars(work.plan) | {"block": block}
    store = Store.create(Store.repeats_of(work.store.folder), same, plan, about(own))
    return Work(own, options, work.data, work.membership, store, Plan(**store.plan), repeat=True)


def other_shadows(experiment: Experiment, data: Data | Table) -> tuple[Experiment, Beside] | None:
    """The experiment of shadow models on other data, and these behind the pool, if it has any."""
    if experiment.shadow_data is None:
        return None
    assert isinstance(data, Data)  # an experiment of estimators has none
    both = sources.beside(data, sources.usable(experiment.shadow_data()))
    other = shadow_experiment(experiment, both.first)
    Membership(other, both.data)
    return other, both


def _shadow_data(work: Work, other: Experiment, both: Beside) -> Work:
    """The shadow models of other data: a run of their own beneath it, asked about the pool, too.

    They are references alone: all figures of the run's own models are as without them.
    """
    same = {**identity(other, both.data), "shadow_data": both.other}
    folder = Store.shadow_data_of(work.store.folder)
    store = Store.create(folder, same, vars(work.plan), about(other))
    _check_signals(other, store)
    if both.same:
        work.options.progress.say(
            f"shadow_data: {both.same} of its records are in the experiment's pool, too: left out"
        )
    membership = Membership(other, both.data)
    return Work(other, work.options, both.data, membership, store, Plan(**store.plan))


def check(experiment: Experiment, data: Data | Table) -> None:
    """Raises `ValueError` for what recipe, data and copies cannot provide for the attacks."""
    if isinstance(experiment.recipe, Procedure) or isinstance(data, Table):
        _check_estimator(experiment, data)
        return
    block.examples(experiment.recipe, data)  # what cannot be trained at all
    for name in experiment.attacks:
        for signal in ATTACKS[name].needs:
            when = SIGNALS[signal].when
            without_copies = when == "copies" and experiment.copies is None
            alone = when == "regression" and not len(sources.held_out(data).population)
            if without_copies:
                raise ValueError(f"attacks: {name} needs {SIGNALS[signal].words}, as --copies")
            if alone:
                raise ValueError(f"attacks: {name} needs test examples, {data.name} has none")
            if signal == "activations":
                gradients.last_kernel(start.network(experiment.recipe, data), data)


def _check_estimator(experiment: Experiment, data: Data | Table) -> None:
    if not (isinstance(experiment.recipe, Procedure) and isinstance(data, Table)):
        raise ValueError("recipe: estimators go with a Table, networks with Data")
    regression = data.values is None
    if regression != experiment.recipe.regression:
        kinds = ("a classifier", "a regressor")
        raise ValueError(f"recipe: {kinds[not regression]} does not go with such labels")
    for name in experiment.attacks:
        own = OF_REGRESSION if regression else OF_CLASSIFIER
        if lacking := [s for s in ATTACKS[name].needs if s not in own]:
            kind = "a regression" if regression else "an estimator"
            raise ValueError(
                f"attacks: {name} needs {SIGNALS[lacking[0]].words}, which {kind} does not give"
            )


def _place(experiment: Experiment, options: Options) -> Folder:
    return folder_at(options.workdir or Path("checkpoints") / experiment.name, "workdir")


def _folder(experiment: Experiment, options: Options, data: Data | Table) -> tuple[Store, Plan]:
    """The run folder, and the plan that its first start chose."""
    folder = _place(experiment, options)
    if Store.there(folder):
        store = Store(folder)
        for line in store.said:
            options.progress.say(line)
        plan = Plan(**store.plan)
        there = store.identity.get("models", experiment.models)
        if design.fixed_models(experiment.design) and there != experiment.models:
            raise ValueError(
                f"models={experiment.models}: {folder} has {there}, and "
                f"design={experiment.design!r} balances its columns over just so many; "
                "take another workdir"
            )
    elif isinstance(experiment.recipe, Procedure):
        plan = Plan(1, options.block or FITS, "none")
    else:
        share = -(-experiment.models // options.shard_count)
        how = (options.width, options.block, options.progress.say)
        plan, _ = choose(experiment.recipe, data, parallel.mesh(), share, *how)
    store = Store.create(folder, identity(experiment, data), vars(plan), about(experiment))
    return store, Plan(**store.plan)


def _check_signals(experiment: Experiment, store: Store) -> None:
    """Refuses attacks whose signals were not taken of the models that are there already."""
    records = [r for r in store.records() if r["models"]]
    for name in sorted(needed(experiment.attacks)):
        if any(name not in r["digests"] for r in records):
            by = [a for a in experiment.attacks if name in needed([a])]
            raise ValueError(
                f"attacks: {by[0]} needs {name}, which was not taken of the models in "
                f"{store.folder} when they were trained; take another workdir"
            )
