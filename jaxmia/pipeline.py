"""The whole pipeline on one screen: data, design, train, query, signals, attacks, report.

Rerunning the same experiment in the same folder resumes it, or finds that all is done.
"""

from dataclasses import replace

import numpy as np

from jaxmia import machine
from jaxmia.blocks import train
from jaxmia.estimators import Procedure
from jaxmia.evaluation.evaluate import current, evaluate
from jaxmia.evaluation.from_disk import evaluate_from_disk, on_disk
from jaxmia.experiment import Experiment
from jaxmia.fits import fit
from jaxmia.options import Options
from jaxmia.report import inputs
from jaxmia.report.write import write, write_from_disk
from jaxmia.storage.locks import LockHeldError
from jaxmia.storage.run import Run
from jaxmia.training import processes
from jaxmia.training.launcher import Processes
from jaxmia.work import Work, opened


def run(experiment: Experiment, options: Options | None = None) -> Run:
    """Trains, queries and attacks every shadow model of an experiment, and writes the report.

    Of several workers (`shard_index` of `shard_count`, and the processes of a launcher) each does
    its blocks; the report is written by whoever finds that all are done. Raises `ValueError` for
    what cannot be run, `LockHeldError` if another process is at work on a block, `UnwritableError`
    if the folder cannot be written.
    """
    here = processes.start(machine.cache_folder() / "programs")
    work = opened(experiment, _of_process(options or Options(), here))
    store, say = work.store, work.options.progress.say
    if any(part.missing() for part in work.parts.values()):
        _on_disk(work)  # or refused, before anything is trained
    trained = train_missing(work)
    for part in work.parts.values():
        if work.options.shard_count > 1 and not part.missing():
            for line in part.store.verify():  # the blocks of the others, too
                say(line)
    if waiting := [block for part in work.parts.values() for block in part.missing()]:
        say(f"{sum(len(models) for _, models in waiting)} models are left to other workers")
        return Run(store.folder)
    if current(work):
        if not trained:
            say(f"all {work.experiment.models} models are trained and attacked: nothing to do")
        return Run(store.folder)
    try:
        with store.evaluating():
            return Run(store.folder) if current(work) else _report(work)  # or another was faster
    except LockHeldError as error:
        if work.options.shard_count == 1:
            raise
        say(str(error))
        return Run(store.folder)


def train_missing(work: Work) -> bool:
    """Trains or fits this worker's models that are not there, all parts; whether any were not."""
    make = fit if isinstance(work.experiment.recipe, Procedure) else train
    return any([make(part) for part in work.parts.values()])


def _report(work: Work) -> Run:
    """The signals attacked and measured; scores, summary and figures written."""
    stage, y = work.options.progress.stage, work.store.read("y")
    contents = inputs.of_run(
        work.store.records(), work.experiment.models, y, work.data, work.options.show_examples,
        work.data.person,
    )  # fmt: skip
    on_disk = _on_disk(work)
    with work.store.folder.publishing() as folder:
        if on_disk:
            summary, curves = evaluate_from_disk(work, folder)
            write_from_disk(folder, curves, summary, contents, stage)
        else:
            ranked, summary, signals = evaluate(work)
            phi = np.asarray(signals.phi)[..., 0]
            contents = inputs.with_signals(contents, signals, work.member, work.leave_out)
            write(folder, ranked, work.member, phi, summary, contents, stage)
    return Run(work.store.folder, evaluated=True)


def _on_disk(work: Work) -> bool:
    """Whether signals stay there; raises `ValueError` for what cannot be attacked so."""
    return on_disk(work.experiment, work.data, work.options.stream)


def _of_process(options: Options, here: Processes) -> Options:
    """The options of one of several processes that run one program: its share of the share."""
    return replace(
        options,
        shard_index=options.shard_index * here.count + here.index,
        shard_count=options.shard_count * here.count,
    )
