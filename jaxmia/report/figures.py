"""Figures that an experiment draws itself with matplotlib: a blank one, and how it is saved."""

import io
from pathlib import Path
from typing import Any

from jaxmia.storage.files import write_bytes

# Okabe & Ito's colours, told apart by everyone, and dashes for print
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")


def blank(width: float, height: float, panels: int = 1) -> tuple[Any, Any]:
    """A figure with panels beside each other, and its first axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    for number in range(panels):
        axes = figure.add_subplot(1, panels, number + 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color="#eeeeee", lw=0.8)
        axes.set_axisbelow(True)
    return figure, figure.axes[0]


def saved(figure: Any, path: Path) -> Path:
    """Writes a figure as its file's ending says, the same bytes each time."""
    import matplotlib

    out = io.BytesIO()
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "jaxmia", "svg.fonttype": "none"}):
        figure.savefig(out, format=path.suffix[1:], dpi=160, metadata=metadata)
    write_bytes(path, out.getvalue())
    return path
