"""Attacks on signals that do not fit in memory: panel by panel, scores to disk, ROCs by counting.

Over the signals for what all examples say together (variances; twice where some are infinite), over
them again for the scores, and over these for the figures (`evaluation.streamed_scores`). Those of
one target are exact for its scores in float32; those of the pooled scores are counted
(`evaluation.counted`).
"""

import contextlib
import os
import tempfile
from collections.abc import Collection
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from jaxmia.attacks import ATTACKS
from jaxmia.attacks.by_example import Inputs
from jaxmia.attacks.infinite import LARGEST, Bounds, Extremes, extremes, within
from jaxmia.evaluation import adversary, constant, counted, evidence, own_fpr, plausible
from jaxmia.evaluation.streamed_scores import OnDisk, archive, measured
from jaxmia.evaluation.streamed_signals import StreamedSignals, memberships
from jaxmia.evaluation.summary import SCHEMA, Stage
from jaxmia.evaluation.unknown import Unknown, in_summary, unknown
from jaxmia.metrics import RocCounts
from jaxmia.privacy import relation_of_sizes
from jaxmia.storage import scores
from jaxmia.storage.files import UnwritableError
from jaxmia.types import SIGNALS, Attack

P_VALUES = "p-values"  # among the attacks' totals: those of their p-values, no attack's name
STREAMED = (
    "streamed: scores are float32; pooled figures are of scores rounded to "
    f"{counted.MANTISSA} bits of mantissa, the AUC within `rounding`; left out: thresholds from "
    "shadows, posteriors, power with fewer models, an attacker without the pool, and all that is "
    "drawn of phi (--stream never)"
)


def streamable(names: tuple[str, ...], there: Collection[str] = ("phi",)) -> dict[str, Attack]:
    """The attacks by name.

    Raises `ValueError` for one that must see all examples at once, or another signal than these.
    """
    attacks = {name: ATTACKS[name] for name in names}
    if whole := [name for name, attack in attacks.items() if attack.panels is None]:
        able = (k for k, a in ATTACKS.items() if a.panels is not None)
        can = ", ".join(sorted(k for k in able if set(ATTACKS[k].needs) <= set(there)))
        raise ValueError(
            f"attacks: {', '.join(whole)} must hold all signals in memory: --stream never; from "
            f"disk go {can}"
        )
    for name, one in attacks.items():
        if lacking := set(one.needs) - set(there):
            raise ValueError(f"attacks: {name} needs {SIGNALS[lacking.pop()].words}")
    return attacks


def attack(
    streamed: StreamedSignals,
    names: tuple[str, ...],
    out: Path,
    about: dict[str, Any],
    pairs: np.ndarray | None = None,
    relation: str | None = None,
    stage: Stage = contextlib.nullcontext,
) -> tuple[dict[str, Any], dict[str, RocCounts]]:
    """Writes `scores.npz` (float32); returns the summary and each attack's ROC.

    `about` is what the caller knows besides, `pairs` names models that are said to be complements,
    which is looked at, `relation` is that of the membership where it is known, `stage` names what
    takes a while.
    """
    attacks = streamable(names, streamed.signals)
    with stage("looking at all signals"):
        totals, ends, of, doubts = _totals(streamed, attacks, None)
        if bounds := ends.bounds:
            totals, *_ = _totals(streamed, attacks, bounds)
        totals = _again(streamed, attacks, bounds, totals)
        doubts += (
            evidence.of_pairs(pairs, memberships(streamed.member)) if pairs is not None else []
        )
    _, examples, *queries = streamed.reference.shape
    attacked = about.get("attacked", streamed.attacked)
    results, curves = {}, {}
    beside = out / f".scores.npz.{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".scores.", dir=out) as folder:
            with stage(f"attacking {streamed.attacked}"):
                on_disk, own = _scored(streamed, attacks, totals, bounds, Path(folder))
            with stage("measuring targets"):
                rocs = archive(on_disk, beside)
            if streamed.measured:
                sizes, relation = of.total[:, 0], relation or relation_of_sizes(of.total[:, 0])
                sizes = sizes if streamed.truth is None else streamed.truth.sum(1)
                design = str(about.get("experiment", {}).get("design", ""))
                who = adversary.of_sizes(sizes, examples, design=design, models=streamed.references)
                about = about | {"adversary": {**who._asdict(), "states": who.sentence()}}
                with stage("measuring attacks"):
                    results = measured(on_disk, rocs, own, relation, attacked, who)
                curves = {k: c for k, r in rocs.items() if (c := r.curve) is not None and c.both}
        os.replace(beside, out / "scores.npz")
    except OSError as error:
        raise UnwritableError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    summary: dict[str, Any] = {
        "schema": SCHEMA, "models": streamed.targets, "examples": examples,
        "queries": int(np.prod(queries)), "attacked": attacked,
        "attacks": results, **_unknown(streamed, ends, of), **about, "streamed": STREAMED,
    }  # fmt: skip
    if doubts:
        summary["warnings"] = [*doubts, *summary.get("warnings", [])]
    if not streamed.measured:
        only = "no metrics without the targets' membership: only scores were written"
        summary["notes"] = [only, *summary.get("notes", [])]
    return summary, curves


