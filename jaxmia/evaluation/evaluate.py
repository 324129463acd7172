"""The signals of a finished run attacked, measured and drawn."""

import zipfile
from dataclasses import replace

import numpy as np

from jaxmia import design, privacy
from jaxmia.attacks import attack_every_model
from jaxmia.attacks.references import balance_of
from jaxmia.evaluation import records
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.power import power
from jaxmia.evaluation.summary import summarise
from jaxmia.experiment import Experiment
from jaxmia.metrics import rank_all
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
    pairs = pairs_of(experiment)
    with options.progress.stage(f"attacking {experiment.models} models"):
        if "quantile_regression" in experiment.attacks:
            signals = replace(signals, expected=quantiles.expected(experiment, data, signals))
        scores = attack_every_model(signals, member, experiment.attacks, pairs)
    return reported(experiment, options, store, data, signals, scores)


def pairs_of(experiment: Experiment) -> np.ndarray | None:
    """Which models split the pool between them, as equal numbers."""
    return np.arange(experiment.models) // 2 if design.complementary(experiment.design) else None


def reported(
    experiment: Experiment,
    options: Options,
    store: Store,
    data: Data,
    signals: Signals,
    scores: dict[str, np.ndarray],
) -> Run:
    """Measures the scores of a run, and writes them with the report."""
    member, phi = np.asarray(store.read("member", experiment.models), bool), np.asarray(signals.phi)
    pairs = pairs_of(experiment)
    leaving = balance_of(member, "auto", pairs).leaving(len(member))
    ranked = rank_all(scores, member)
    summary = summarise(
        ranked,
        member,
        queries=phi.shape[-1],
        about=records.of_run(experiment, store),
        shadows=Shadows(ranked, member, leaving),
        person=data.person,
        relation=privacy.relation_of(experiment.design, member),
        stage=options.progress.stage,
    )
    if options.command:
        summary["command"] = options.command
    with options.progress.stage("power with fewer models"):
        summary["curve"] = power(signals, member, experiment.attacks, pairs)
    drawn = inputs.of_run(store.records(), signals, member, pairs, data, options.show_examples)
    write(store.path, ranked, member, phi[..., 0], summary, drawn, options.progress.stage)
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
