"""The frontier and the histograms of the loss of `experiments.studies.defences`."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.pages.defences import BASELINE, LEVEL, cells, reported
from jaxmia.report.figures import COLOURS, blank, saved

MARKS = "osD^v<>PX*hdp"


def frontier(rows: list[dict[str, Any]], path: Path) -> None:
    """Test accuracy against TPR at 0.1 % FPR and against AUC, natural examples and canaries."""
    figure, _ = blank(12.5, 9.0, 4)
    places = figure.add_gridspec(2, 2)
    for i, axes in enumerate(figure.axes):
        axes.set_subplotspec(places[i // 2, i % 2])
    kinds = {e: cells(rows, e) for e in ("natural", "canaries")}
    names = list(dict.fromkeys(c.split()[0] for c in kinds["natural"]))
    for i, name in enumerate(names):
        for axes, (examples, figure_of) in zip(
            figure.axes,
            [(e, f) for f in ("tpr", "auc") for e in kinds],
            strict=True,
        ):
            own = [r for c, r in kinds[examples].items() if c.split()[0] == name and c != BASELINE]
            x = np.array([kinds["natural"][r["cell"]]["test_accuracy"] for r in own])
            y, ends = (
                np.array([_of(r, figure_of + end) for r in own]) for end in ("", "_interval")
            )
            ends = ends.T
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
        axes.set(xlabel="test accuracy, natural models", ylabel=f"{what}, {examples}")
        plain = kinds["natural"]["none"]["test_accuracy"]
        axes.set_xlim(plain - 0.12, min(1.0, plain + 0.06))  # what is worse than that is of no use
        if what != "AUC":
            axes.set_yscale("log")
        axes.axhline(1e-3 if what != "AUC" else 0.5, color="#888888", lw=1, ls=(0, (2, 3)))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)
    figure.suptitle(
        "Lower and further right is better: the strongest of three attacks", fontsize=12
    )
    saved(figure, path)


def _of(row: dict[str, Any], name: str) -> Any:
    """A figure of the strongest attack, of the half that is reported."""
    value = reported(row)[name]
    return value if name.startswith("auc") else value[LEVEL]


def losses(answers: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Histograms of the loss of members and non-members, one panel for each defence."""
    figure, _ = blank(12.5, 3.6, len(answers))
    bins = np.geomspace(1e-9, 30, 90)
    for axes, (name, (phi, member)) in zip(figure.axes, answers.items(), strict=True):
        loss = np.clip(np.logaddexp(0, -phi.astype(np.float64)), bins[0], bins[-1])
        for side, colour, label in (
            (member, COLOURS[1], "members"),
            (~member, COLOURS[0], "non-members"),
        ):
            count, _ = np.histogram(loss[side], bins)
            share = count / side.sum()
            axes.stairs(share, bins, fill=True, alpha=0.35, color=colour)
            axes.stairs(share, bins, color=colour, lw=1.4, label=label)
        axes.set(xscale="log", xlabel="loss", title=name)
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("share of the scores")
    figure.axes[0].legend(frameon=False, fontsize=9)
    saved(figure, path)
