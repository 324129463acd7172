"""The page that a run leaves: one file with everything in it, and no request to anywhere."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.metrics.roc import Counted
from jaxmia.report import charts, gallery, svg
from jaxmia.report.chart import Chart, plain
from jaxmia.report.posterior import posteriors
from jaxmia.report.reach import (
    DEFAULT,
    GRID,
    Classes,
    Exposure,
    Reach,
    by_class,
    count,
    exposures,
    histogram,
    levels,
    reach,
)  # fmt: skip
from jaxmia.report.summary import LEVELS
from jaxmia.report.table import remarks

EXPOSED = 20  # examples that are named
PICTURES = 12  # of them that are shown
CLOUD = 3000  # examples that are drawn as points: the most exposed, and some of the rest
CASES = 6  # examples whose Gaussians are drawn


class Shown(NamedTuple):
    """What a report draws besides the scores; what is absent is left out.

    `reference` is phi of the models that the targets were held against (view 0), `leaving` which of
    them are no references of each target; `x` are the examples themselves, only where they may be
    shown, and `shape` that of an image which is stored flat. `own` names figures that lie in the
    folder already, with their alt texts; `price` is that of an hour of the device.
    """

    y: Int[np.ndarray, " N"] | None = None
    names: tuple[str, ...] = ()
    reference: Float[np.ndarray, "R N"] | None = None
    reference_member: Bool[np.ndarray, "R N"] | None = None
    leaving: Int[np.ndarray, "T L"] | None = None
    training: charts.Training | None = None
    x: np.ndarray | None = None
    shape: tuple[int, ...] = ()
    own: Mapping[str, str] = {}
    price: float | None = None


class Found(NamedTuple):
    """All that is counted of a run for its page and its files, once."""

    curves: dict[str, Counted]  # the strongest attack first
    levels: list[float]
    reach: dict[str, Reach]
    exposed: list[Exposure]  # by level, of the strongest attack
    classes: list[Classes] | None
    posterior: Float[np.ndarray, " N"] | None
    known: charts.Known | None

    @property
    def start(self) -> int:
        """Which level is shown first."""
        return self.levels.index(DEFAULT)


def look(
    scores: dict[str, Float[np.ndarray, "T N"]],
    member: Bool[np.ndarray, "T N"],
    summary: dict[str, Any],
    shown: Shown,
) -> Found:
    """Counts everything that is shown."""
    curves = count(scores, member)
    lead = next(iter(curves), None)
    others = int(curves[lead].false[-1]) if lead else 1
    at = levels(others)
    spans = intervals(summary)
    reached = {name: reach(curve, at, spans.get(name)) for name, curve in curves.items()}
    exposed, classes = [], None
    if lead is not None:
        exposed = exposures(scores[lead], member, reached[lead].threshold)
        if shown.y is not None:
            classes = [by_class(e, np.asarray(shown.y)) for e in exposed]
    known = None
    if shown.reference is not None and shown.reference_member is not None:
        known = charts.known(shown.reference, shown.reference_member)
    believed = [n for n in curves if summary["attacks"].get(n, {}).get("posterior")]
    posterior = None
    if believed:  # of the strongest attack whose scores are log-likelihood ratios
        told = summary["attacks"][believed[0]]["posterior"]
        posterior = posteriors(scores[believed[0]], member, shown.leaving, told)
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
            cloud = _cloud(found)
            drawn.append(charts.memory_chart(found.known, start.share, cloud))
        classes = found.classes[found.start] if found.classes else None
        drawn.append(charts.exposure_chart(histogram(start), classes, shown.names))
    if phi is not None:
        drawn.append(charts.phi_chart(phi, member))
        if found.exposed:
            drawn.append(charts.gaussian_chart(_cases(found, member, phi, shown)))
    known = [(n, a["posterior"]) for n, a in summary["attacks"].items() if a.get("posterior")]
    if known:
        drawn.append(charts.reliability_chart(dict(known), list(found.curves)))
    if shown.training is not None:
        drawn.append(charts.training_chart(shown.training))
    return {c.name: c for c in drawn if c is not None}


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
            fixed=list(LEVELS),
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
            drawn_examples=len(_cloud(found)) if found.known is not None and lead else 0,
            own=[(alt, _embedded(folder / f"{name}.svg")) for name, alt in shown.own.items()],
            cost=_cost(summary, shown.price),
            details=json.dumps(about, indent=1, ensure_ascii=False),
            data=_data(found, drawn, shown, pictures) if lead else None,
        )
    )


def environment() -> Any:
    """Jinja2 with everything escaped, and the page's own files as templates."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(percent=percent, short=plain, broken=_broken, number=lambda v: f"{v:,.0f}")
    made.globals.update(swatch=_markup(svg.swatch), panels=_panels, span=_span)
    return made


