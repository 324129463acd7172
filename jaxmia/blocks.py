"""The blocks of a run: trained, queried, written, one after the other."""

import time

from jaxmia import data as sources
from jaxmia.attacks import needed
from jaxmia.experiment import members
from jaxmia.storage import checkpoints
from jaxmia.storage.locks import LockHeldError
from jaxmia.training import parallel
from jaxmia.training.block import Block, Programs, programs
from jaxmia.training.interrupt import Interrupt
from jaxmia.work import Work


def train(work: Work) -> bool:
    """Trains and queries this worker's blocks that are not finished; whether there were any.

    What is there is compared with its digests first. Blocks that another process holds, or was
    faster with, are left out; raises `LockHeldError` if one of them is not finished at the end.
    """
    _verify(work)
    todo = [number for number, _ in work.missing() if work.mine(number)]
    if not todo:
        return False
    compiled, busy = programs_of(work), None
    experiment, progress = work.experiment, work.options.progress
    whole = sum(len(models) for number, models in work.missing() if work.mine(number))
    shows = progress.models(whole, experiment.networks.epochs, len(todo))
    with Interrupt() as interrupt, shows:
        for number in todo:
            progress.block()
            try:
                with work.store.lock(number):
                    if models := work.store.lacking(number, experiment.models):
                        _finish(work, _block(work, compiled, number, models), interrupt)
            except LockHeldError as error:
                busy = error
                progress.say(str(error))
            interrupt.check()
    if busy and any(work.mine(number) for number, _ in work.missing()):
        raise busy
    return True


def _verify(work: Work) -> None:
    """Forgets what is damaged, and what is to be trained again."""
    store, say = work.store, work.options.progress.say
    for line in store.verify({"y": work.data.y}, work.mine):
        say(line)
    if work.options.retrain_diverged and (
        again := store.retry_diverged(work.experiment.models, work.mine)
    ):
        say(f"models {again} had diverged: trained again, each with another key")


def programs_of(work: Work) -> Programs:
    """The compiled stages of a run."""
    experiment, signals = work.experiment, needed(work.experiment.attacks)
    return programs(
        experiment.recipe,
        work.data,
        experiment.views,
        members=members(experiment, work.data),
        width=work.plan.width,
        mesh=parallel.mesh(),
        convolution=work.plan.convolution,
        logits=work.options.keep_logits or "logits" in signals,
        copies=experiment.copies,
        outputs=experiment.outputs,
        extra=signals,
    )


def _block(work: Work, compiled: Programs, number: int, models: list[int]) -> Block:
    folder = work.store.folder.under(f"shadows/{number:04d}")
    attempts = work.store.attempts(number, models)
    seed, size = work.experiment.seed, work.plan.block
    member = work.membership.of(models)
    return Block(compiled, seed, models, member, size, folder, attempts, work.repeat)


def _finish(work: Work, block: Block, interrupt: Interrupt) -> None:
    """Trains and queries a block, writes its signals, then the record that vouches for them."""
    options, store, data = work.options, work.store, work.data
    start, epochs = time.time(), work.experiment.networks.epochs
    block.train(epochs, options.checkpoint_seconds, options.progress, interrupt)
    result = block.query(sources.held_out(data))
    if options.keep_shadows:
        block.keep(epochs)
    seconds = time.time() - start
    fixed = {"y": data.y} | ({} if data.person is None else {"person": data.person})
    store.finish(
        block.number,
        block.models,
        result.arrays,
        work.experiment.models,
        **result.facts,
        fixed={name: store.write_fixed(name, values) for name, values in fixed.items()},
        seconds={str(block.models[0]): seconds},
    )
    store.log(block=block.number, models=len(block.models), seconds=seconds)
    checkpoints.remove(block.folder, epochs if options.keep_shadows else None)
