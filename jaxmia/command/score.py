"""`jaxmia score`: the attacks on arrays from any framework."""

import shlex
import sys
from collections.abc import Callable, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxmia import privacy
from jaxmia.attacks import ATTACKS, attack_every_model, attack_targets, select
from jaxmia.attacks.infinite import as_infinite, of_phi
from jaxmia.attacks.references import LeaveOut, leave_out
from jaxmia.command.grouping import groups_of
from jaxmia.command.inputs import (
    Score,
    array,
    check,
    pairs_of,
    person_of,
    references,
    run_of,
    shape_of_signals,
    streams,
    targets_of,
)
from jaxmia.command.terminal import show
from jaxmia.evaluation import evidence, memory, own_fpr, plausible, streaming
from jaxmia.evaluation.groups import of_groups
from jaxmia.evaluation.pool_knowledge import without_pool
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.power import curve
from jaxmia.evaluation.streamed_run import References, of_run
from jaxmia.evaluation.streamed_signals import StreamedSignals, leave_out_of
from jaxmia.evaluation.summary import SCHEMA, summarise
from jaxmia.evaluation.unknown import in_summary, own_nan, unknown
from jaxmia.metrics import rank_all
from jaxmia.report.inputs import ReportInputs
from jaxmia.report.write import write, write_from_disk, write_scores, write_summary
from jaxmia.storage.files import writable
from jaxmia.storage.run import Run
from jaxmia.storage.sources import Source
from jaxmia.storage.store import Store
from jaxmia.training.progress import Progress
from jaxmia.types import Signals


@dataclass(frozen=True)
class Command(Score):
    """Attack models by what they said, whatever they were trained with."""

    json: bool = False
    """Print the summary as JSON on stdout."""
    explain: bool = False
    """Say how much memory it takes at most, and stop."""


def main(options: Command) -> None:
    """Scores, and prints the table."""
    if options.explain:
        print(explain(options))
        return
    show(score(options), options.json)
    print(f"scores, summary and figures: {options.out}", file=sys.stderr)


def explain(options: Score) -> str:
    """What scoring takes, of arrays of which only the shapes are read."""
    check(options)
    shape, itemsize = shape_of_signals(options)
    if streams(options):
        size = memory.streamed(shape, itemsize, len(options.attacks))
        return f"from disk: at most {memory.in_words(size)}"
    of_classes = options.run is None and options.signals is None
    classes = shape[2] if of_classes else 0
    shape = shape[:2] if of_classes else shape
    size = memory.in_memory(shape, itemsize, len(options.attacks), classes)
    return f"in memory: at most {memory.in_words(size)}"


def score(options: Score) -> dict[str, Any]:
    """Does what the options say, and returns the summary; writes nothing unless all is sound.

    Raises `ValueError` or `FileNotFoundError` in one line for whatever does not fit.
    """
    check(options)
    writable(options.out, options.out / "report")
    if streams(options):
        return _streamed(options)
    signals, member = references(options)
    queries = np.asarray(signals.phi).shape[-1]
    pairs = pairs_of(options, len(member))
    leaves = leave_out(member, pairs=pairs)
    person, groups = person_of(options, member), groups_of(options.groups, member.shape[1])
    select(options.attacks, signals)
    targets: list[Signals] | None = None
    truth: np.ndarray | None = member
    if options.target or options.target_logits or options.target_probabilities:
        targets, truth = targets_of(options, signals)
        select(options.attacks, targets[0])
        if targets[0].population is None:  # thresholds are fitted on scores of the same kind
            signals = replace(signals, population=None)
    inputs = _report_inputs(options, signals, member, leaves if targets is None else None)
    inputs = inputs._replace(person=person)
    stage = Progress().stage
    scores, every, own = _attack(options.attacks, signals, member, leaves, targets, truth, stage)
    about: dict[str, Any] = {"attacked": _attacked(targets), "references": len(member)}
    about |= _unknown(signals, member, targets, truth)
    if warnings := _warnings(signals, member, targets, truth, pairs):
        about["warnings"] = warnings
    if options.curve:
        with stage("power with fewer models"):
            about["curve"] = curve(signals, member, options.attacks, leaves)
    about["command"] = _command(options)
    if truth is None:
        return _scores_alone(options.out, scores, {"queries": queries, **about})
    ranked = rank_all(scores, truth)
    shadow = ranked if targets is None else rank_all(every, member)
    summary = summarise(
        ranked,
        truth,
        queries=queries,
        about=about,
        shadows=Shadows(shadow, member, leaves if targets is None else None),
        person=person,
        relation=privacy.relation_of(None, member),
        own=own,
        own_nan=lambda name: _own_nan(name, signals, targets),
        stage=stage,
    )
    if groups:
        with stage("measuring groups"):
            summary["groups"] = of_groups(ranked, groups, person)
    if targets is None:
        with stage("an attacker without the pool"):
            again = _again(options)
            if pool := without_pool(signals, member, summary["attacks"], leaves, again, person):
                summary["finite_pool"] = pool
    phi = as_infinite(_phi_of_attacked(signals, targets)[..., 0])
    write(options.out, ranked, truth, phi, summary, inputs, stage)
    return summary


