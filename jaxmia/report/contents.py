"""What a report shows, counted once: curves, levels, who is found; and the charts of it."""

from collections.abc import Callable, Mapping
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
from jaxmia.metrics import Ranked, RocCounts
from jaxmia.report import example_charts, p_value_chart, training_chart
from jaxmia.report.chart import Chart, plain
from jaxmia.report.charts import phi_chart, power_chart, roc_chart
from jaxmia.report.inputs import ReportInputs

CLOUD = 3000  # examples that are drawn as points: the most exposed, and some of the rest
CASES = 6  # examples whose Gaussians are drawn


class Contents(NamedTuple):
    """All that is counted of a run for its page and its files, once."""

    curves: dict[str, RocCounts]  # the strongest attack first
    alone: bool  # whether they are of one target
    levels: list[float]
    reach: dict[str, Reach]
    exposed: list[Exposure]  # by level, of the strongest attack
    classes: list[Classes] | None
    posterior: Float[np.ndarray, " N"] | None
    mean_phi: example_charts.MeanPhi | None

    @property
    def start(self) -> int:
        """Which level is shown first: the last one up to 0.1 %."""
        return max(i for i, level in enumerate(self.levels) if i == 0 or level <= DEFAULT)


def look(
    ranked: Mapping[str, Ranked],
    summary: dict[str, Any],
    inputs: ReportInputs,
) -> Contents:
    """Counts everything that is shown."""

    def exposed(name: str, thresholds: np.ndarray) -> list[Exposure]:
        return exposures(ranked[name], thresholds)

    alone = any(len(of.score) == 1 for of in ranked.values())
    contents = look_at_curves(count(ranked), alone, exposed, summary, inputs)
    with_posterior = [n for n in contents.curves if summary["attacks"].get(n, {}).get("posterior")]
    if not with_posterior:
        return contents
    # of the strongest attack whose scores are log-likelihood ratios
    statement = summary["attacks"][with_posterior[0]]["posterior"]
    posterior = mean_posterior(ranked[with_posterior[0]], inputs.leave_out, statement)
    return contents._replace(posterior=posterior)


def look_at_curves(
    curves: dict[str, RocCounts],
    alone: bool,
    exposed: Callable[[str, Float[np.ndarray, " F"]], list[Exposure]],
    summary: dict[str, Any],
    inputs: ReportInputs,
) -> Contents:
    """Counts what needs no ranks of single scores: all but posteriors.

    `curves` have the strongest attack first, of one target `alone` or of several pooled;
    `exposed(name, thresholds)` counts whom an attack finds.
    """
    lead = next(iter(curves), None)
    others = int(curves[lead].fp[-1]) if lead else 1
    at = levels(others, alone)
    spans = intervals(summary)
    reached = {n: reach(curve, at, spans.get(n), alone) for n, curve in curves.items()}
    by_level, classes = [], None
    if lead is not None:
        by_level = exposed(lead, reached[lead].threshold)
        if inputs.y is not None:
            classes = [by_class(e, np.asarray(inputs.y), inputs.person) for e in by_level]
    mean_phi = None
    if inputs.reference is not None and inputs.reference_member is not None:
        mean_phi = example_charts.mean_phi(inputs.reference, inputs.reference_member)
    return Contents(curves, alone, at, reached, by_level, classes, None, mean_phi)


def intervals(summary: dict[str, Any]) -> dict[str, Any]:
    """The intervals of every attack's TPR that a summary holds, by FPR."""
    attacks = summary["attacks"].items()
    return {name: (a.get("intervals") or {}).get("by_fpr") or {} for name, a in attacks}


def draw(
    contents: Contents,
    member: Bool[np.ndarray, "T N"] | None,
    phi: Float[np.ndarray, "T N"] | None,
    summary: dict[str, Any],
    inputs: ReportInputs,
) -> dict[str, Chart]:
    """The charts of a run, by name, in the order of the page; without `member` none of phi."""
    charts: list[Chart | None] = []
    if contents.curves:
        alone = contents.curves if contents.alone else ()
        charts.append(roc_chart(contents.curves, intervals(summary), alone))
    if any(row["references"] for row in summary.get("curve") or []):
        order = [*contents.curves, *(n for n in summary["attacks"] if n not in contents.curves)]
        charts.append(power_chart(summary["curve"], order))
    if contents.exposed:
        start = contents.exposed[contents.start]
        if contents.mean_phi is not None:
            points = cloud(contents)
            charts.append(example_charts.memory_chart(contents.mean_phi, start.share, points))
        classes = contents.classes[contents.start] if contents.classes else None
        charts.append(example_charts.exposure_chart(histogram(start), classes, inputs.names))
    if phi is not None and member is not None:
        charts.append(phi_chart(phi, member))
        if contents.exposed:
            charts.append(example_charts.gaussian_chart(_cases(contents, member, phi, inputs)))
    posteriors = [(n, a["posterior"]) for n, a in summary["attacks"].items() if a.get("posterior")]
    if posteriors:
        charts.append(example_charts.reliability_chart(dict(posteriors), list(contents.curves)))
    charts.append(p_value_chart.p_value_chart(summary["attacks"], list(contents.curves)))
    if inputs.training is not None:
        charts.append(training_chart.training_chart(inputs.training))
    return {c.name: c for c in charts if c is not None}


def cloud(contents: Contents) -> Int[np.ndarray, " P"]:
    """The examples that are drawn: the most exposed at two levels, and evenly some of the rest."""
    assert contents.mean_phi is not None
    total = len(contents.mean_phi.inside)
    if total <= CLOUD:
        return np.arange(total)
    at = [contents.start, min(contents.start + 3, len(contents.levels) - 1)]
    first = np.concatenate([contents.exposed[i].order()[: CLOUD // 4] for i in at])
    rest = np.linspace(0, total - 1, CLOUD // 2).astype(int)
    return np.unique(np.concatenate([first, rest]))


def _cases(
    contents: Contents, member: np.ndarray, phi: np.ndarray, inputs: ReportInputs
) -> list[example_charts.Case]:
    """Exposed, ordinary and unexposed examples, each with one target's phi."""
    if inputs.reference is None or inputs.reference_member is None:
        return []
    exposed = contents.exposed[contents.start]
    order = exposed.order()
    order = order[exposed.models[order] > 0]
    if len(order) < CASES:
        examples = list(order)
    else:
        examples = [*order[: CASES - 2], order[len(order) // 2], order[-1]]
    cases = []
    for place, example in enumerate(examples):
        target = int(np.flatnonzero(member[:, example])[0])
        keep = np.isfinite(inputs.reference[:, example])
        if inputs.leave_out is not None:
            away = inputs.leave_out.excluded[target]
            keep[away[away >= 0]] = False
        inside = inputs.reference_member[:, example]
        of = inputs.reference[:, example].astype(np.float64)
        if not np.isfinite(phi[target, example]):
            continue
        last = ("ordinary", "least exposed")
        rank = f"rank {place + 1}" if place < CASES - 2 else last[place - CASES + 2]
        suffix = "" if inputs.y is None else f", label {label(inputs, int(example))}"
        title = f"example {example}{suffix}: {rank}"
        sides = of[keep & inside], of[keep & ~inside]
        cases.append(example_charts.Case(title, *sides, float(phi[target, example]), True))
    return cases


def label(inputs: ReportInputs, example: int) -> str:
    """An example's label as people know it: its number, and its name if it has one."""
    if inputs.y is None:
        return "–"
    label = int(inputs.y[example])
    name = inputs.names[label] if label < len(inputs.names) else ""
    return plain(f"{label} {name}" if name and name != str(label) else str(label), 40)