def _unknown(streamed: StreamedSignals, ends: Extremes, of: Unknown) -> dict[str, Any]:
    """What of the signals is not known, or infinite, for the summary."""
    of_attacked = of if streamed.target is None else None
    if streamed.target is not None and streamed.truth is not None:
        of_attacked = unknown(streamed.target, streamed.truth)
    return in_summary(ends, of, of_attacked)


def _totals(
    streamed: StreamedSignals, attacks: dict[str, Attack], bounds: Bounds | None
) -> tuple[dict[str, list], Extremes, Unknown, list[str]]:
    """The first pass: each attack's totals, what is infinite or not known, and doubts."""
    totals: dict[str, list] = {name: [] for name in (*attacks, P_VALUES)}
    ends = extremes([] if streamed.target is None else [streamed.target])
    counts: list[Unknown] = []
    spans: list[constant.Span] = []
    sums: list[plausible.Sums] = []
    for at, job in streamed.jobs():
        ends += extremes([job.reference])
        counts.append(unknown(job.reference, job.member))
        spans.append(constant.span(job.reference))
        sums.append(_sums(streamed, at, job))
        job = _finite(job, bounds or Bounds(-LARGEST, LARGEST))  # of the first pass none are known
        parts = {name: one.panels.totals(_views(job, one)) for name, one in attacks.items()}
        parts[P_VALUES] = own_fpr.totals_of_panel(job, tuple(attacks)) if streamed.measured else []
        for name, new in parts.items():
            totals[name] = [a + b for a, b in zip(totals[name] or [0] * len(new), new, strict=True)]
    references = constant.together(spans)
    if not streamed.own:
        constant.refuse(streamed.reference.name, references)
    if streamed.target is not None:
        constant.refuse("--target", constant.span(streamed.target), references)
    of = Unknown(*(reduce(add, parts) for parts in zip(*counts, strict=True)))
    return totals, ends, of, plausible.doubts(reduce(add, sums))


def _sums(streamed: StreamedSignals, at: slice, job: Inputs) -> plausible.Sums:
    """Of a panel, what says whether its signals are plausibly something else."""
    phi, target = job.reference[..., 0], None
    if streamed.target is not None:
        target = streamed.target[:, at, 0]
    truth = None if streamed.truth is None else streamed.truth[:, at]
    return plausible.sums(phi, job.member, target, truth, at.start)


def _again(
    streamed: StreamedSignals,
    attacks: dict[str, Attack],
    bounds: Bounds | None,
    first: dict[str, list],
) -> dict[str, list]:
    """The totals with those of a second pass, for attacks that make one."""
    twice = {name: one for name, one in attacks.items() if one.panels.again is not None}
    second: dict[str, list] = {name: [] for name in twice}
    for _, job in streamed.jobs() if twice else ():
        job = _finite(job, bounds)
        for name, one in twice.items():
            new = one.panels.again(_views(job, one), first[name])
            second[name] = [a + b for a, b in zip(second[name] or [0] * len(new), new, strict=True)]
    return {name: [*totals, *second.get(name, [])] for name, totals in first.items()}


def _scored(
    streamed: StreamedSignals,
    attacks: dict[str, Attack],
    totals: dict[str, list],
    bounds: Bounds | None,
    folder: Path,
) -> tuple[OnDisk, dict[str, own_fpr.CountsByExample]]:
    """The second pass: a file of float32 `[T, N]` for each attack, and one of what is NaN.

    And what becomes of p-values, of attacks that have some, where it is known.
    """
    own = []
    files = {name: folder / f"{i}.raw" for i, name in enumerate(attacks)}
    nan = folder / "nan.raw"
    examples = streamed.reference.shape[1]
    with contextlib.ExitStack() as stack:
        outputs = {k: stack.enter_context(open(f, "wb", buffering=0)) for k, f in files.items()}
        unknown_signals = stack.enter_context(open(nan, "wb", buffering=0))
        for at, job in streamed.jobs():
            scores.put(unknown_signals.fileno(), np.isnan(job.target).any(-1), at.start, examples)
            job = _finite(job, bounds)
            for name, one in attacks.items():
                own_job = job if one.panels.signal == "phi" else streamed.margins(at, job)
                score = one.panels.scores(_views(own_job, one), totals[name])
                score = np.clip(score, -LARGEST, LARGEST).astype(np.float32)
                scores.put(outputs[name].fileno(), score, at.start, examples)
            if (truth := streamed.columns(at, job)) is not None:
                own.append(own_fpr.of_panel(job, truth, tuple(attacks), totals[P_VALUES]))
    return OnDisk(streamed, files, nan), own_fpr.joined(own)


def _finite(job: Inputs, bounds: Bounds | None) -> Inputs:
    """The job with infinite signals taken as the bounds."""
    phi = within(job.reference, bounds)
    target = phi if job.target is job.reference else within(job.target, bounds)
    return job._replace(target=target, reference=phi)


def _views(job: Inputs, attack: Attack) -> Inputs:
    """The job as an attack sees it: all views, or the example itself."""
    if not attack.panels.view0 or job.reference.shape[-1] == 1:
        return job
    phi = job.reference[..., :1]
    target = phi if job.target is job.reference else job.target[..., :1]
    return job._replace(target=target, reference=phi)
