"""Charts as PNG, by matplotlib: what goes into a document that takes no SVG."""

import io
from typing import Any

import numpy as np

from jaxmia.report.chart import Area, Axis, Chart, Dots, Line, Mark, Note, Panel, Rule, plain

# those of chart.css on white; told apart by everyone, with dashes besides
COLOURS = {
    "s0": "#0b62a8", "s1": "#c24a07", "s2": "#0a7d5c", "s3": "#a0427a", "s4": "#806200",
    "s5": "#5560c8", "rest": "#98a3af", "soft": "#b4bdc7", "faint": "#b4bdc7", "in": "#c24a07",
    "out": "#0b62a8", "cold": "#9aa6b3", "warm": "#b37a00", "hot": "#c42a1c",
}  # fmt: skip
DASHES = ("-", "--", ":", "-.")
INCH = 96.0  # of an SVG's units


def png(chart: Chart) -> bytes:
    """The chart as a PNG of twice its size on a screen."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    widths = [p.width for p in chart.panels]
    across = min(len(widths), 3)
    down = -(-len(widths) // across)
    size = (sum(widths[:across]) / INCH, down * max(p.height for p in chart.panels) / INCH + 0.6)
    figure: Any = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    for number, panel in enumerate(chart.panels):
        _panel(figure.add_subplot(down, across, number + 1), panel)
    figure.suptitle(_text(chart.title), x=0.01, ha="left", fontsize=12, fontweight="bold")
    series = chart.legend()
    if len(series) > 1:
        handles = [_handle(mark) for mark in series]
        columns = max(1, int(size[0] // 2.4))
        figure.legend(handles, [_text(m.name) for m in series], loc="outside lower left",
                      ncols=columns, frameon=False, fontsize=8)  # fmt: skip
    out = io.BytesIO()
    with matplotlib.rc_context({"path.simplify": True}):
        figure.savefig(out, format="png", dpi=150, metadata={"Software": None})
    return out.getvalue()


def _panel(axes: Any, panel: Panel) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e6eaee", lw=0.8)
    axes.set_axisbelow(True)
    for axis, letter in ((panel.x, "x"), (panel.y, "y")):
        _axis(axes, axis, letter)
    if panel.title:
        axes.set_title(_text(panel.title), loc="left", fontsize=8, fontweight="bold")
    for mark in panel.marks:
        _draw(axes, panel, mark)


def _axis(axes: Any, axis: Axis, letter: str) -> None:
    values = [v for v, _ in axis.ticks]
    words = [_text(w) for _, w in axis.ticks]
    axes.set(**{f"{letter}label": _text(axis.label)})
    if axis.log:
        axes.set(**{f"{letter}scale": "log"})
    axes.set(**{f"{letter}lim": (axis.low, axis.high)})
    getattr(axes, f"set_{letter}ticks")(values, words, fontsize=8)
    axes.minorticks_off()


def _draw(axes: Any, panel: Panel, mark: Mark) -> None:
    if isinstance(mark, Note):
        place = {"start": "left", "middle": "center", "end": "right"}[mark.anchor]
        axes.text(mark.x, mark.y, _text(mark.text), ha=place, fontsize=7, color="#55606c")
    elif isinstance(mark, Rule):
        strong = mark.kind == "target"
        style: dict[str, Any] = {"color": "#17202a" if strong else "#98a3af", "zorder": 0.5}
        style |= {"lw": 1.4 if strong else 1, "ls": "-" if strong else (0, (2, 3))}
        if mark.x is not None:
            axes.axvline(mark.x, **style)
        if mark.y is not None:
            axes.axhline(mark.y, **style)
    elif isinstance(mark, Area):
        colour = COLOURS[mark.tone]
        axes.stairs(mark.height, mark.edges, fill=True, alpha=0.25, color=colour,
                    baseline=panel.y.low if panel.y.log else 0)  # fmt: skip
        axes.stairs(mark.height, mark.edges, color=colour, lw=1.3, baseline=None)
    elif isinstance(mark, Dots):
        errors = None
        if mark.whiskers is not None:
            value = mark.y if mark.along == "y" else mark.x
            errors = np.maximum(np.stack([value - mark.whiskers[0], mark.whiskers[1] - value]), 0)
        style = {"fmt": "o", "ms": 2 * mark.size * 0.75, "color": COLOURS[mark.tone], "lw": 1.2}
        style |= {"alpha": 0.6 if len(mark.x) > 200 else 1.0, "mew": 0}
        axes.errorbar(_inside(panel.x, mark.x), _inside(panel.y, mark.y),
                      **{f"{mark.along}err": errors}, **style)  # fmt: skip
    else:
        _line(axes, panel, mark)


def _line(axes: Any, panel: Panel, mark: Line) -> None:
    colour, thin = COLOURS[mark.tone], mark.tone in ("soft", "faint", "rest")
    if mark.band is not None and mark.tone != "rest":
        x, y = _inside(panel.x, mark.band[0]), _inside(panel.y, mark.band[1])
        axes.fill(x, y, color=colour, alpha=0.13, lw=0)
    axes.plot(
        _inside(panel.x, mark.x), _inside(panel.y, mark.y), color=colour, lw=1 if thin else 1.8,
        ls=DASHES[mark.dash % len(DASHES)], drawstyle="steps-post" if mark.step else "default",
        marker="o" if mark.dots else None, ms=3.5, alpha=0.5 if mark.tone == "faint" else 1,
    )  # fmt: skip


def _inside(axis: Axis, values: Any) -> np.ndarray:
    """What lies beyond an axis is drawn at its end."""
    return np.clip(np.asarray(values, np.float64), axis.low, axis.high)


def _handle(mark: Line | Area | Dots) -> Any:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    colour = COLOURS[mark.tone]
    if isinstance(mark, Area):
        return Patch(color=colour, alpha=0.35)
    if isinstance(mark, Dots):
        return Line2D([], [], color=colour, marker="o", ls="")
    return Line2D([], [], color=colour, ls=DASHES[mark.dash % len(DASHES)], lw=1.8)


def _text(name: str) -> str:
    """Text as it is: no formulas, and no name that a legend would hide."""
    return plain(name).replace("$", r"\$").lstrip("_") or " "
