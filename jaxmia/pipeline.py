"""The whole pipeline on one screen: data, design, train, query, signals, attacks, report.

Rerunning the same experiment in the same folder resumes it, or finds that all is done.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxmia import data as sources
from jaxmia import design, machine
from jaxmia.attacks import needed
from jaxmia.evaluation.evaluate import assess, assessed
from jaxmia.experiment import Experiment, about, identity, members, membership
from jaxmia.options import Options
from jaxmia.storage import checkpoints
from jaxmia.storage.locks import Held
from jaxmia.storage.run import Run
from jaxmia.storage.store import Store
from jaxmia.training import parallel, processes
from jaxmia.training.block import Block, Programs, examples, programs
from jaxmia.training.interrupt import Interrupt
from jaxmia.training.plan import Plan, choose
from jaxmia.types import Data


def run(experiment: Experiment, options: Options | None = None) -> Run:
    """Trains, queries and attacks every shadow model of an experiment, and writes the report.

    Of several workers (`shard_index` of `shard_count`) each does its blocks; the report is written
    by whoever finds that all are done. Raises `ValueError` for what cannot be run, `Held` if
    another process is at work on a block, `Unwritable` if the folder cannot be written.
    """
    here = processes.start(machine.cache_folder() / "programs")
    options = _of_process(options or Options(), here)
    data = experiment.data()
    member = membership(experiment, data)
    examples(experiment.recipe, data)  # refuses what cannot be trained, before anything is written
    store, plan = _opened(experiment, options, data)
    work = (experiment, options, store, plan, data, member)
    if here.count == 1:
        return _carry_out(*work)
    found = Run(store.path)
    try:
        with store.present(here.index):
            try:
                found = _carry_out(*work)
            finally:
                if here.index:
                    processes.part()
    finally:
        if here.index == 0:  # it is where the others meet: without it they would be ended
            store.await_others(here.count)
    again = here.index == 0 and not found.assessed  # one of them may have died on the report
    return _carry_out(*work) if again else found


def _carry_out(
    experiment: Experiment,
    options: Options,
    store: Store,
    plan: Plan,
    data: Data,
    member: np.ndarray,
) -> Run:
    """This worker's share of the blocks, then the report if all are there."""
    say = options.progress.say
    for line in store.verify({"y": data.y}, lambda block: _mine(block, options)):
        say(line)
    if options.retrain_diverged and (
        again := store.retry_diverged(experiment.models, lambda block: _mine(block, options))
    ):
        say(f"models {again} had diverged: trained again, each with another key")
    todo = [(b, models) for b, models in store.missing(experiment.models) if _mine(b, options)]
    _check_signals(experiment, store)
    if todo:
        _train(experiment, options, store, plan, data, member, todo)
    if options.shard_count > 1 and not store.missing(experiment.models):
        for line in store.verify():  # the blocks of the others, too
            say(line)
    if waiting := store.missing(experiment.models):
        say(f"{sum(len(m) for _, m in waiting)} models are left to other workers")
        return Run(store.path)
    if assessed(experiment, store):
        if not todo:
            say(f"all {experiment.models} models are trained and attacked: nothing to do")
        return Run(store.path)
    try:
        with store.assessing():
            if assessed(experiment, store):  # another worker was faster
                return Run(store.path)
            return assess(experiment, options, store, data)
    except Held as held:
        if options.shard_count == 1:
            raise
        say(str(held))
        return Run(store.path)


def _of_process(options: Options, here: processes.Processes) -> Options:
    """The options of one of several processes that run one program: its share of the share."""
    return replace(
        options,
        shard_index=options.shard_index * here.count + here.index,
        shard_count=options.shard_count * here.count,
    )


