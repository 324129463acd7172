"""Attacks on signals that do not fit in memory: panel by panel, scores to disk, ROCs by counting.

Three passes: over the signals for what all examples say together (variances; twice where some are
infinite), over them again for the scores, and over the scores, row by row, for the figures. Those
of one target are exact for its scores in float32; those of the pooled scores are counted
(`evaluation.counted`).
"""

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmia import metrics
from jaxmia.attacks import ATTACKS
from jaxmia.attacks.by_example import Inputs
from jaxmia.attacks.infinite import LARGEST, Bounds, Extremes, extremes, within
from jaxmia.attacks.references import LeaveOut, leave_out_of_panels
from jaxmia.evaluation import (
    constant,
    counted,
    evidence,
    figures,
    no_false_alarm,
    own_fpr,
    plausible,
)
from jaxmia.evaluation.figures import LEVELS
from jaxmia.evaluation.summary import SCHEMA
from jaxmia.evaluation.unknown import NotScorable, Unknown, in_summary, reasons, unknown
from jaxmia.machine import cores
from jaxmia.storage import scores
from jaxmia.storage.files import UnwritableError
from jaxmia.storage.sources import Source, panels
from jaxmia.types import Attack

PANEL_BYTES = 32 << 20
ROW_BYTES = 64 << 20
P_VALUES = "p-values"  # among the attacks' totals: those of their p-values, no attack's name
STREAMED = (
    "streamed: scores are float32; pooled figures are of scores rounded to "
    f"{counted.MANTISSA} bits of mantissa, the AUC within `rounding`; left out: bootstrap "
    "intervals, concentration, thresholds from shadows, posteriors, and all that is drawn of phi "
    "(--stream never)"
)


class StreamedSignals(NamedTuple):
    """What is attacked: given targets, or (`target` is None) every model by the others."""

    reference: Source
    member: Source
    target: np.ndarray | None
    truth: np.ndarray | None  # of the targets, where it is told
    leave_out: LeaveOut | None

    @property
    def targets(self) -> int:
        """How many."""
        return self.reference.shape[0] if self.target is None else len(self.target)

    @property
    def measured(self) -> bool:
        """Whether it is known whom the targets were trained on."""
        return self.target is None or self.truth is not None

    def jobs(self) -> Iterator[tuple[slice, Inputs]]:
        """The panels, as the attacks take them."""
        models, examples, *queries = self.reference.shape
        each = models * (self.reference.dtype.itemsize * int(np.prod(queries)) + 9)
        for at in panels(examples, each, PANEL_BYTES):
            phi = self.reference.columns(at).reshape(models, at.stop - at.start, -1)
            member = _truth(self.member, self.member.columns(at))
            target = phi if self.target is None else self.target[:, at]
            yield at, Inputs(target, phi, member, self.leave_out, at.start)

    def membership(self, at: slice) -> np.ndarray | None:
        """Who was trained on what, of some targets."""
        if self.target is None:
            return _truth(self.member, self.member.rows(at))
        return None if self.truth is None else self.truth[at]

    def columns(self, at: slice, job: Inputs) -> np.ndarray | None:
        """Which targets were trained on each example of a panel."""
        if self.target is None:
            return job.member
        return None if self.truth is None else self.truth[:, at]


def streamable(names: tuple[str, ...]) -> dict[str, Attack]:
    """The attacks by name; raises `ValueError` for one that must see all examples at once."""
    attacks = {name: ATTACKS[name] for name in names}
    if whole := [name for name, attack in attacks.items() if attack.panels is None]:
        can = ", ".join(sorted(k for k, a in ATTACKS.items() if a.panels is not None))
        raise ValueError(
            f"attacks: {', '.join(whole)} must hold all signals in memory: --stream never; from "
            f"disk go {can}"
        )
    return attacks


def leave_out(member: Source, pairs: np.ndarray | None) -> LeaveOut:
    """Who leaves with the target (`references.leave_out`), without holding the membership."""
    models = member.shape[0]
    return leave_out_of_panels(models, lambda: memberships(member), "auto", pairs)


def memberships(member: Source) -> Iterator[np.ndarray]:
    """Who was trained on what, by panels of examples."""
    models, examples = member.shape
    for at in panels(examples, models, PANEL_BYTES):
        yield _truth(member, member.columns(at))