def script() -> str:
    """What every page runs, if it may."""
    return _file("page.js")


def frame(script: str) -> dict[str, Any]:
    """Style and script of a page, and the digest by which its browser runs that script alone."""
    from markupsafe import Markup

    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = svg.colours() + _file("page.css")
    return {"style": Markup(style), "script": Markup(script), "digest": digest}  # noqa: S704


def embedded(content: Any) -> Any:
    """JSON that no browser takes for the end of its element."""
    from markupsafe import Markup

    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704


def percent(value: float | None, places: int = 2) -> str:
    """A rate in percent."""
    return "–" if value is None or not np.isfinite(value) else f"{_fixed(value, places)}\u00a0%"


def _fixed(value: float, places: int = 2) -> str:
    """In percent, a half rounded up, as browsers do."""
    unit = Decimal(1).scaleb(-places)
    return str(Decimal(100 * float(value)).quantize(unit, rounding=ROUND_HALF_UP))


def _span(low: float, high: float) -> str:
    return f"{_fixed(low)}–{percent(high)}"


def _broken(name: str) -> Any:
    """A name that may break after its underscores."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in plain(name).split("_"))


def _file(name: str) -> str:
    return resources.files("jaxmia.report").joinpath(name).read_text(encoding="utf-8")


def _markup(function: Any) -> Any:
    from markupsafe import Markup

    return lambda *args: Markup(function(*args))  # noqa: S704


def _panels(chart: Chart) -> list[Any]:
    from markupsafe import Markup

    many = len(chart.panels) > 1
    alts = [f"{chart.alt} {p.title}" if many and p.title else chart.alt for p in chart.panels]
    pairs = zip(chart.panels, alts, strict=True)
    return [Markup(svg.inline(p, plain(alt, 600))) for p, alt in pairs]  # noqa: S704


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
    others = int(next(iter(found.curves.values())).false[-1]) if found.curves else 1
    return dial(level, others)


def dial(level: float, others: int) -> str:
    """The same, for so many non-members."""
    if level * others < 1:
        return f"may not be wrong once in {others:,}"
    return f"may be wrong once in {round(1 / level):,}"


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
            _label(shown, int(i)),
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


def _label(shown: Shown, example: int) -> str:
    if shown.y is None:
        return "–"
    label = int(shown.y[example])
    named = shown.names[label] if label < len(shown.names) else ""
    return plain(f"{label} {named}" if named and named != str(label) else str(label), 40)


def _cloud(found: Found) -> Int[np.ndarray, " P"]:
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


def _cases(found: Found, member: np.ndarray, phi: np.ndarray, shown: Shown) -> list[charts.Case]:
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
        if shown.leaving is not None:
            away = shown.leaving[target]
            keep[away[away >= 0]] = False
        inside = shown.reference_member[:, example]
        of = shown.reference[:, example].astype(np.float64)
        if not np.isfinite(phi[target, example]):
            continue
        last = ("ordinary", "least exposed")
        rank = f"rank {place + 1}" if place < CASES - 2 else last[place - CASES + 2]
        label = "" if shown.y is None else f", label {_label(shown, int(example))}"
        told = f"example {example}{label}: {rank}"
        sides = of[keep & inside], of[keep & ~inside]
        cases.append(charts.Case(told, *sides, float(phi[target, example]), True))
    return cases


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
        at = charts.shown_classes(found.classes[found.start])
        content["classes"] = [
            {
                "share": rounded(c.found[at] / np.maximum(c.members[at], 1)),
                "low": rounded(c.low[at]),
                "high": rounded(c.high[at]),
            }
            for c in found.classes
        ]
    if "memory" in drawn and found.known is not None:
        cloud = _cloud(found)
        content["cloud"] = {
            "id": cloud.tolist(),
            "label": None if shown.y is None else np.asarray(shown.y)[cloud].tolist(),
            "out": rounded(found.known.outside[cloud]),
            "in": rounded(found.known.inside[cloud]),
            "models": found.exposed[0].models[cloud].tolist(),
            "found": [e.found[cloud].tolist() for e in found.exposed],
        }
    return embedded(content)


def rounded(values: Sequence[float] | np.ndarray, digits: int = 4) -> list[float | None]:
    """Numbers with so many digits, None for what is none."""
    told = [float(f"{float(v):.{digits}g}") for v in values]
    return [v if np.isfinite(v) else None for v in told]
