"""The pictures: log-log ROC of every attack, and phi of members and non-members."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxmia import metrics
from jaxmia.store import write_bytes

# Okabe & Ito's colours, told apart by everyone, and dashes for print
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
LEAST = 1e-5
POINTS = 2000


def draw(
    folder: Path,
    scores: dict[str, Float[np.ndarray, "T N"]],
    member: Bool[np.ndarray, "T N"],
    phi: Float[np.ndarray, "T N"] | None,
) -> list[Path]:
    """Draws `roc` and, with phi, `phi` into a folder, each as SVG and PNG, and names the files."""
    figures = {"roc": roc_figure(scores, member)}
    if phi is not None:
        figures["phi"] = phi_figure(phi, member)
    return [saved(f, folder / f"{k}.{e}") for k, f in figures.items() for e in ("svg", "png")]


def draw_curve(folder: Path, rows: list[dict[str, Any]]) -> list[Path]:
    """Draws `curve`: TPR at 0.1 % FPR and AUC against the number of references."""
    figure = curve_figure(rows)
    return [saved(figure, folder / f"curve.{e}") for e in ("svg", "png")]


def curve_figure(rows: list[dict[str, Any]]) -> Any:
    """What each attack gains from more shadow models, as `curve.curve` has measured it."""
    figure, left = blank(9.6, 4.4, 2)
    right = figure.axes[1]
    for i, name in enumerate(dict.fromkeys(n for row in rows for n in row["attacks"])):
        seen = [(r["references"], r["attacks"].get(name)) for r in rows if r["references"]]
        points = [(n, a["auc"], a["tpr_at_fpr"]["0.001"] or np.nan) for n, a in seen if a]
        style: dict[str, Any] = {
            "color": COLOURS[i % len(COLOURS)], "ls": DASHES[i // len(COLOURS) % len(DASHES)],
            "marker": "o", "ms": 4, "lw": 1.6,
        }  # fmt: skip
        x, area, rate = zip(*points, strict=True) if points else ((), (), ())
        left.plot(x, rate, label=_plain(name), **style)
        right.plot(x, area, **style)
    left.axhline(1e-3, color="#888888", lw=1, ls=(0, (2, 3)))
    right.axhline(0.5, color="#888888", lw=1, ls=(0, (2, 3)))
    left.set(xscale="log", yscale="log", xlabel="references", ylabel="TPR at 0.1 % FPR")
    right.set(xscale="log", xlabel="references", ylabel="AUC")
    for axes in (left, right):
        ticks = sorted({r["references"] for r in rows if r["references"]})
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.minorticks_off()
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    left.set_title("What more shadow models buy", loc="left", fontsize=11)
    return figure


def roc_figure(scores: dict[str, np.ndarray], member: np.ndarray) -> Any:
    """TPR against FPR of the pooled scores, both logarithmic, from 1e-5 on."""
    many = len(scores) > 5  # more lines than a legend within the axes can name
    figure, axes = blank(10.4 if many else 6.4, 5.2)
    axes.plot([LEAST, 1], [LEAST, 1], color="#888888", lw=1, ls=(0, (2, 3)), label="chance")
    axes.axvline(1e-3, color="#cccccc", lw=1, zorder=0)
    order = []
    for i, (name, score) in enumerate(scores.items()):
        seen = member[~np.isnan(score)]
        if not seen.any() or seen.all():
            continue
        curve = metrics.roc(score, member)
        area, at = metrics.auc(score, member), metrics.tpr_at_fpr(score, member, 1e-3)
        colour, dash = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
        x, y = _thinned(curve)
        label = f"{_plain(name)}  AUC {area:.3f}, {at:.2%} at 0.1 % FPR"
        (line,) = axes.plot(x, y, color=colour, ls=dash, lw=1.8, label=label)
        if at >= LEAST:
            axes.plot([1e-3], [at], "o", color=colour, ms=5)
        order.append((area, line))
    axes.set(xscale="log", yscale="log", xlim=(LEAST, 1), ylim=(LEAST, 1))
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
    lines = [line for _, line in sorted(order, key=lambda p: -p[0])]
    legend: Any = figure.legend if many else axes.legend
    place = "outside right upper" if many else "lower right"
    legend(handles=lines, loc=place, frameon=False, fontsize=8)
    axes.set_title("Members found against false alarms", loc="left", fontsize=11)
    return figure


def phi_figure(phi: np.ndarray, member: np.ndarray) -> Any:
    """Histograms of phi over all models: examples they were trained on, and others."""
    figure, axes = blank(6.4, 3.6)
    seen = np.isfinite(phi)
    if not seen.any():
        return figure
    low, high = np.quantile(phi[seen], [0.0005, 0.9995])
    bins = np.linspace(low, high + 1e-9 + (high == low), 81)
    for chosen, colour, label in (
        (member & seen, COLOURS[1], "members"),
        (~member & seen, COLOURS[0], "non-members"),
    ):
        if chosen.any():
            count, _ = np.histogram(np.clip(phi[chosen], bins[0], bins[-1]), bins)
            density = count / chosen.sum() / np.diff(bins)
            axes.stairs(density, bins, fill=True, alpha=0.35, color=colour)
            axes.stairs(density, bins, color=colour, lw=1.4, label=f"{label} ({chosen.sum():,})")
    axes.set(xlabel="φ, the logit of the true class's probability", ylabel="density")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)
    axes.set_title("What an attacker sees of the example itself", loc="left", fontsize=11)
    return figure


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


def _thinned(curve: metrics.Roc) -> tuple[np.ndarray, np.ndarray]:
    """At most some thousand points, evenly in log FPR, so that the tail keeps all of its own."""
    x, y = np.maximum(curve.fpr, LEAST), curve.tpr
    if len(x) > 2 * POINTS:
        wanted = np.geomspace(LEAST, 1, POINTS)
        at = np.searchsorted(curve.fpr, wanted, side="right") - 1
        keep = np.unique(np.concatenate([np.arange(POINTS), at, [len(x) - 1]]))
        x, y = x[keep], y[keep]
    return np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]  # steps: no interpolation


def _plain(name: str) -> str:
    """A name as it is, whatever it holds: no formulas, not too long."""
    short = name if len(name) <= 60 else name[:59] + "…"
    return "".join(c if c.isprintable() else "·" for c in short).replace("$", r"\$").lstrip("_")


def saved(figure: Any, path: Path) -> Path:
    """Writes a figure as its file's ending says, the same bytes each time."""
    import matplotlib

    out = io.BytesIO()
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "jaxmia", "svg.fonttype": "none"}):
        figure.savefig(out, format=path.suffix[1:], dpi=160, metadata=metadata)
    write_bytes(path, out.getvalue())
    return path