def attack(
    streamed: StreamedSignals,
    names: tuple[str, ...],
    out: Path,
    about: dict[str, Any],
    pairs: np.ndarray | None = None,
) -> tuple[dict[str, Any], dict[str, metrics.RocCounts]]:
    """Writes `scores.npz` (float32); returns the summary and each attack's ROC.

    `pairs` names models that are said to be complements, which is looked at.
    """
    attacks = streamable(names)
    totals, ends, of, doubts = _totals(streamed, attacks, None)
    if bounds := ends.bounds:
        totals, *_ = _totals(streamed, attacks, bounds)
    totals = _again(streamed, attacks, bounds, totals)
    doubts += evidence.of_pairs(pairs, memberships(streamed.member)) if pairs is not None else []
    _, examples, *queries = streamed.reference.shape
    shape = streamed.targets, examples
    summary: dict[str, Any] = {
        "schema": SCHEMA, "models": streamed.targets, "examples": examples,
        "queries": int(np.prod(queries)), "attacks": {}, **about,
        **_unknown(streamed, ends, of), **({"warnings": doubts} if doubts else {}),
        "streamed": STREAMED,
    }  # fmt: skip
    curves = {}
    beside = out / f".scores.npz.{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".scores.", dir=out) as folder:
            files, nan, own = _scored(streamed, attacks, totals, bounds, Path(folder))
            with zipfile.ZipFile(beside, "w", allowZip64=True) as archive:
                for name, file in files.items():
                    with scores.entry(archive, name, np.float32, shape) as entry:
                        fields, curve = _evaluated(streamed, file, nan, entry)
                    if fields["auc"] is not None and name in own:
                        fields |= own_fpr.without_intervals(*own[name])
                    summary["attacks"][name] = {"tpr_at_own_fpr": None, **fields}
                    if curve is not None:
                        curves[name] = curve
                    file.unlink()
                if streamed.measured:
                    with scores.entry(archive, "member", np.bool_, shape) as entry:
                        for at in panels(streamed.targets, examples, ROW_BYTES):
                            entry.write(np.ascontiguousarray(streamed.membership(at)).tobytes())
        os.replace(beside, out / "scores.npz")
    except OSError as error:
        raise UnwritableError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    if not streamed.measured:
        summary["attacks"] = {}
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
) -> tuple[dict[str, Path], Path, dict[str, list[np.ndarray]]]:
    """The second pass: a file of float32 `[T, N]` for each attack, one of what is NaN, and sums.

    Those are what becomes of p-values, of attacks that have some, where it is known.
    """
    own: dict[str, list[np.ndarray]] = {}
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
                score = one.panels.scores(_views(job, one), totals[name])
                score = np.clip(score, -LARGEST, LARGEST).astype(np.float32)
                scores.put(outputs[name].fileno(), score, at.start, examples)
            if (truth := streamed.columns(at, job)) is not None:
                of_panel = own_fpr.sums_of_panel(job, truth, tuple(attacks), totals[P_VALUES])
                for name, sums in of_panel.items():
                    own[name] = [a + b for a, b in zip(own.get(name, (0, 0)), sums, strict=True)]
    return files, nan, own


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


def _evaluated(
    streamed: StreamedSignals, file: Path, nan: Path, entry: Any
) -> tuple[dict[str, Any], metrics.RocCounts | None]:
    """The third pass: the rows go into the archive, and are counted on the way."""
    examples, counts = streamed.reference.shape[1], counted.nothing()
    outside = np.zeros(examples, bool)  # those that are some target's non-members
    rows, missing = [], NotScorable()
    for at in panels(streamed.targets, 5 * examples, ROW_BYTES):
        score = scores.raw_rows(file, np.float32, at, examples)
        entry.write(memoryview(score).cast("B"))
        member = streamed.membership(at)
        missing += reasons(score, scores.raw_rows(nan, np.bool_, at, examples))
        if member is None:
            continue
        with ThreadPoolExecutor(cores()) as pool:
            each = pool.map(counted.figures_of_target, score, member)
            rows += [f for f in each if f is not None]
        for s, m in zip(score, member, strict=True):
            outside |= ~np.isnan(s) & ~m
            counted.add(counts, s, m)
    curve = counted.roc(counts)
    false, true = (0, 0) if curve is None else (int(curve.fp[-1]), int(curve.tp[-1]))
    fields: dict[str, Any] = {"members": true, "non_members": false, "not_scorable": sum(missing)}
    fields |= missing.in_summary()
    if curve is None or not curve.both:
        return fields | figures.nothing(), None
    none = no_false_alarm.fields(curve, int(outside.sum()), alone=streamed.targets == 1)
    return fields | _summary(curve, rows) | none, curve


def _summary(curve: metrics.RocCounts, rows: list) -> dict[str, Any]:
    """The same fields as a summary has that was made in memory, but for intervals."""
    false = int(curve.fp[-1])
    return {
        **figures.tree(figures.values_of(curve)),
        "rounding": counted.rounding(curve),
        "targets": figures.over_targets(rows),
        "resolution": 1 / false,
        "notes": [
            f"{level:.3%} FPR of {false} non-members means no false positive at all"
            for level in LEVELS.values()
            if level * false < 1
        ],
    }


def _truth(source: Source, member: np.ndarray) -> np.ndarray:
    if member.dtype != bool and not np.isin(member, (0, 1)).all():
        raise ValueError(f"{source.name}: {source.path} has entries other than 0 and 1")
    return member.astype(bool)
