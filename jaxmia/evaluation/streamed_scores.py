"""The scores of streamed attacks, measured: row by row into `scores.npz`, then by panels.

Rows give the ROC, by counting, and each target's own figures; panels of examples the intervals and
on whom the finds fall.
"""

import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmia.evaluation import counted, figures, intervals, own_fpr, summary
from jaxmia.evaluation.adversary import Adversary
from jaxmia.evaluation.counted_intervals import DRAWS, Rows, Tally
from jaxmia.evaluation.exposure import strongest_first
from jaxmia.evaluation.streamed_signals import ROW_BYTES, StreamedSignals
from jaxmia.evaluation.unknown import NotScorable, reasons
from jaxmia.machine import cores
from jaxmia.metrics import RocCounts, draws
from jaxmia.storage import scores
from jaxmia.storage.sources import panels

SCORES = 1 << 22  # that are looked at together


class OnDisk(NamedTuple):
    """What was attacked, and a file for each attack; `nan` says which own signals are not known."""

    streamed: StreamedSignals
    files: dict[str, Path]  # raw float32 [T, N]
    nan: Path  # raw bool [T, N]

    @property
    def shape(self) -> tuple[int, int]:
        """Targets and examples."""
        return self.streamed.targets, self.streamed.reference.shape[1]


class Rocs(NamedTuple):
    """An attack's pooled ROC, None where nothing could be scored or is known of membership."""

    curve: RocCounts | None
    targets: list[list[float]]  # the figures of each
    missing: NotScorable


def archive(of: OnDisk, out: Path) -> dict[str, Rocs]:
    """Writes `scores.npz`, and counts the scores on the way."""
    with zipfile.ZipFile(out, "w", allowZip64=True) as file:
        rocs = {}
        for name in of.files:
            with scores.entry(file, name, np.float32, of.shape) as entry:
                rocs[name] = _counted(of, name, entry)
        if of.streamed.measured:
            with scores.entry(file, "member", np.bool_, of.shape) as entry:
                for at in panels(*of.shape, ROW_BYTES):
                    entry.write(np.ascontiguousarray(of.streamed.membership(at)).tobytes())
    return rocs


def curves(file: Path, names: Iterable[str]) -> dict[str, RocCounts]:
    """The pooled ROCs of scores that lie in a `scores.npz`, the strongest attack's first.

    Of those attacks that have scored members and non-members.
    """
    out = {}
    for name in names:
        rows = zip(scores.rows(file, name), scores.rows(file, "member"), strict=True)
        curve = counted.curve(rows)
        if curve is not None and curve.both:
            out[name] = curve
    return strongest_first(out)


def _counted(of: OnDisk, name: str, entry: Any) -> Rocs:
    """The ROC and each target's figures; the rows go into the archive's entry."""
    targets, examples = of.shape
    counts, each, missing = counted.nothing(), [], NotScorable()
    for at in panels(targets, 5 * examples, ROW_BYTES):
        score = scores.raw_rows(of.files[name], np.float32, at, examples)
        entry.write(memoryview(score).cast("B"))
        missing += reasons(score, scores.raw_rows(of.nan, np.bool_, at, examples))
        if (member := of.streamed.membership(at)) is None:
            continue
        with ThreadPoolExecutor(cores()) as pool:
            every = pool.map(counted.figures_of_target, score, member)
            each += [f for f in every if f is not None]
        for s, m in zip(score, member, strict=True):
            counted.add(counts, s, m)
    return Rocs(counted.roc(counts), each, missing)


def measured(
    of: OnDisk,
    rocs: Mapping[str, Rocs],
    own: Mapping[str, own_fpr.CountsByExample],
    relation: str,
    attacked: str,
    who: Adversary,
) -> dict[str, dict[str, Any]]:
    """Each attack's fields of the summary; `own` is what becomes of p-values, where there are any.

    But for what needs all scores at once: thresholds from shadows and posteriors.
    """
    tallies = _tallies(of, rocs)
    entries = own_fpr.measured(own)
    out = {}
    for name, roc in rocs.items():
        if name not in tallies:
            out[name] = _nothing(roc, of) | {"attacker": summary.attacker(name)}
            continue
        fields = _fields(of, roc, tallies[name])
        fields["leak"] = summary.leak(tallies[name].cells.curve, relation)
        fields["attacker"] = summary.attacker(name)
        fields |= own_fpr.of_attack(fields, entries.get(name))
        fields["states"] = summary.statements(name, fields, attacked, who)
        out[name] = fields
    return out


def _tallies(of: OnDisk, rocs: Mapping[str, Rocs]) -> dict[str, Tally]:
    """By attack that has members and non-members, the figures of every draw."""
    examples = of.shape[1]
    out = {}
    for name, roc in rocs.items():
        if roc.curve is not None and roc.curve.both:
            out[name] = Tally(roc.curve, intervals.FPRS, examples)
    if out:
        for at, weight in draws.weights_of_panels(examples, DRAWS, 0):
            member = of.streamed.inside(at)
            assert member is not None  # of targets whose membership is known there are ROCs
            for name, tally in out.items():
                tally.add(at, weight, _panel(of, name, at, member))
    return out


def _panel(of: OnDisk, name: str, at: slice, member: np.ndarray) -> Rows:
    """The scores and membership of a panel of examples, some targets after the others."""
    targets, examples = of.shape
    for some in panels(targets, at.stop - at.start, SCORES):
        yield scores.raw_panel(of.files[name], np.float32, some, at, examples), member[some]


def _nothing(roc: Rocs, of: OnDisk) -> dict[str, Any]:
    """The fields of an attack that scored no members, or no non-members."""
    none = RocCounts(*np.zeros((3, 1), np.int64))
    counts = summary.counts(roc.curve or none, int(np.prod(of.shape)))
    return counts | roc.missing.in_summary() | figures.nothing() | {"tpr_at_own_fpr": None}


def _fields(of: OnDisk, roc: Rocs, tally: Tally) -> dict[str, Any]:
    curve, alone = tally.cells.curve, of.shape[0] == 1
    members, others = tally.examples
    spans = intervals.of_curve(curve, tally.intervals(), members, others, alone=alone)
    at = [intervals.FPRS.index(level) for level in figures.LEVELS.values()]
    exposed = tally.exposures()
    return {
        **summary.counts(curve, int(np.prod(of.shape))),
        **roc.missing.in_summary(),
        **summary.of_curve(curve, roc.targets, others, spans, alone=alone),
        "rounding": counted.rounding(curve),
        "concentration": summary.concentration([exposed[i] for i in at]),
    }