def _train(
    experiment: Experiment,
    options: Options,
    store: Store,
    plan: Plan,
    data: Data,
    member: np.ndarray,
    todo: list[tuple[int, list[int]]],
) -> None:
    """Trains and queries blocks, but for those that another process holds or was faster with."""
    compiled, held = _programs(experiment, data, plan, options), None
    whole = sum(len(m) for _, m in todo)
    shows = options.progress.models(whole, experiment.recipe.epochs, len(todo))
    with Interrupt() as interrupt, shows:
        for number, _ in todo:
            options.progress.block()
            try:
                with store.lock(number):
                    if not (models := store.lacking(number, experiment.models)):
                        continue
                    folder = store.path / "shadows" / f"{number:04d}"
                    attempts = store.attempts(number, models)
                    seed = experiment.seed
                    block = Block(compiled, seed, models, member, plan.block, folder, attempts)
                    _finish(experiment, options, store, data, block, interrupt)
            except Held as error:
                held = error
                options.progress.say(str(error))
            interrupt.check()
    if held and any(_mine(b, options) for b, _ in store.missing(experiment.models)):
        raise held


def _check_signals(experiment: Experiment, store: Store) -> None:
    """Refuses attacks whose signals were not taken of the models that are there already."""
    records = [r for r in store.records() if r["models"]]
    for name in sorted(needed(experiment.attacks)):
        without = sum(name not in r["digests"] for r in records)
        if without:
            by = [a for a in experiment.attacks if name in needed([a])]
            raise ValueError(
                f"attacks: {by[0]} needs {name}, which was not taken of the models in {store.path} "
                "when they were trained; take another workdir"
            )


def _mine(block: int, options: Options) -> bool:
    return block % options.shard_count == options.shard_index


def _opened(experiment: Experiment, options: Options, data: Data) -> tuple[Store, Plan]:
    """The run folder, and the plan that its first start chose."""
    path = options.workdir or Path("checkpoints") / experiment.name
    if Store.there(path):
        found = Store(path)
        for line in found.said:
            options.progress.say(line)
        plan = Plan(**found.plan)
        there = found.experiment["identity"].get("models", experiment.models)
        if design.fixed_models(experiment.design) and there != experiment.models:
            raise ValueError(
                f"models={experiment.models}: {path} has {there}, and design={experiment.design!r} "
                "balances its columns over just so many; take another workdir"
            )
    else:
        share = -(-experiment.models // options.shard_count)
        plan, _ = choose(
            experiment.recipe,
            data,
            parallel.mesh(),
            share,
            options.width,
            options.block,
            options.progress.say,
        )
    store = Store.create(path, identity(experiment, data), vars(plan), about(experiment))
    return store, Plan(**store.plan)


def _programs(experiment: Experiment, data: Data, plan: Plan, options: Options) -> Programs:
    return programs(
        experiment.recipe,
        data,
        experiment.views,
        members=members(experiment, data),
        width=plan.width,
        mesh=parallel.mesh(),
        convolution=plan.convolution,
        logits=options.keep_logits or "logits" in needed(experiment.attacks),
        copies=experiment.copies,
        outputs=experiment.outputs,
        wanted=needed(experiment.attacks),
    )


def _finish(
    experiment: Experiment,
    options: Options,
    store: Store,
    data: Data,
    block: Block,
    interrupt: Interrupt,
) -> None:
    """Trains and queries a block, writes its signals, then the record that vouches for them."""
    start, epochs = time.time(), experiment.recipe.epochs
    block.train(epochs, options.checkpoint_seconds, options.progress, interrupt)
    seen = block.query(sources.held_out(data))
    if options.keep_shadows:
        block.keep(epochs)
    seconds = time.time() - start
    fixed = {"y": data.y} | ({} if data.person is None else {"person": data.person})
    store.finish(
        block.number,
        block.models,
        seen.arrays,
        experiment.models,
        **seen.facts,
        fixed={name: store.write_fixed(name, values) for name, values in fixed.items()},
        seconds={str(block.models[0]): seconds},
    )
    store.log(block=block.number, models=len(block.models), seconds=seconds)
    checkpoints.remove(block.folder, epochs if options.keep_shadows else None)
