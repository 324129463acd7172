"""The table, the frontier and the histograms of `experiments.studies.defences`."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxmia.report.figures import COLOURS, blank, saved

MARKS = "osD^v<>PX*hdp"


def _picked(rows: list[dict], attack: str, examples: str) -> dict[str, dict[str, Any]]:
    return {
        r["cell"]: r for r in rows if (r["attack"], r["examples"]) == (attack, examples)
    }  # fmt: skip


def table(rows: list[dict[str, Any]], cells: list[str] | None = None) -> str:
    """Markdown: cells (all by default), both kinds of examples, both ways of attacking."""
    kinds = [(a, e) for e in ("natural", "canaries") for a in ("adaptive", "non-adaptive")]
    parts = {k: _picked(rows, *k) for k in kinds}
    every = parts["adaptive", "natural"]
    plain = every["none"]["models_per_hour"]
    lines = [
        "| defence | test accuracy | AUC | TPR at 0.1 % FPR | non-adaptive | canaries: AUC "
        "| TPR at 0.1 % FPR | non-adaptive | models/h |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cell in cells or every:
        own, other, canary, last = (parts[k][cell] for k in kinds)
        rate = f"{own['models_per_hour'] / plain:.2f}×"
        lines.append(
            f"| {cell} | {own['test_accuracy']:.3f} | {own['auc']:.3f} | {_rate(own)} "
            f"| {other['tpr']:.2%} | {canary['auc']:.3f} | {_rate(canary)} | {last['tpr']:.2%} "
            f"| {'shared' if cell.split()[0] in SHARED else rate} |"
        )
    return "\n".join(lines)


SHARED = ("temperature", "top_k", "rounded", "label_only", "mem_guard")
POINT = 0.01


def best(rows: list[dict[str, Any]]) -> list[str]:
    """Each defence's strength at which fewest canaries are found.

    Of those that cost at most a point of test accuracy, or else of the least costly alone.
    """
    natural, canary = (_picked(rows, "adaptive", e) for e in ("natural", "canaries"))
    least = natural["none"]["test_accuracy"] - POINT
    out = []
    for name in dict.fromkeys(c.split()[0] for c in natural):
        own = [c for c in natural if c.split()[0] == name]
        cheap = [c for c in own if natural[c]["test_accuracy"] >= least]
        cheap = cheap or [max(own, key=lambda c: natural[c]["test_accuracy"])]
        out.append(min(cheap, key=lambda c: canary[c]["tpr"]))
    return out


def _rate(row: dict[str, Any]) -> str:
    low, high = row["tpr_interval"]
    return f"{row['tpr']:.2%} ({100 * low:.2f} to {100 * high:.2f})"


def frontier(rows: list[dict[str, Any]], path: Path) -> None:
    """Test accuracy against TPR at 0.1 % FPR and against AUC, natural examples and canaries."""
    figure, _ = blank(12.5, 9.0, 4)
    places = figure.add_gridspec(2, 2)
    for i, axes in enumerate(figure.axes):
        axes.set_subplotspec(places[i // 2, i % 2])
    names = list(dict.fromkeys(r["cell"].split()[0] for r in rows))
    for i, name in enumerate(names):
        for axes, (examples, figure_of) in zip(
            figure.axes,
            [(e, f) for f in ("tpr", "auc") for e in ("natural", "canaries")],
            strict=True,
        ):
            own = [
                r for c, r in _picked(rows, "adaptive", examples).items() if c.split()[0] == name
            ]
            x, y = (np.array([r[k] for r in own]) for k in ("test_accuracy", figure_of))
            ends = np.array([r[f"{figure_of}_interval"] for r in own]).T
            least = 2e-4 if figure_of == "tpr" else 0.0
            y, ends = np.maximum(y, least), np.maximum(ends, least)
            error = np.maximum([y - ends[0], ends[1] - y], 0)
            axes.errorbar(
                x, y, error, color="#000000" if name == "none" else COLOURS[i % 6],
                marker=MARKS[i % len(MARKS)], ms=9 if name == "none" else 6, lw=0.9, elinewidth=0.7,
                mfc="none" if i >= 6 else None, label=name, zorder=5 if name == "none" else 3,
            )  # fmt: skip
    for axes, (examples, what) in zip(
        figure.axes,
        [(e, f) for f in ("TPR at 0.1 % FPR", "AUC") for e in ("natural examples", "canaries")],
        strict=True,
    ):
        axes.set(xlabel="test accuracy", ylabel=f"{what}, {examples}")
        plain = _picked(rows, "adaptive", examples.split()[0])["none"]["test_accuracy"]
        axes.set_xlim(plain - 0.12, min(1.0, plain + 0.06))  # what is worse than that is of no use
        if what != "AUC":
            axes.set_yscale("log")
        axes.axhline(1e-3 if what != "AUC" else 0.5, color="#888888", lw=1, ls=(0, (2, 3)))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)
    figure.suptitle("Lower and further right is better: LiRA against defended models", fontsize=12)
    saved(figure, path)


def losses(defences: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Histograms of the loss of members and non-members, one panel for each defence."""
    figure, _ = blank(12.5, 3.6, len(defences))
    bins = np.geomspace(1e-9, 30, 90)
    for axes, (name, (phi, member)) in zip(figure.axes, defences.items(), strict=True):
        loss = np.clip(np.logaddexp(0, -phi.astype(np.float64)), bins[0], bins[-1])
        for mask, colour, label in (
            (member, COLOURS[1], "members"),
            (~member, COLOURS[0], "non-members"),
        ):
            count, _ = np.histogram(loss[mask], bins)
            share = count / mask.sum()
            axes.stairs(share, bins, fill=True, alpha=0.35, color=colour)
            axes.stairs(share, bins, color=colour, lw=1.4, label=label)
        axes.set(xscale="log", xlabel="loss", title=name)
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("share of the scores")
    figure.axes[0].legend(frameon=False, fontsize=9)
    saved(figure, path)
