"""What every page has: escaping, numbers as text, style and script, data that stay data."""

import base64
import hashlib
import json
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from importlib import resources
from typing import Any

import numpy as np

from jaxmia.evaluation.exposure import stated
from jaxmia.report import svg
from jaxmia.report.chart import Chart, plain


def environment() -> Any:
    """Jinja2 with everything escaped, and the page's own files as templates."""
    import jinja2

    env = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    env.filters.update(
        percent=percent, short=plain, breakable=_breakable, number=lambda v: f"{v:,.0f}"
    )
    env.globals.update(swatch=_markup(svg.swatch), panels=_panels, span=_span)
    return env


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
    return f"{_fixed(low)}–{percent(high)}" if np.isfinite(low) else ""


def _breakable(name: str) -> Any:
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


def rounded(values: Sequence[float] | np.ndarray, digits: int = 4) -> list[float | None]:
    """Numbers with so many digits, None for what is none."""
    numbers = [float(f"{float(v):.{digits}g}") for v in values]
    return [v if np.isfinite(v) else None for v in numbers]


def dial(level: float, others: int, alone: bool = False) -> str:
    """How often an attacker may be wrong, of so many non-members, for a sentence."""
    if level * others < 1 or alone and not stated(level, others, alone):
        return f"may not be wrong once in {others:,}"
    return f"may be wrong once in {round(1 / level):,}"
