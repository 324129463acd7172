"""Several runs side by side: each by the attack that finds most in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.evaluation import no_false_alarm
from jaxmia.evaluation.exposure import DEFAULT, GRID, Reach, levels, reach, read, stated
from jaxmia.evaluation.figures import FIGURES, as_columns, tree
from jaxmia.metrics import RocCounts
from jaxmia.report.chart import Axis, Chart, Dots, Mark, Note, Panel, decades, even, plain, tone
from jaxmia.report.charts import LEAST, phi_chart, roc_chart
from jaxmia.report.contents import intervals
from jaxmia.report.frame import dial, embedded, environment, frame, rounded, script
from jaxmia.storage.store import differences


class RunResults(NamedTuple):
    """One run: its name, its summary, each attack's ROC, and phi with the membership if present."""

    name: str
    summary: dict[str, Any]
    curves: Mapping[str, RocCounts]  # the strongest attack first
    phi: Float[np.ndarray, "T N"] | None = None
    member: Bool[np.ndarray, "T N"] | None = None


class Row(NamedTuple):
    """A run in the table."""

    key: int  # its place among all, the one that gives away most first
    name: str
    attack: str
    figures: dict[str, Any]
    tpr: float
    low: float
    high: float
    test: float | None
    gap: float | None
    blank: str  # beneath a TPR that has no interval
    none: str | None  # of one target with too few non-members for 0.1 %: the TPR at no false alarm


class Comparison(NamedTuple):
    """All that is counted for the page, once."""

    rows: list[Row]
    levels: list[float]
    curves: dict[str, Any]
    reach: dict[str, Reach]
    intervals: dict[str, Any]
    alone: list[str]  # the runs whose target is one


def look(runs: Sequence[RunResults]) -> Comparison:
    """The strongest attack of each run; raises `ValueError` for a run that has none."""
    strongest, curves, spans, alone = {}, {}, {}, []
    for run in runs:
        if not run.curves:
            raise ValueError(f"{run.name}: no attack could be scored, so there is nothing to show")
        strongest[run.name] = next(iter(run.curves))
        curves[run.name] = run.curves[strongest[run.name]]
        spans[run.name] = intervals(run.summary)[strongest[run.name]]
        alone += [run.name] if run.summary["models"] == 1 else []
    rates = {k: float(reach(c, [DEFAULT]).tpr[0]) for k, c in curves.items()}
    order = sorted(curves, key=lambda k: -rates[k])
    curves = {k: curves[k] for k in order}
    at = levels(max(int(c.fp[-1]) for c in curves.values()))
    reached = {k: reach(c, at, spans[k], k in alone) for k, c in curves.items()}
    rows = []
    for run in runs:
        r, i = reached[run.name], at.index(DEFAULT)
        figures = run.summary["attacks"][strongest[run.name]]
        curve = curves[run.name]
        others = int(curve.fp[-1])
        few = run.name in alone and not stated(DEFAULT, others, True)
        rows.append(
            Row(
                order.index(run.name),
                run.name,
                strongest[run.name],
                figures,
                float(r.tpr[i]),
                float(r.low[i]),
                float(r.high[i]),
                run.summary.get("test_accuracy"),
                run.summary.get("generalization_gap"),
                f"no false alarm among {others:,}" if run.name in alone else "no interval",
                no_false_alarm.words(no_false_alarm.fields(curve, others, True)) if few else None,
            )
        )
    return Comparison(rows, at, curves, reached, spans, alone)


def draw(of: Comparison, runs: Sequence[RunResults]) -> dict[str, Chart]:
    """The charts of a comparison, by name."""
    charts: list[Chart | None] = [
        roc_chart(of.curves, of.intervals, of.alone),
        _frontier([r for r in of.rows if r.none is None]),
    ]
    parts = [
        (r.name, phi_chart(r.phi, r.member))
        for r in runs
        if r.phi is not None and r.member is not None
    ]
    panels = tuple(
        p._replace(title=plain(name, 40), width=400, height=240, marks=_unnumbered(p.marks))
        for name, chart in parts
        if chart is not None
        for p in chart.panels
    )
    if panels:
        alt = "Histograms of phi of members and non-members of every run."
        charts.append(Chart("phi", "What an attacker sees", alt, panels))
    return {c.name: c for c in charts if c is not None}


def _unnumbered(marks: Sequence[Any]) -> tuple[Mark, ...]:
    """Without the counts, which differ between runs."""
    return tuple(m._replace(name=m.name.split(" (")[0]) for m in marks)


