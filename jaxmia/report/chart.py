"""A chart as plain values: what is to be seen, not how it is drawn.

`svg` draws it for the page, `figures` for files, `rows` gives its numbers.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

PERCENT = tuple((10.0**e, f"{10.0 ** (e + 2):g} %") for e in range(-5, 1))
SERIES = 6  # tones s0 to s5; further series are "rest"


class Axis(NamedTuple):
    """One axis: its ends, and the ticks `(value, words)` that are named."""

    label: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()

    def share(self, value: Any) -> Any:
        """Where a value lies between the ends, from 0 to 1; what is beyond lies at the end."""
        at = np.clip(np.asarray(value, np.float64), self.low, self.high)
        if self.log:
            return np.log(at / self.low) / np.log(self.high / self.low)
        return (at - self.low) / (self.high - self.low)


class Line(NamedTuple):
    """A curve; `band` is the outline `(x, y)` of what is uncertain about it."""

    name: str
    x: np.ndarray
    y: np.ndarray
    tone: str
    step: bool = False
    dots: bool = False
    dash: int = 0
    band: tuple[np.ndarray, np.ndarray] | None = None
    key: int | None = None  # of the attack, for what follows the pointer


class Area(NamedTuple):
    """A histogram's outline, filled."""

    name: str
    edges: np.ndarray
    height: np.ndarray
    tone: str


class Dots(NamedTuple):
    """Points, with whiskers `(low, high)` along an axis if they are uncertain."""

    name: str
    x: np.ndarray
    y: np.ndarray
    tone: str
    size: float = 2.5
    whiskers: tuple[np.ndarray, np.ndarray] | None = None
    along: str = "y"
    ids: np.ndarray | None = None


class Rule(NamedTuple):
    """A straight line of reference, at an x or a y."""

    label: str
    x: float | None = None
    y: float | None = None
    kind: str = "soft"


class Note(NamedTuple):
    """Words within the chart; `anchor` is start, middle or end."""

    text: str
    x: float
    y: float
    anchor: str = "start"


Mark: TypeAlias = Line | Area | Dots | Rule | Note


class Panel(NamedTuple):
    """One pair of axes and what is drawn on them, the first mark lowest."""

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    title: str = ""
    width: int = 480
    height: int = 360
    key: str = ""


class Chart(NamedTuple):
    """Panels that belong together; `alt` says what they show to those who do not see them."""

    name: str
    title: str
    alt: str
    panels: tuple[Panel, ...]

    def legend(self) -> list[Line | Area | Dots]:
        """The series that are named, each once, the topmost first."""
        series: dict[str, Line | Area | Dots] = {}
        for panel in self.panels:
            for mark in panel.marks:
                if isinstance(mark, Line | Area | Dots) and mark.name and mark.tone != "soft":
                    series.setdefault(mark.name, mark)
        return list(series.values())[::-1]


COLUMNS = ("panel", "series", "x", "y", "low", "high")


def rows(chart: Chart) -> Iterator[tuple[str, str, float, float, float | None, float | None]]:
    """The numbers of a chart, as `COLUMNS` name them.

    A histogram's rows hold a bin's left edge, its height, and both its edges.
    """
    for number, panel in enumerate(chart.panels):
        title = panel.key or panel.title or str(number)
        for mark in panel.marks:
            if isinstance(mark, Area):
                ends = zip(mark.edges[:-1], mark.height, mark.edges[1:], strict=True)
                for left, height, right in ends:
                    yield title, mark.name, left, height, left, right
            elif isinstance(mark, Line):
                for x, y in zip(mark.x, mark.y, strict=True):
                    yield title, mark.name, x, y, None, None
            elif isinstance(mark, Dots):
                none = [None] * len(mark.x)
                for x, y, low, high in zip(
                    mark.x, mark.y, *(mark.whiskers or (none, none)), strict=True
                ):
                    yield title, mark.name, x, y, low, high


def tone(number: int) -> str:
    """The colour of the so-and-so-strongest attack."""
    return f"s{number}" if number < SERIES else "rest"


def decades(low: Any, high: Any) -> tuple[tuple[float, str], ...]:
    """The rates from `low` to `high` that are powers of ten, in percent."""
    return tuple((v, words) for v, words in PERCENT if low * 0.999 <= v <= high * 1.001)


def even(low: Any, high: Any, about: int = 5) -> tuple[tuple[float, str], ...]:
    """Round numbers between two ends, about so many."""
    if not high > low:
        return ((low, f"{low:g}"),)
    raw = (high - low) / about
    unit = 10.0 ** np.floor(np.log10(raw))
    step = unit * min((1, 2, 5, 10), key=lambda s: abs(s * unit - raw))
    first = np.ceil(low / step - 1e-9)
    count = int(np.floor(high / step - first + 1e-9)) + 1
    values = [float((first + i) * step) for i in range(count)]
    return tuple((0.0 if abs(v) < step / 2 else v, f"{v:.10g}".replace("-0", "-0")) for v in values)


def plain(name: str, longest: int = 60) -> str:
    """A name as it is, whatever it holds: printable, and not too long."""
    short = name if len(name) <= longest else name[: longest - 1] + "…"
    return "".join(c if c.isprintable() else "·" for c in short)