def _attack(
    names: tuple[str, ...],
    signals: Signals,
    member: np.ndarray,
    leaves: LeaveOut,
    targets: list[Signals] | None,
    truth: np.ndarray | None,
    stage: Callable,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    """Scores of whoever is attacked, of every model, and everyone's own FPR.

    Without the targets' membership the models are not attacked: nothing is measured by them.
    """
    every, own = {}, {}
    if truth is not None:
        with stage(f"attacking {len(member)} models"):
            every = attack_every_model(signals, member, names, leaves)
            if targets is None:
                own = own_fpr.of_every_model(signals.phi, member, names, leaves)
    if targets is None:
        return every, every, own
    with stage(f"attacking {_attacked(targets)}"):
        scores = attack_targets(targets, signals, member, names)
        if truth is not None:
            phi = _phi_of_attacked(signals, targets)
            own = own_fpr.of_targets(phi, truth, signals.phi, member, names)
    return scores, every, own


def _phi_of_attacked(signals: Signals, targets: list[Signals] | None) -> np.ndarray:
    if targets is None:
        return np.asarray(signals.phi)
    return np.stack([np.asarray(t.phi) for t in targets])


def _attacked(targets: Sized | None) -> str:
    if targets is None:
        return "every model in turn, the others as its references"
    return f"{len(targets)} given target{'s' * (len(targets) > 1)}"


def _scores_alone(
    out: Path, scores: dict[str, np.ndarray], about: dict[str, Any]
) -> dict[str, Any]:
    """Writes what there is where nobody said whom the targets were trained on."""
    models, examples = next(iter(scores.values())).shape
    only = "no metrics without --target-member: only scores were written"
    summary = {"schema": SCHEMA, "models": models, "examples": examples, "attacks": {}}
    summary |= {**about, "notes": [only, *about.get("notes", [])]}
    write_scores(out, scores, None)
    write_summary(out, summary)
    return summary


def _again(options: Score) -> np.ndarray | None:
    """phi of the models that a run trained once more on its first sets."""
    repeats = None if options.run is None else Run.open(options.run).repeats
    return None if repeats is None else np.asarray(repeats.signals.phi)


def _unknown(
    signals: Signals, member: np.ndarray, targets: list[Signals] | None, truth: np.ndarray | None
) -> dict[str, Any]:
    """What of phi is not known, or infinite, for the summary."""
    of = unknown(np.asarray(signals.phi), member)
    of_attacked = of if targets is None else None
    if targets is not None and truth is not None:
        of_attacked = unknown(_phi_of_attacked(signals, targets), truth)
    return in_summary(of_phi([signals, *(targets or [])]), of, of_attacked)


def _own_nan(name: str, signals: Signals, targets: list[Signals] | None) -> np.ndarray:
    """Which of the attacked models' own signals an attack lacks."""
    if targets is None:
        return own_nan(ATTACKS[name], signals)
    return np.stack([own_nan(ATTACKS[name], t) for t in targets])


def _warnings(
    signals: Signals,
    member: np.ndarray,
    targets: list[Signals] | None,
    truth: np.ndarray | None,
    pairs: np.ndarray | None,
) -> list[str]:
    """What is to be said before any number."""
    phi, own = np.asarray(signals.phi)[..., 0], None
    if targets is not None:
        own = _phi_of_attacked(signals, targets)[..., 0]
    out = plausible.doubts(plausible.sums(phi, member, own, truth if targets else None))
    if pairs is not None:
        out += evidence.of_pairs(pairs, [member])
    if signals.margin is not None and signals.y is not None:
        out += evidence.of_models(np.asarray(signals.margin)[..., 0], member, np.asarray(signals.y))
    if targets is not None and truth is not None and targets[0].margin is not None:
        margin = np.stack([np.asarray(t.margin)[..., 0] for t in targets])
        out += evidence.of_models(margin, truth, np.asarray(targets[0].y), "targets")
    return out


def _command(options: Score) -> str:
    """The command that does the same again."""
    words = ["jaxmia", "score"]
    for f in fields(options):
        value = getattr(options, f.name)
        if f.name in ("json", "explain") or value is None or value is False or value == f.default:
            continue
        words += [f"--{f.name.replace('_', '-')}"]
        words += [] if value is True else list(value) if isinstance(value, tuple) else [str(value)]
    return shlex.join(words)


def _report_inputs(
    options: Score, signals: Signals, member: np.ndarray, leaves: LeaveOut | None
) -> ReportInputs:
    """What the page draws besides the scores."""
    x = None
    if options.show_examples is not None:
        x = array("--show-examples", options.show_examples, "fiub", (2, 3, 4))
        if len(x) != member.shape[1]:
            raise ValueError(
                f"--show-examples: {options.show_examples} has {len(x)} examples, "
                f"the signals have {member.shape[1]}"
            )
    y = None if signals.y is None else np.asarray(signals.y)
    return ReportInputs(
        y=y,
        reference=as_infinite(np.asarray(signals.phi)[..., 0]),
        reference_member=member,
        leave_out=leaves,
        x=x,
    )


def _streamed(options: Score) -> dict[str, Any]:
    """The same from disk; the targets, which are few, in memory."""
    for name in options.attacks:
        if name not in ATTACKS:
            raise ValueError(f"attacks: {name[:80]!r} is not one of {', '.join(sorted(ATTACKS))}")
    every_of_run = options.run is not None and options.target is None
    streaming.streamable(options.attacks, ("phi", "margin") if every_of_run else ("phi",))
    stage = Progress().stage
    with _on_disk(options, stage) as of:
        pairs = pairs_of(options, of.phi.shape[0])
        target = truth = None
        if options.target is not None:
            like = np.full((1, *of.phi.shape[1:], *(1,) * (3 - len(of.phi.shape))), np.nan)
            targets, truth = targets_of(options, Signals(like))
            target = np.stack([np.asarray(t.phi) for t in targets])
        leaves = leave_out_of(of.member, pairs) if target is None else None
        margin = of.margin if every_of_run else None
        own = options.run is not None
        work = StreamedSignals(of.phi, of.member, target, truth, leaves, margin, own)
        about: dict[str, Any] = {"references": of.phi.shape[0], "command": _command(options)}
        about |= {"warnings": [*of.doubts]} if of.doubts else {}
        summary, curves = streaming.attack(
            work, options.attacks, options.out, about, pairs, stage=stage
        )
    write_from_disk(options.out, curves, summary, ReportInputs(y=of.y), stage)
    return summary


def _on_disk(options: Score, stage: Callable) -> AbstractContextManager[References]:
    """The references, of a run or of files."""
    if options.run is not None:
        run = run_of(options.run)
        return of_run(Store(run.folder), run.models, options.out, stage)
    assert options.signals is not None and options.member is not None
    phi = Source("--signals", options.signals, "f", (2, 3))
    member = Source("--member", options.member, "biuf", (2,))
    if member.shape != phi.shape[:2]:
        raise ValueError(
            f"--member: {options.member} has shape {member.shape}, the signals have {phi.shape}"
        )
    if min(member.shape) < 2:
        raise ValueError(
            f"--signals: has {member.shape[0]} models and {member.shape[1]} examples, 2 of each "
            "are needed"
        )
    return nullcontext(References(phi, member))
