"""The signals of a finished run attacked, measured and drawn."""

import zipfile
from dataclasses import replace

import numpy as np

from jaxmia import privacy
from jaxmia.attacks import attack_every_model
from jaxmia.attacks.references import LeaveOut, leave_out
from jaxmia.evaluation import records
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.power import power
from jaxmia.evaluation.summary import summarise
from jaxmia.experiment import Experiment
from jaxmia.options import Options
from jaxmia.report import inputs
from jaxmia.report.write import write
from jaxmia.storage import files
from jaxmia.storage.run import Run, read_signals
from jaxmia.storage.store import Store
from jaxmia.training import quantiles
from jaxmia.types import Data, Signals


def assess(experiment: Experiment, options: Options, store: Store, data: Data) -> Run:
    """Attacks every model in turn, and writes scores, summary and figures."""
    signals, member = read_signals(store, experiment.models)
    leaves = leave_out(member)
    with options.progress.stage(f"attacking {experiment.models} models"):
        if "quantile_regression" in experiment.attacks:
            signals = replace(signals, expected=quantiles.expected(experiment, data, signals))
        scores = attack_every_model(signals, member, experiment.attacks, leaves)
    with options.progress.stage("measuring and drawing"):
        return reported(experiment, options, store, data, signals, scores, leaves)


def reported(
    experiment: Experiment,
    options: Options,
    store: Store,
    data: Data,
    signals: Signals,
    scores: dict[str, np.ndarray],
    leaves: LeaveOut,
) -> Run:
    """Measures the scores of a run, and writes them with the report."""
    member, phi = np.asarray(store.read("member", experiment.models), bool), np.asarray(signals.phi)
    summary = summarise(
        scores,
        member,
        queries=phi.shape[-1],
        about=records.of_run(experiment, store),
        shadows=Shadows(scores, member, leaves),
        person=data.person,
        relation=privacy.relation_of(experiment.design, member),
    )
    if options.command:
        summary["command"] = options.command
    summary["curve"] = power(signals, member, experiment.attacks, leaves)
    drawn = inputs.of_run(store.records(), signals, member, leaves, data, options.show_examples)
    write(store.path, scores, member, phi[..., 0], summary, drawn)
    return Run(store.path, assessed=True)


def assessed(experiment: Experiment, store: Store) -> bool:
    """Whether the scores of just these signals and attacks are there."""
    try:
        found = files.read_json(store.path / "summary.json")
        same = found["experiment"]["signals"] == store.state(experiment.models)
        if not (same and set(found["attacks"]) == set(experiment.attacks)):
            return False
        with zipfile.ZipFile(store.path / "scores.npz") as scores:
            return scores.testzip() is None
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile):
        return False
