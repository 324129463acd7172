"""Attacks on signals that do not fit in memory: panel by panel, scores to disk, ROCs by counting.

Three passes: over the signals for what all examples say together (variances; twice where some are
infinite), over them again for the scores, and over the scores, row by row, for the figures. Those
of one target are exact for its scores in float32. Those of the pooled scores are of scores rounded
towards 0 to `MANTISSA` bits: a valid threshold each, and an AUC within the `rounding` that the
summary tells.
"""

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmia import metrics
from jaxmia.attacks import ATTACKS
from jaxmia.attacks.by_example import Inputs
from jaxmia.attacks.infinite import LARGEST, Bounds, Extremes, extremes, within
from jaxmia.attacks.references import LeaveOut, leave_out_of_panels
from jaxmia.evaluation import constant, figures, no_false_alarm
from jaxmia.evaluation.figures import LEVELS
from jaxmia.evaluation.summary import SCHEMA
from jaxmia.evaluation.unknown import Unknown, in_summary, unknown
from jaxmia.machine import cores
from jaxmia.storage.files import UnwritableError
from jaxmia.storage.sources import Source, panels
from jaxmia.types import Attack

PANEL_BYTES = 32 << 20
ROW_BYTES = 64 << 20
MANTISSA = 13
_SHIFT = 23 - MANTISSA


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
    models, examples = member.shape

    def parts() -> Iterator[np.ndarray]:
        for at in panels(examples, models, PANEL_BYTES):
            yield _truth(member, member.columns(at))

    return leave_out_of_panels(models, parts, "auto", pairs)


def attack(
    streamed: StreamedSignals, names: tuple[str, ...], out: Path, about: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, metrics.RocCounts]]:
    """Writes `scores.npz` (float32); returns the summary and each attack's ROC."""
    attacks = streamable(names)
    totals, ends, of = _totals(streamed, attacks, None)
    if bounds := ends.bounds:
        totals, *_ = _totals(streamed, attacks, bounds)
    totals = _again(streamed, attacks, bounds, totals)
    _, examples, *queries = streamed.reference.shape
    summary: dict[str, Any] = {
        "schema": SCHEMA, "models": streamed.targets, "examples": examples,
        "queries": int(np.prod(queries)), "attacks": {}, **about,
        **_unknown(streamed, ends, of),
        "streamed": "scores are float32; pooled figures are of scores rounded to "
        f"{MANTISSA} bits of mantissa, the AUC within `rounding`; no thresholds from shadows",
    }  # fmt: skip
    curves = {}
    beside = out / f".scores.npz.{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".scores.", dir=out) as folder:
            files = _scored(streamed, attacks, totals, bounds, Path(folder))
            with zipfile.ZipFile(beside, "w", allowZip64=True) as scores:
                for name, file in files.items():
                    with _entry(scores, name, np.float32, (streamed.targets, examples)) as entry:
                        fields, curve = _evaluated(streamed, file, entry)
                    summary["attacks"][name] = fields
                    if curve is not None:
                        curves[name] = curve
                    file.unlink()
                if curves:
                    with _entry(scores, "member", np.bool_, (streamed.targets, examples)) as entry:
                        for at in panels(streamed.targets, examples, ROW_BYTES):
                            entry.write(np.ascontiguousarray(streamed.membership(at)).tobytes())
        os.replace(beside, out / "scores.npz")
    except OSError as error:
        raise UnwritableError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    if not curves:
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
) -> tuple[dict[str, list], Extremes, Unknown]:
    """The first pass: each attack's totals, and what is infinite or not known."""
    totals: dict[str, list] = {name: [] for name in attacks}
    ends = extremes([] if streamed.target is None else [streamed.target])
    counts: list[Unknown] = []
    spans: list[constant.Span] = []
    for _, job in streamed.jobs():
        ends += extremes([job.reference])
        counts.append(unknown(job.reference, job.member))
        spans.append(constant.span(job.reference))
        job = _finite(job, bounds)
        for name, one in attacks.items():
            new = one.panels.totals(_views(job, one))
            totals[name] = [a + b for a, b in zip(totals[name] or [0] * len(new), new, strict=True)]
    references = constant.together(spans)
    constant.refuse(streamed.reference.name, references)
    if streamed.target is not None:
        constant.refuse("--target", constant.span(streamed.target), references)
    return totals, ends, Unknown(*(sum(parts) for parts in zip(*counts, strict=True)))


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
) -> dict[str, Path]:
    """The second pass: a file of float32 `[T, N]` for each attack."""
    files = {name: folder / f"{i}.raw" for i, name in enumerate(attacks)}
    examples = streamed.reference.shape[1]
    with contextlib.ExitStack() as stack:
        outputs = {k: stack.enter_context(open(f, "wb", buffering=0)) for k, f in files.items()}
        for at, job in streamed.jobs():
            job = _finite(job, bounds)
            for name, one in attacks.items():
                score = one.panels.scores(_views(job, one), totals[name])
                score = np.ascontiguousarray(np.clip(score, -LARGEST, LARGEST), np.float32)
                for t, row in enumerate(score):
                    place = 4 * (t * examples + at.start)
                    _put(outputs[name].fileno(), memoryview(row).cast("B"), place)
    return files


