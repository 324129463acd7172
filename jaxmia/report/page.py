"""The page that a run leaves: one file with everything in it, and no request to anywhere."""

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmia.evaluation import figures, no_false_alarm, own_fpr
from jaxmia.evaluation.exposure import GRID, histogram, read, stated
from jaxmia.report import example_charts, gallery
from jaxmia.report.chart import Chart, plain
from jaxmia.report.contents import Contents, ReportInputs, cloud, label
from jaxmia.report.frame import dial, embedded, environment, frame, percent, rounded, script
from jaxmia.report.table import exposed_most, remarks

EXPOSED = 20  # examples that are named
PICTURES = 12  # of them that are shown


def page(
    folder: Path,
    contents: Contents,
    charts: dict[str, Chart],
    summary: dict[str, Any],
    inputs: ReportInputs,
) -> str:
    """The page for a folder, as HTML."""
    about = summary.get("experiment") or {}
    lead = next(iter(contents.curves), None)
    pictures = _pictures(contents, inputs) if lead else {}
    return (
        environment()
        .get_template("page.html")
        .render(
            **frame(script()),
            title=plain(str(about.get("name", "membership inference")), 80),
            lead=lead,
            contents=contents,
            at=contents.start,
            attacks=[(n, summary["attacks"][n]) for n in _ordered(contents, summary)],
            keys={name: i for i, name in enumerate(contents.curves)},
            figures=figures.as_columns(),
            spread=figures.spread,
            attacked=_attacked(summary),
            attacker=_attacker(summary, lead),
            adversary=summary.get("adversary"),
            own_figures=own_fpr.FIGURES,
            own_lead=(own := own_fpr.nearest(summary["attacks"])),
            holds=own is not None and own_fpr.hold(summary["attacks"][own]),
            units=_units(summary, lead),
            uneven=_plain(exposed_most(summary["attacks"])),
            summary=summary,
            remarks=[_plain(line) for line in remarks(summary)],
            charts=charts,
            exposed=_rows(contents, inputs, contents.start) if lead else [],
            pictures=pictures,
            strips=bool(pictures)
            and inputs.x is not None
            and not gallery.is_image(inputs.x[0], inputs.shape),
            share=contents.exposed[contents.start].half() if lead else 0.0,
            steps=_steps(contents, lead) if lead else [],
            drawn_examples=len(cloud(contents)) if contents.mean_phi is not None and lead else 0,
            own=[(alt, _embedded(folder / f"{name}.svg")) for name, alt in inputs.own.items()],
            cost=_cost(summary, inputs.price),
            details=json.dumps(about, indent=1, ensure_ascii=False),
            data=_data(contents, charts, inputs, pictures) if lead else None,
        )
    )


def _plain(line: str) -> str:
    """A line of the terminal without its escapes."""
    return line.replace("\\[", "[")


def _ordered(contents: Contents, summary: dict[str, Any]) -> list[str]:
    names = [n for n in contents.curves if n in summary["attacks"]]
    return [*names, *(n for n in summary["attacks"] if n not in contents.curves)]


def _attacked(summary: dict[str, Any]) -> str:
    if targets := summary.get("attacked"):
        return str(targets)
    return f"each of {summary['models']} models in turn, by the others, trained the same way"


def _attacker(summary: dict[str, Any], name: str | None) -> str:
    """Whom the strongest attack stands for."""
    lead = next((a for n, a in summary["attacks"].items() if n == name), {})
    who = lead.get("attacker")
    return f"{who['access']}: sees {who['sees']}; has {who['knows']}" if who else "not stated"


def _units(summary: dict[str, Any], name: str | None) -> str:
    """What the intervals are of draws of."""
    spans = summary["attacks"].get(name, {}).get("intervals") or {}
    return spans.get("drawn", "examples")


def _embedded(file: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(file.read_bytes()).decode()


def _cost(summary: dict[str, Any], price: float | None) -> str | None:
    """Hours that training and querying took, for these models and for a thousand."""
    rate = summary.get("models_per_hour")
    if not rate:
        return None
    hours, thousand = summary["models"] / rate, 1000 / rate
    text = f"{_hours(hours)} for {summary['models']} models; a thousand take {_hours(thousand)}"
    if price is not None:
        text += f"; at {price:g} an hour that is {hours * price:.2f}, and {thousand * price:.2f}"
    return text


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.1f} min" if hours < 2 else f"{hours:.1f} h"


