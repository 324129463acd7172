"""What a report shows, counted once: curves, levels, who is found; and the charts of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.evaluation.exposure import (
    DEFAULT,
    Classes,
    Exposure,
    Reach,
    by_class,
    count,
    exposures,
    histogram,
    levels,
    reach,
)
from jaxmia.evaluation.posteriors import mean_posterior
from jaxmia.metrics import Counted, Ranked
from jaxmia.report import charts, example_charts, training_chart
from jaxmia.report.chart import Chart, plain
from jaxmia.report.inputs import Shown

CLOUD = 3000  # examples that are drawn as points: the most exposed, and some of the rest
CASES = 6  # examples whose Gaussians are drawn


class Found(NamedTuple):
    """All that is counted of a run for its page and its files, once."""

    curves: dict[str, Counted]  # the strongest attack first
    levels: list[float]
    reach: dict[str, Reach]
    exposed: list[Exposure]  # by level, of the strongest attack
    classes: list[Classes] | None
    posterior: Float[np.ndarray, " N"] | None
    known: example_charts.Known | None

    @property
    def start(self) -> int:
        """Which level is shown first."""
        return self.levels.index(DEFAULT)


def look(
    ranked: Mapping[str, Ranked],
    summary: dict[str, Any],
    shown: Shown,
) -> Found:
    """Counts everything that is shown."""
    curves = count(ranked)
    lead = next(iter(curves), None)
    others = int(curves[lead].fp[-1]) if lead else 1
    at = levels(others)
    spans = intervals(summary)
    reached = {name: reach(curve, at, spans.get(name)) for name, curve in curves.items()}
    exposed, classes = [], None
    if lead is not None:
        exposed = exposures(ranked[lead].score, ranked[lead].member, reached[lead].threshold)
        if shown.y is not None:
            classes = [by_class(e, np.asarray(shown.y)) for e in exposed]
    known = None
    if shown.reference is not None and shown.reference_member is not None:
        known = example_charts.known(shown.reference, shown.reference_member)
    believed = [n for n in curves if summary["attacks"].get(n, {}).get("posterior")]
    posterior = None
    if believed:  # of the strongest attack whose scores are log-likelihood ratios
        told = summary["attacks"][believed[0]]["posterior"]
        posterior = mean_posterior(ranked[believed[0]], shown.leave_out, told)
    return Found(curves, at, reached, exposed, classes, posterior, known)


def intervals(summary: dict[str, Any]) -> dict[str, Any]:
    """The intervals of every attack's TPR that a summary holds, by level."""
    attacks = summary["attacks"].items()
    return {name: (a.get("intervals") or {}).get("tpr_at_fpr") for name, a in attacks}


def draw(
    found: Found,
    member: Bool[np.ndarray, "T N"],
    phi: Float[np.ndarray, "T N"] | None,
    summary: dict[str, Any],
    shown: Shown,
) -> dict[str, Chart]:
    """The charts of a run, by name, in the order of the page."""
    drawn: list[Chart | None] = []
    if found.curves:
        drawn.append(charts.roc_chart(found.curves, intervals(summary)))
    if any(row["references"] for row in summary.get("curve") or []):
        order = [*found.curves, *(n for n in summary["attacks"] if n not in found.curves)]
        drawn.append(charts.power_chart(summary["curve"], order))
    if found.exposed:
        start = found.exposed[found.start]
        if found.known is not None:
            drawn_as_points = cloud(found)
            drawn.append(example_charts.memory_chart(found.known, start.share, drawn_as_points))
        classes = found.classes[found.start] if found.classes else None
        drawn.append(example_charts.exposure_chart(histogram(start), classes, shown.names))
    if phi is not None:
        drawn.append(charts.phi_chart(phi, member))
        if found.exposed:
            drawn.append(example_charts.gaussian_chart(_cases(found, member, phi, shown)))
    known = [(n, a["posterior"]) for n, a in summary["attacks"].items() if a.get("posterior")]
    if known:
        drawn.append(example_charts.reliability_chart(dict(known), list(found.curves)))
    if shown.training is not None:
        drawn.append(training_chart.training_chart(shown.training))
    return {c.name: c for c in drawn if c is not None}


def cloud(found: Found) -> Int[np.ndarray, " P"]:
    """The examples that are drawn: the most exposed at two levels, and evenly some of the rest."""
    known = found.known
    assert known is not None
    total = len(known.inside)
    if total <= CLOUD:
        return np.arange(total)
    at = [found.start, min(found.start + 3, len(found.levels) - 1)]
    first = np.concatenate([found.exposed[i].order()[: CLOUD // 4] for i in at])
    rest = np.linspace(0, total - 1, CLOUD // 2).astype(int)
    return np.unique(np.concatenate([first, rest]))


def _cases(
    found: Found, member: np.ndarray, phi: np.ndarray, shown: Shown
) -> list[example_charts.Case]:
    """Exposed, ordinary and unexposed examples, each with one target's phi."""
    if shown.reference is None or shown.reference_member is None:
        return []
    exposed = found.exposed[found.start]
    order = exposed.order()
    order = order[exposed.models[order] > 0]
    if len(order) < CASES:
        chosen = list(order)
    else:
        chosen = [*order[: CASES - 2], order[len(order) // 2], order[-1]]
    cases = []
    for place, example in enumerate(chosen):
        target = int(np.flatnonzero(member[:, example])[0])
        keep = np.isfinite(shown.reference[:, example])
        if shown.leave_out is not None:
            away = shown.leave_out.excluded[target]
            keep[away[away >= 0]] = False
        inside = shown.reference_member[:, example]
        of = shown.reference[:, example].astype(np.float64)
        if not np.isfinite(phi[target, example]):
            continue
        last = ("ordinary", "least exposed")
        rank = f"rank {place + 1}" if place < CASES - 2 else last[place - CASES + 2]
        called = "" if shown.y is None else f", label {label(shown, int(example))}"
        told = f"example {example}{called}: {rank}"
        sides = of[keep & inside], of[keep & ~inside]
        cases.append(example_charts.Case(told, *sides, float(phi[target, example]), True))
    return cases


def label(shown: Shown, example: int) -> str:
    """An example's label as people know it: its number, and its name if it has one."""
    if shown.y is None:
        return "–"
    label = int(shown.y[example])
    named = shown.names[label] if label < len(shown.names) else ""
    return plain(f"{label} {named}" if named and named != str(label) else str(label), 40)