def _put(file: int, content: memoryview, place: int) -> None:
    while len(content):
        size = os.pwrite(file, content, place)
        content, place = content[size:], place + size


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


def _evaluated(streamed: StreamedSignals, file: Path, entry: Any) -> tuple[dict[str, Any], Any]:
    """The third pass: the rows go into the archive, and are counted on the way."""
    examples, bins = streamed.reference.shape[1], 2 << (32 - _SHIFT)
    pooled, rows, missing = np.zeros(bins, np.int64), [], 0
    outside = np.zeros(examples, bool)  # those that are some target's non-members
    for at in panels(streamed.targets, 4 * examples, ROW_BYTES):
        many = at.stop - at.start
        score = np.fromfile(file, np.float32, many * examples, offset=4 * at.start * examples)
        entry.write(memoryview(score).cast("B"))
        score, member = score.reshape(many, examples), streamed.membership(at)
        missing += int(np.isnan(score).sum())
        if member is None:
            continue
        with ThreadPoolExecutor(cores()) as pool:
            rows += [f for f in pool.map(_figures, score, member) if f is not None]
        for s, m in zip(score, member, strict=True):
            keep = ~np.isnan(s)
            outside |= keep & ~m
            at_bin = (ordered(s[keep]) >> _SHIFT).astype(np.int64) * 2 + m[keep]
            pooled += np.bincount(at_bin, minlength=bins)
    curve = _curve(pooled)
    false, true = (0, 0) if curve is None else (int(curve.fp[-1]), int(curve.tp[-1]))
    fields: dict[str, Any] = {"members": true, "non_members": false, "not_scorable": missing}
    if not (true and false):
        return fields | figures.nothing(), None
    none = no_false_alarm.fields(curve, int(outside.sum()), alone=streamed.targets == 1)
    return fields | _summary(curve, rows) | none, curve


def _summary(curve: metrics.RocCounts, rows: list) -> dict[str, Any]:
    """The same fields as a summary has that was made in memory, but for intervals."""
    true, false = int(curve.tp[-1]), int(curve.fp[-1])
    ties = (np.diff(curve.tp) * np.diff(curve.fp).astype(np.float64)).sum() / 2
    return {
        **figures.tree(figures.values_of(curve)),
        "rounding": float(ties / true / false),
        "targets": figures.over_targets(rows),
        "resolution": 1 / false,
        "notes": [
            f"{level:.3%} FPR of {false} non-members means no false positive at all"
            for level in LEVELS.values()
            if level * false < 1
        ],
    }


def ordered(score: np.ndarray) -> np.ndarray:
    """float32 as uint32 of the same order; both zeros are one."""
    bits = (score + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def unordered(key: np.ndarray) -> np.ndarray:
    """The float32 that `ordered` makes of each, from uint32."""
    return np.where(key >> 31, key & np.uint32(0x7FFFFFFF), ~key).view(np.float32)


def _figures(score: np.ndarray, member: np.ndarray) -> list[float] | None:
    """The figures of one target, by one sort of whole numbers."""
    keep = ~np.isnan(score)
    both = np.sort(ordered(score[keep]).astype(np.uint64) << np.uint64(1) | member[keep])[::-1]
    key, inside = both >> np.uint64(1), np.cumsum(both & np.uint64(1), dtype=np.int64)
    if not len(key) or not 0 < inside[-1] < len(key):
        return None
    last = np.append(np.flatnonzero(key[1:] != key[:-1]), len(key) - 1)
    true, false = np.append(0, inside[last]), np.append(0, last + 1 - inside[last])
    threshold = np.append(np.inf, unordered(key[last].astype(np.uint32)).astype(np.float64))
    return figures.values_of(metrics.RocCounts(true, false, threshold))


def _curve(pooled: np.ndarray) -> metrics.RocCounts | None:
    """The ROC of counts by rounded score; a threshold is the lowest score of its count."""
    counts = pooled.reshape(-1, 2)[::-1]
    some = np.flatnonzero(counts.any(1))
    if not len(some):
        return None
    false, true = np.cumsum(counts[some], axis=0).T
    keys = ((len(counts) - 1 - some).astype(np.uint32)) << np.uint32(_SHIFT)
    lowest = unordered(keys)
    lowest = np.where(np.isnan(lowest), np.float32(-np.inf), lowest)  # -inf rounded down
    threshold = np.append(np.inf, lowest.astype(np.float64))
    return metrics.RocCounts(np.append(0, true), np.append(0, false), threshold)


@contextlib.contextmanager
def _entry(archive: zipfile.ZipFile, name: str, dtype: Any, shape: tuple) -> Iterator[Any]:
    """A .npy of an archive, to be written row by row."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(entry, described)
        yield entry


def _truth(source: Source, member: np.ndarray) -> np.ndarray:
    if member.dtype != bool and not np.isin(member, (0, 1)).all():
        raise ValueError(f"{source.name}: {source.path} has entries other than 0 and 1")
    return member.astype(bool)
