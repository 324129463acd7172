"""A finished run attacked from disk, where its signals do not fit into memory, or if asked for."""

from pathlib import Path
from typing import Any

from jaxmia import machine, privacy
from jaxmia.estimators import Table
from jaxmia.evaluation import memory, streaming
from jaxmia.evaluation.evaluate import about_run
from jaxmia.evaluation.streamed_run import of_run
from jaxmia.evaluation.streamed_signals import StreamedSignals, leave_out_of
from jaxmia.evaluation.summary import in_turn
from jaxmia.experiment import Experiment, shape_of_phi
from jaxmia.metrics import RocCounts
from jaxmia.types import Data
from jaxmia.work import Work


def on_disk(experiment: Experiment, data: Data | Table, stream: str) -> bool:
    """Whether signals are attacked from disk: `stream` is always, or auto and memory too small.

    Raises `ValueError`, naming it, for what must then hold all of them in memory.
    """
    if stream == "never":
        return False
    reason = "--stream always: "
    if stream == "auto":
        if isinstance(data, Table):  # whose signals are as small as they
            return False
        size = memory.in_memory(shape_of_phi(experiment, data), 4, len(experiment.attacks))
        if size <= (free := machine.free_memory()):
            return False
        reason = (
            f"scoring takes up to {memory.in_words(size)} of memory, {memory.in_words(free)} are "
            "free, and from disk it cannot be done: "
        )
    try:
        _check(experiment, data)
    except ValueError as error:
        raise ValueError(f"{reason}{error}") from error
    return True


def _check(experiment: Experiment, data: Data | Table) -> None:
    streaming.streamable(experiment.attacks, ("phi", "margin"))
    whole = {
        "estimators": isinstance(data, Table),
        "records of people": data.person is not None,
        f"repeat_sets={experiment.repeat_sets}": bool(experiment.repeat_sets),
        "shadow_data": experiment.shadow_data is not None,
    }
    for name, there in whole.items():
        if there:
            raise ValueError(f"{name} must hold all signals in memory: --stream never")


def evaluate_from_disk(work: Work, out: Path) -> tuple[dict[str, Any], dict[str, RocCounts]]:
    """Attacks every model in turn, and writes `scores.npz`; the summary, and each attack's ROC."""
    stage, experiment = work.options.progress.stage, work.experiment
    relation = privacy.relation_of_design(experiment.design, len(work.data.y))
    with of_run(work.store, experiment.models, out, stage) as run:
        about = {"attacked": in_turn(experiment.models)} | about_run(work)
        about |= {"warnings": [*run.doubts]} if run.doubts else {}
        leaves = leave_out_of(run.member, None)
        every = StreamedSignals(run.phi, run.member, None, None, leaves, run.margin, own=True)
        return streaming.attack(every, experiment.attacks, out, about, None, relation, stage)
