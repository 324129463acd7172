"""The signals of a finished run attacked and measured; nothing is written or drawn."""

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxmia import data as sources
from jaxmia import privacy
from jaxmia.attacks import ATTACKS, attack_every_model
from jaxmia.attacks.infinite import of_phi
from jaxmia.estimators import Table
from jaxmia.evaluation import evidence, own_fpr, records
from jaxmia.evaluation.groups import of_groups
from jaxmia.evaluation.other_shadows import by_other_shadows
from jaxmia.evaluation.pool_knowledge import without_pool
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.power import power
from jaxmia.evaluation.summary import summarise
from jaxmia.evaluation.unknown import notes, own_nan, unknown
from jaxmia.experiment import members
from jaxmia.metrics import Ranked, rank_all
from jaxmia.storage.run import read_signals, read_summary
from jaxmia.training import quantiles
from jaxmia.types import Data, Signals
from jaxmia.work import Work

STATES = ("signals", "repeats", "shadow_data")  # fields of a summary's `experiment`


class Evaluated(NamedTuple):
    """Every attack's scores, ranked, the summary as it is written, and the signals attacked."""

    ranked: dict[str, Ranked]
    summary: dict[str, Any]
    signals: Signals


def evaluate(work: Work) -> Evaluated:
    """Attacks every model in turn, the others as its references, and measures the scores."""
    experiment, progress = work.experiment, work.options.progress
    signals, _ = read_signals(work.store, experiment.models)
    signals = _with_features(signals, work)
    with progress.stage(f"attacking {experiment.models} models"):
        if "quantile_regression" in experiment.attacks:
            expected = quantiles.expected(
                experiment.networks, experiment.seed, work.data, signals, work.plan.convolution
            )
            signals = replace(signals, expected=expected)
        scores = attack_every_model(signals, work.member, experiment.attacks, work.leave_out)
        own = own_fpr.of_every_model(signals.phi, work.member, experiment.attacks, work.leave_out)
    ranked = rank_all(scores, work.member)
    about = about_run(work)
    of = unknown(np.asarray(signals.phi), np.asarray(work.member, bool))
    if lines := notes(of_phi([signals]), of):
        about["notes"] = lines
    summary = summarise(
        ranked,
        work.member,
        queries=np.shape(signals.phi)[-1],
        about=about,
        shadows=Shadows(ranked, work.member, work.leave_out),
        person=work.data.person,
        relation=privacy.relation_of(experiment.design, work.member),
        own=own,
        own_nan=lambda name: own_nan(ATTACKS[name], signals),
        stage=progress.stage,
    )
    if warnings := _warnings(work, signals):
        summary["warnings"] = warnings
    if isinstance(work.data, Table) and work.data.groups:
        with progress.stage("measuring groups"):
            summary["groups"] = of_groups(ranked, work.data.groups, work.data.person)
    with progress.stage("an attacker without the pool"):
        if pool := without_pool(
            signals, work.member, summary["attacks"], work.leave_out, _again(work), work.data.person
        ):
            summary["finite_pool"] = pool
    if work.shadow_data is not None:
        with progress.stage("shadow models of other data"):
            if other := _of_other_shadows(work.shadow_data, signals, ranked, work.data.person):
                summary["shadow_data"] = other
    with progress.stage("power with fewer models"):
        summary["curve"] = power(signals, work.member, experiment.attacks, work.leave_out)
    return Evaluated(ranked, summary, signals)


def about_run(work: Work) -> dict[str, Any]:
    """What a summary says of a run besides its figures."""
    about = records.of_run(work.experiment, work.store)
    about["experiment"] |= _states(work)
    return about | ({"command": work.options.command} if work.options.command else {})


def _with_features(signals: Signals, work: Work) -> Signals:
    """The signals with what examples are compared by, where an attack wants it."""
    if not any("features" in ATTACKS[name].needs for name in work.experiment.attacks):
        return signals
    assert isinstance(work.data, Data)  # of a table no attack takes them
    return replace(signals, features=sources.features(work.data))


def _of_other_shadows(
    other: Work,
    signals: Signals,
    matched: Mapping[str, Ranked],
    person: Int[np.ndarray, " N"] | None,
) -> dict[str, Any] | None:
    """The figures of a run's models by shadow models of other data."""
    references, member = read_signals(other.store, other.experiment.models)
    about = {
        "data": other.store.identity["shadow_data"],
        "members": members(other.experiment, other.data),
    }
    references = _with_features(references, other)
    return by_other_shadows(signals, matched, references, member, about, person)


def _warnings(work: Work, signals: Signals) -> list[str]:
    """What says that the models are no evidence."""
    if signals.margin is not None:
        margin, y = np.asarray(signals.margin)[..., 0], np.asarray(signals.y)
        return evidence.of_models(margin, work.member, y)
    if isinstance(work.data, Table):
        return evidence.of_regressions(np.asarray(signals.phi)[..., 0], work.member, work.data.y)
    return []


def _states(work: Work) -> dict[str, str]:
    """Digests of the signals that the figures rest on, those of further models if there are any."""
    return {name: p.store.state(p.experiment.models) for name, p in work.parts.items()}


def _again(work: Work) -> np.ndarray | None:
    """phi of the models trained once more on the first sets, if there are any."""
    if work.repeats is None:
        return None
    signals, _ = read_signals(work.repeats.store, work.repeats.experiment.models)
    return np.asarray(signals.phi)


def current(work: Work) -> bool:
    """Whether the scores of just these signals and attacks are there, and the page, written last.

    A report that was killed while it was drawn is made again, and one that was made from disk, or
    in memory, where the other is asked for.
    """
    folder, experiment = work.store.folder, work.experiment
    ways = {"always": [True], "never": [False]}.get(work.options.stream, [True, False])
    try:
        summary = read_summary(folder)
        states = {k: v for k, v in summary["experiment"].items() if k in STATES}
        if not (states == _states(work) and set(summary["attacks"]) == set(experiment.attacks)):
            return False
        if ("streamed" in summary) not in ways or not folder.has("report/index.html"):
            return False
        with folder.open("scores.npz") as file, zipfile.ZipFile(file) as scores:
            return scores.testzip() is None
    except (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile):
        return False
