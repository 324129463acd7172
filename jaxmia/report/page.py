"""The page that a run leaves: one file with everything in it, and no request to anywhere."""

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmia.evaluation import figures
from jaxmia.evaluation.exposure import GRID, histogram, reach
from jaxmia.report import example_charts, gallery
from jaxmia.report.chart import Chart, plain
from jaxmia.report.contents import Found, Shown, cloud, label
from jaxmia.report.frame import dial, embedded, environment, frame, rounded, script
from jaxmia.report.table import remarks

EXPOSED = 20  # examples that are named
PICTURES = 12  # of them that are shown


def page(
    folder: Path, found: Found, drawn: dict[str, Chart], summary: dict[str, Any], shown: Shown
) -> str:
    """The page for a folder, as HTML."""
    about = summary.get("experiment") or {}
    lead = next(iter(found.curves), None)
    pictures = _pictures(found, shown) if lead else {}
    return (
        environment()
        .get_template("page.html")
        .render(
            **frame(script()),
            title=plain(str(about.get("name", "membership inference")), 80),
            lead=lead,
            found=found,
            at=found.start,
            attacks=[(n, summary["attacks"][n]) for n in _ordered(found, summary)],
            keys={name: i for i, name in enumerate(found.curves)},
            figures=sorted(figures.FIGURES, key=lambda figure: figure.level is None),
            attacked=_attacked(summary),
            attacker=_attacker(summary, lead),
            summary=summary,
            remarks=[line.replace("\\[", "[") for line in remarks(summary)],
            charts=drawn,
            exposed=_rows(found, shown, found.start) if lead else [],
            pictures=pictures,
            strips=bool(pictures)
            and shown.x is not None
            and not gallery.is_image(shown.x[0], shown.shape),
            share=found.exposed[found.start].half() if lead else 0.0,
            words=[_words(v, found) for v in found.levels],
            drawn_examples=len(cloud(found)) if found.known is not None and lead else 0,
            own=[(alt, _embedded(folder / f"{name}.svg")) for name, alt in shown.own.items()],
            cost=_cost(summary, shown.price),
            details=json.dumps(about, indent=1, ensure_ascii=False),
            data=_data(found, drawn, shown, pictures) if lead else None,
        )
    )


def _ordered(found: Found, summary: dict[str, Any]) -> list[str]:
    known = [n for n in found.curves if n in summary["attacks"]]
    return [*known, *(n for n in summary["attacks"] if n not in found.curves)]


def _attacked(summary: dict[str, Any]) -> str:
    if told := summary.get("attacked"):
        return str(told)
    return f"each of {summary['models']} models in turn, by the others, trained the same way"


def _attacker(summary: dict[str, Any], name: str | None) -> str:
    """Whom the strongest attack stands for."""
    lead = next((a for n, a in summary["attacks"].items() if n == name), {})
    who = lead.get("attacker")
    return f"{who['access']}: sees {who['sees']}; has {who['knows']}" if who else "not stated"


def _embedded(file: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(file.read_bytes()).decode()


def _cost(summary: dict[str, Any], price: float | None) -> str | None:
    """Hours that training and querying took, for these models and for a thousand."""
    rate = summary.get("models_per_hour")
    if not rate:
        return None
    hours, thousand = summary["models"] / rate, 1000 / rate
    told = f"{_hours(hours)} for {summary['models']} models; a thousand take {_hours(thousand)}"
    if price is not None:
        told += f"; at {price:g} an hour that is {hours * price:.2f}, and {thousand * price:.2f}"
    return told


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.1f} min" if hours < 2 else f"{hours:.1f} h"


def _words(level: float, found: Found) -> str:
    """How often an attacker may be wrong, in plain words."""
    others = int(next(iter(found.curves.values())).fp[-1]) if found.curves else 1
    return dial(level, others)


class Row(NamedTuple):
    """An example as the page names it."""

    example: int
    label: str
    found: int
    models: int
    posterior: float | None


def _rows(found: Found, shown: Shown, level: int) -> list[Row]:
    exposed = found.exposed[level]
    return [
        Row(
            int(i),
            label(shown, int(i)),
            int(exposed.found[i]),
            int(exposed.models[i]),
            _posterior(found, int(i)),
        )
        for i in exposed.order()[:EXPOSED]
        if exposed.found[i]
    ]


def _posterior(found: Found, example: int) -> float | None:
    if found.posterior is None or not np.isfinite(found.posterior[example]):
        return None
    return round(float(found.posterior[example]), 4)


def _pictures(found: Found, shown: Shown) -> dict[int, str]:
    """The most exposed examples of every level, as pictures."""
    if shown.x is None:
        return {}
    wanted: dict[int, None] = {}
    for exposed in [found.exposed[found.start], *found.exposed]:
        for i in exposed.order()[:PICTURES]:
            if exposed.found[i]:
                wanted[int(i)] = None
    return {i: gallery.picture(shown.x[i], shown.shape) for i in list(wanted)[:60]}


def _data(found: Found, drawn: dict[str, Chart], shown: Shown, pictures: dict[int, str]) -> Any:
    """What the page's script works with."""
    content: dict[str, Any] = {
        "levels": found.levels,
        "start": found.start,
        "words": [_words(v, found) for v in found.levels],
        "grid": rounded(np.array(GRID)),
        "attacks": [
            {
                "name": plain(name),
                "tpr": rounded(r.tpr, 6),
                "low": rounded(r.low, 6),
                "high": rounded(r.high, 6),
                "grid": rounded(reach(found.curves[name], GRID).tpr),
            }
            for name, r in found.reach.items()
        ],
        "half": rounded([e.half() for e in found.exposed]),
        "histogram": [histogram(e).tolist() for e in found.exposed],
        "exposed": [
            [list(row) for row in _rows(found, shown, i)] for i in range(len(found.levels))
        ],
        "pictures": {str(i): uri for i, uri in pictures.items()},
    }
    if found.classes:
        at = example_charts.shown_classes(found.classes[found.start])
        content["classes"] = [
            {
                "share": rounded(c.found[at] / np.maximum(c.members[at], 1)),
                "low": rounded(c.low[at]),
                "high": rounded(c.high[at]),
            }
            for c in found.classes
        ]
    if "memory" in drawn and found.known is not None:
        at = cloud(found)
        content["cloud"] = {
            "id": at.tolist(),
            "label": None if shown.y is None else np.asarray(shown.y)[at].tolist(),
            "out": rounded(found.known.outside[at]),
            "in": rounded(found.known.inside[at]),
            "models": found.exposed[0].models[at].tolist(),
            "found": [e.found[at].tolist() for e in found.exposed],
        }
    return embedded(content)