def _frontier(rows: Sequence[Row]) -> Chart | None:
    """Test accuracy against what is found."""
    points = [r for r in rows if r.test is not None]
    if len(points) < 2:
        return None
    x = np.array([r.test for r in points], float)
    low, high = float(x.min()), float(x.max())
    room = max(0.01, 0.15 * (high - low))
    across = Axis("test accuracy", low - room, min(high + room, 1.02), False,
                  even(low - room, min(high + room, 1.0), 5))  # fmt: skip
    ends = [v for r in points for v in (r.low, r.tpr, r.high) if v > 0]
    least = 10.0 ** np.floor(np.log10(max(min([1e-3, *ends]), LEAST)))
    most = 10.0 ** np.ceil(np.log10(max([1e-2, *ends])))
    up = Axis("TPR at 0.1 % FPR", float(least), float(most), True, decades(least, most))
    marks: list[Mark] = []
    for r in points:
        at = np.array([r.test]), np.array([r.tpr])
        span = np.array([r.low]), np.array([r.high])
        marks.append(Dots(plain(r.name, 40), *at, tone(r.key), 4.5, span))
        side = float(at[0][0]) > (low + high) / 2
        shift = (-0.02 if side else 0.02) * (across.high - across.low)
        words = Note(plain(r.name, 30), float(r.test or 0) + shift, max(r.tpr, least),
                     "end" if side else "start")  # fmt: skip
        marks.append(words)
    return Chart(
        "frontier",
        "What protection costs",
        "Test accuracy of every run against the share of training examples that is found at 0.1 % "
        "false positives: " + ", ".join(f"{plain(r.name)} {r.tpr:.2%}" for r in points) + ".",
        (Panel(across, up, tuple(marks), width=720, height=360, key="frontier"),),
    )


def page(of: Comparison, charts: dict[str, Chart], runs: Sequence[RunResults]) -> str:
    """The page, as HTML."""
    ordered = sorted((r for r in of.rows if r.none is None), key=lambda r: r.tpr)
    least, most = (ordered[0], ordered[-1]) if len(ordered) > 1 else (None, None)
    sure = apart = False
    if least is not None and most is not None:
        sure = bool(np.isfinite([least.low, most.low]).all())
        apart = sure and least.high < most.low
    start = of.levels.index(DEFAULT)
    content = {
        "levels": of.levels,
        "start": start,
        "steps": [
            {"words": dial(v, int(1 / of.levels[0]) + 1), "level": f"{100 * v:g}\u00a0%"}
            for v in of.levels
        ],
        "grid": rounded(np.array(GRID)),
        "attacks": [
            {
                "name": plain(name),
                "tpr": rounded(r.tpr, 6),
                "low": rounded(r.low, 6),
                "high": rounded(r.high, 6),
                "grid": rounded(read(of.curves[name], name in of.alone)),
                "blank": next(row.blank for row in of.rows if row.name == name),
            }
            for name, r in of.reach.items()
        ],
    }
    return (
        environment()
        .get_template("compare.html")
        .render(
            **frame(script()),
            rows=of.rows,
            warnings=_warnings(runs),
            least=least,
            most=most,
            sure=sure,
            apart=apart,
            steps=content["steps"],
            at=start,
            levels=of.levels,
            figures=as_columns(),
            fields=differing([r.summary for r in runs]),
            charts=charts,
            data=embedded(content),
        )
    )


def _warnings(runs: Sequence[RunResults]) -> list[str]:
    """What casts doubt on the runs, each with its name."""
    lines = ((run.name, line) for run in runs for line in run.summary.get("warnings", []))
    return [f"{plain(name)}: {line}" for name, line in lines]


def differing(summaries: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """The fields of the experiments in which the runs differ, with each one's value."""
    experiments = []
    for s in summaries:
        about = {k: v for k, v in (s.get("experiment") or {}).items() if k not in ("plan", "git")}
        experiments.append({"models": s["models"], "examples": s["examples"], **about})
    names: dict[str, None] = {}
    for other in experiments[1:]:
        for line in differences(experiments[0], other):
            names[line.split(" is ")[0]] = None
    return [(name, [_value(t, name) for t in experiments]) for name in names]


def _value(tree: Any, path: str) -> str:
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return "–" if tree is None else plain(str(tree), 160)


def summary(of: Comparison, runs: Sequence[RunResults]) -> dict[str, Any]:
    """The table as `summary.json` holds it, and what casts doubt on the runs."""
    warnings = _warnings(runs)
    return {
        **({"warnings": warnings} if warnings else {}),
        "runs": {
            r.name: {
                "attack": r.attack,
                **tree(figure.at(r.figures) for figure in FIGURES),
                "at_no_false_alarm": r.figures.get("at_no_false_alarm"),
                "intervals": r.figures.get("intervals"),
                "test_accuracy": r.test,
                "generalization_gap": r.gap,
            }
            for r in of.rows
        },
    }


def unique(paths: Sequence[Path]) -> list[str]:
    """A short name for each folder: its own, with its parent's where two are alike."""
    short = [p.resolve().name for p in paths]
    if len(set(short)) == len(short):
        return short
    longer = ["/".join(p.resolve().parts[-2:]) for p in paths]
    if len(set(longer)) == len(longer):
        return longer
    return [f"{i + 1} {name}" for i, name in enumerate(longer)]