class Step(NamedTuple):
    """A place of the slider in words: how often wrong, the rate, guessing's, and how sure."""

    words: str
    level: str
    chance: str
    interval: str
    blank: str  # beneath a figure that has no interval


def _steps(contents: Contents, lead: str) -> list[Step]:
    others, reached = int(contents.curves[lead].fp[-1]), contents.reach[lead]
    steps = []
    for level, low, high in zip(contents.levels, reached.low, reached.high, strict=True):
        words, rate = dial(level, others, contents.alone), f"{100 * level:g}\u00a0%"
        if contents.alone and not stated(level, others, contents.alone):
            none = no_false_alarm.fields(contents.curves[lead], others, alone=True)
            chance = f"at most {percent(none['at_no_false_alarm']['fpr_at_most'])}"
            where = no_false_alarm.where(none)
            steps.append(Step(words, f"0 of {others:,}", chance, where, "no false alarm"))
        elif np.isfinite(low):
            ends = f"95 % interval {percent(low)} to {percent(high)}, had the examples been others"
            steps.append(Step(words, rate, rate, ends, ""))
        else:
            sure = stated(level, others, contents.alone)
            why = "the summary holds none" if sure else f"{others:,} non-members are too few"
            steps.append(Step(words, rate, rate, f"without an interval: {why}", "no interval"))
    return steps


class Row(NamedTuple):
    """An example as the page names it."""

    example: int
    label: str
    finds: int
    models: int
    alarms: int
    others: int
    posterior: float | None


def _rows(contents: Contents, inputs: ReportInputs, level: int) -> list[Row]:
    exposed = contents.exposed[level]
    return [
        Row(
            int(i),
            label(inputs, int(i)),
            int(exposed.hits[i]),
            int(exposed.models[i]),
            int(exposed.alarms[i]),
            int(exposed.others[i]),
            _posterior(contents, int(i)),
        )
        for i in exposed.order()[:EXPOSED]
        if exposed.hits[i]
    ]


def _posterior(contents: Contents, example: int) -> float | None:
    if contents.posterior is None or not np.isfinite(contents.posterior[example]):
        return None
    return round(float(contents.posterior[example]), 4)


def _pictures(contents: Contents, inputs: ReportInputs) -> dict[int, str]:
    """The most exposed examples of every level, as pictures."""
    if inputs.x is None:
        return {}
    examples: dict[int, None] = {}
    for exposed in [contents.exposed[contents.start], *contents.exposed]:
        for i in exposed.order()[:PICTURES]:
            if exposed.hits[i]:
                examples[int(i)] = None
    return {i: gallery.picture(inputs.x[i], inputs.shape) for i in list(examples)[:60]}


def _data(
    contents: Contents, charts: dict[str, Chart], inputs: ReportInputs, pictures: dict[int, str]
) -> Any:
    """What the page's script works with."""
    lead = next(iter(contents.curves))
    data: dict[str, Any] = {
        "levels": contents.levels,
        "start": contents.start,
        "steps": [step._asdict() for step in _steps(contents, lead)],
        "grid": rounded(np.array(GRID)),
        "attacks": [
            {
                "name": plain(name),
                "tpr": rounded(r.tpr, 6),
                "low": rounded(r.low, 6),
                "high": rounded(r.high, 6),
                "grid": rounded(read(contents.curves[name], contents.alone)),
            }
            for name, r in contents.reach.items()
        ],
        "half": rounded([e.half() for e in contents.exposed]),
        "histogram": [histogram(e).tolist() for e in contents.exposed],
        "exposed": [
            [list(row) for row in _rows(contents, inputs, i)] for i in range(len(contents.levels))
        ],
        "pictures": {str(i): uri for i, uri in pictures.items()},
    }
    if contents.classes:
        at = example_charts.shown_classes(contents.classes[contents.start])
        data["classes"] = [
            {
                "share": rounded(c.hits[at] / np.maximum(c.members[at], 1)),
                "low": rounded(c.low[at]),
                "high": rounded(c.high[at]),
            }
            for c in contents.classes
        ]
    if "memory" in charts and contents.mean_phi is not None:
        at = cloud(contents)
        data["cloud"] = {
            "id": at.tolist(),
            "label": None if inputs.y is None else np.asarray(inputs.y)[at].tolist(),
            "out": rounded(contents.mean_phi.outside[at]),
            "in": rounded(contents.mean_phi.inside[at]),
            "models": contents.exposed[0].models[at].tolist(),
            "found": [e.hits[at].tolist() for e in contents.exposed],
        }
    return embedded(data)
