"""Charts as SVG: inline in the page, which has the colours, or as a file that brings its own.

Built as a tree, so that whatever a name holds stays text.
"""

import xml.etree.ElementTree as ElementTree
from importlib import resources
from typing import Any

import numpy as np

from jaxmia.report.chart import Area, Chart, Dots, Line, Mark, Panel, Rule, plain

RIGHT, TOP, BOTTOM = 18, 30, 46  # around the axes; on the left there is room for the words
HEAD = 20  # for a title
DASHES = ("", "7 3", "2 3", "9 3 2 3")
Element = ElementTree.Element
_LEGEND_ROW, _LEGEND_WIDTH = 19, 230


def inline(panel: Panel, alt: str) -> str:
    """A panel as an `svg` element for a page; it is as wide as its place."""
    root = Element("svg", viewBox=f"0 0 {panel.width} {panel.height}", role="img")
    root.set("aria-label", alt)
    root.set("class", f"chart w{panel.width}")
    if panel.key:
        root.set("data-chart", panel.key)
    box = _box(panel)
    for letter, axis, ends in (
        ("x", panel.x, (box.left, box.right)),
        ("y", panel.y, (box.bottom, box.top)),
    ):
        root.set(
            f"data-{letter}", f"{axis.low:.8g},{axis.high:.8g},{int(axis.log)},{ends[0]},{ends[1]}"
        )
    _panel(root, panel)
    return ElementTree.tostring(root, encoding="unicode")


def document(chart: Chart) -> str:
    """A chart as a file: panels side by side, the legend below, light or dark as its reader."""
    width = sum(p.width for p in chart.panels)
    series = chart.legend() if len(chart.legend()) > 1 else []
    column = max([_LEGEND_WIDTH, *(50 + 7 * len(plain(mark.name, 34)) for mark in series)])
    columns = max(1, int(width // column))
    top = 30
    bottom = top + max(p.height for p in chart.panels)
    height = bottom + -(-len(series) // columns) * _LEGEND_ROW + (12 if series else 0)
    root = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}")
    root.set("role", "img")
    root.set("width", str(width))
    root.set("height", str(height))
    _text(root, "title", chart.title)
    _text(root, "desc", chart.alt)
    _text(root, "style", colours())
    ElementTree.SubElement(root, "rect", {"class": "paper", "width": "100%", "height": "100%"})
    _text(root, "text", chart.title, {"class": "head", "x": "14", "y": "21"})
    x = 0
    for panel in chart.panels:
        place = ElementTree.SubElement(root, "g", transform=f"translate({x} {top})")
        _panel(place, panel)
        x += panel.width
    for i, mark in enumerate(series):
        at = (14 + i % columns * column, bottom + 14 + i // columns * _LEGEND_ROW)
        _swatch(root, mark, *at)
    return ElementTree.tostring(root, encoding="unicode")


def swatch(mark: Line | Area | Dots) -> str:
    """The sign of a series in a legend, for a page."""
    root = Element("svg", viewBox="0 0 22 12", width="22", height="12")
    root.set("aria-hidden", "true")
    root.set("class", "swatch")
    _sign(root, mark, 0, 6)
    return ElementTree.tostring(root, encoding="unicode")


def colours() -> str:
    """The colours that a chart's classes have, on light and on dark paper."""
    return resources.files("jaxmia.report").joinpath("chart.css").read_text()


def _panel(root: Element, panel: Panel) -> None:
    box = _box(panel)
    if panel.title:
        _text(root, "text", panel.title, {"class": "title", "x": "2", "y": "16"})
    _axes(root, box)
    for mark in panel.marks:
        _draw(root, box, mark)


def _box(panel: Panel) -> "_Box":
    top = TOP + (HEAD if panel.title else 0)
    longest = max([len(words) for _, words in panel.y.ticks], default=0)
    margin = 14 + 8 * max(longest, 1)
    return _Box(panel, margin, panel.width - RIGHT, top, panel.height - BOTTOM)


class _Box:
    """Where the axes lie, and values on them."""

    def __init__(self, panel: Panel, left: int, right: int, top: int, bottom: int) -> None:
        self.panel, self.left, self.right, self.top, self.bottom = panel, left, right, top, bottom

    def x(self, value: Any) -> Any:
        return self.left + self.panel.x.share(value) * (self.right - self.left)

    def y(self, value: Any) -> Any:
        return self.bottom - self.panel.y.share(value) * (self.bottom - self.top)


def _axes(root: Element, box: _Box) -> None:
    axes = ElementTree.SubElement(root, "g", {"class": "axes"})
    x, y = box.panel.x, box.panel.y
    for value, words in x.ticks:
        at = f"{box.x(value):.1f}"
        _line(axes, "grid", at, box.top, at, box.bottom)
        if words:
            ends = {x.low: "start", x.high: "end"}  # words at an end stay within it
            kind = ends.get(value, "middle") if y.ticks and len(words) > 3 else "middle"
            place = {"x": at, "y": f"{box.bottom + 17}", "class": f"tick {kind}"}
            _text(axes, "text", words, place)
    for value, words in y.ticks:
        at = f"{box.y(value):.1f}"
        _line(axes, "grid", box.left, at, box.right, at)
        if words:
            place = {"x": f"{box.left - 7}", "y": f"{float(at) + 4:.1f}", "class": "tick end"}
            _text(axes, "text", words, place)
    _line(axes, "base", box.left, box.bottom, box.right, box.bottom)
    middle = (box.left + box.right) / 2
    if x.label:
        _text(
            axes, "text", x.label, {"x": f"{middle:g}", "y": f"{box.bottom + 36}", "class": "label"}
        )
    if y.label:
        _text(axes, "text", y.label, {"x": "2", "y": f"{box.top - 12}", "class": "upright"})


def _draw(root: Element, box: _Box, mark: Mark) -> None:
    if isinstance(mark, Line):
        group = ElementTree.SubElement(root, "g", {"class": f"series {mark.tone}"})
        if mark.key is not None:
            group.set("data-key", str(mark.key))
        if mark.band is not None:
            path = _path(box.x(mark.band[0]), box.y(mark.band[1])) + "Z"
            ElementTree.SubElement(group, "path", {"class": "band", "d": path})
        path = _path(box.x(mark.x), box.y(mark.y), mark.step)
        style = {"class": "line", "d": path}
        if mark.dash:
            style["stroke-dasharray"] = DASHES[mark.dash % len(DASHES)]
        ElementTree.SubElement(group, "path", style)
        if mark.dots:
            for x, y in zip(box.x(mark.x), box.y(mark.y), strict=True):
                _dot(group, x, y, 3)
    elif isinstance(mark, Area):
        group = ElementTree.SubElement(root, "g", {"class": f"series {mark.tone}"})
        x, y = np.repeat(mark.edges, 2), np.concatenate([[0], np.repeat(mark.height, 2), [0]])
        path = _path(box.x(x), box.y(y))
        ElementTree.SubElement(group, "path", {"class": "fill", "d": path})
        ElementTree.SubElement(group, "path", {"class": "line", "d": path})
    elif isinstance(mark, Dots):
        _dots(root, box, mark)
    elif isinstance(mark, Rule):
        _rule(root, box, mark)
    else:
        place = {"x": f"{box.x(mark.x):.1f}", "y": f"{box.y(mark.y):.1f}"}
        _text(root, "text", mark.text, {**place, "class": f"note {mark.anchor}"})


def _dots(root: Element, box: _Box, mark: Dots) -> None:
    group = ElementTree.SubElement(root, "g", {"class": f"dots {mark.tone}"})
    x, y = box.x(mark.x), box.y(mark.y)
    if mark.whiskers is not None:
        low, high = mark.whiskers
        for i in range(len(x)):
            if mark.along == "y":
                at = f"{x[i]:.1f}"
                _line(group, "whisker", at, f"{box.y(low[i]):.1f}", at, f"{box.y(high[i]):.1f}")
            else:
                at = f"{y[i]:.1f}"
                _line(group, "whisker", f"{box.x(low[i]):.1f}", at, f"{box.x(high[i]):.1f}", at)
    if len(x) > 200:  # one path of round ends: a tenth of the bytes of so many circles
        ElementTree.SubElement(
            group,
            "path",
            {
                "class": "cloud",
                "stroke-width": f"{2 * mark.size:g}",
                "d": "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, y, strict=True)),
            },
        )
        return
    for i in range(len(x)):
        dot = _dot(group, x[i], y[i], mark.size)
        if mark.ids is not None:
            dot.set("data-example", str(mark.ids[i]))


def _rule(root: Element, box: _Box, mark: Rule) -> None:
    if mark.x is not None:
        at = f"{box.x(mark.x):.1f}"
        _line(root, f"rule {mark.kind}", at, box.top, at, box.bottom)
        if mark.label:
            right = float(at) > (box.left + box.right) / 2
            place = {"x": f"{float(at) + (-4 if right else 4):.1f}", "y": f"{box.top + 10}"}
            _text(root, "text", mark.label, {**place, "class": f"note {'end' if right else ''}"})
    if mark.y is not None:
        at = f"{box.y(mark.y):.1f}"
        _line(root, f"rule {mark.kind}", box.left, at, box.right, at)
        if mark.label:
            below = float(at) < box.top + 24
            place = {"x": f"{box.right - 2}", "y": f"{float(at) + (14 if below else -5):.1f}"}
            _text(root, "text", mark.label, {**place, "class": "note end"})


def _path(x: np.ndarray, y: np.ndarray, step: bool = False) -> str:
    """Through the points, or in steps that hold each y up to the next x."""
    x, y = np.round(np.atleast_1d(x), 1), np.round(np.atleast_1d(y), 1)
    keep = np.append(True, (x[1:] != x[:-1]) | (y[1:] != y[:-1])) & np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if not len(x):
        return "M0 0"
    start = f"M{x[0]:g} {y[0]:g}"
    if not step:
        return start + "".join(f"L{a:g} {b:g}" for a, b in zip(x[1:], y[1:], strict=True))
    out = [start]
    for i in range(1, len(x)):
        out += [f"H{x[i]:g}"] * bool(x[i] != x[i - 1]) + [f"V{y[i]:g}"] * bool(y[i] != y[i - 1])
    return "".join(out)


def _dot(group: Element, x: Any, y: Any, size: Any) -> Element:
    return ElementTree.SubElement(group, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{size:g}")


def _line(root: Element, kind: str, *ends: Any) -> None:
    names = ("x1", "y1", "x2", "y2")
    place = {k: f"{v}" for k, v in zip(names, ends, strict=True)}
    ElementTree.SubElement(root, "line", {"class": kind, **place})


def _text(root: Element, tag: str, words: str, style: dict[str, str] | None = None) -> None:
    element = ElementTree.SubElement(root, tag, style or {})
    element.text = words if tag == "style" else plain(words, 400)


def _swatch(root: Element, mark: Line | Area | Dots, x: Any, y: Any) -> None:
    _sign(root, mark, x, y)
    place = {"x": f"{x + 30:g}", "y": f"{y + 4:g}", "class": "legend"}
    _text(root, "text", plain(mark.name, 34), place)


def _sign(root: Element, mark: Line | Area | Dots, x: Any, y: Any) -> None:
    group = ElementTree.SubElement(root, "g", {"class": f"series {mark.tone}"})
    if isinstance(mark, Area):
        shape = {"x": f"{x}", "y": f"{y - 5}", "width": "22", "height": "10", "class": "fill"}
        ElementTree.SubElement(group, "rect", shape)
    elif isinstance(mark, Dots):
        _dot(ElementTree.SubElement(group, "g", {"class": f"dots {mark.tone}"}), x + 11, y, 3.5)
    else:
        style = {"class": "line", "d": f"M{x:g} {y:g}h22"}
        if mark.dash:
            style["stroke-dasharray"] = DASHES[mark.dash % len(DASHES)]
        ElementTree.SubElement(group, "path", style)
