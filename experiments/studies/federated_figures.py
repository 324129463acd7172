"""The figures of `experiments.studies.federated`: rounds, clients and widths, cosines."""

from typing import Any

import numpy as np

from experiments.studies.federated_attacks import NAMES
from jaxmia import federated
from jaxmia.report import figures


def lines(panel: Any, rows: list[dict[str, Any]], field: str, figure: str, names: Any) -> None:
    """A line for each attack over a field."""
    for i, (name, label) in enumerate(names.items()):
        y = [r[name][figure] for r in rows]
        panel.plot(
            [r[field] for r in rows], y, label=label, marker="o", ms=4, lw=1.6,
            color=figures.COLOURS[i % 7], ls=":" if name.endswith("round") else "-",
        )  # fmt: skip
    panel.set(ylabel={"auc": "AUC", "tpr_at_0.001": "TPR at 0.1 % FPR"}[figure])


def rounds_figure(rows: list[dict[str, Any]]) -> Any:
    """Both figures against the round, of one round and accumulated."""
    figure, _ = figures.blank(9.6, 4.4, 2)
    names = NAMES | {
        "cosine_of_round": "cosine, that round alone",
        "gradient_difference_of_round": "difference, that round alone",
    }
    for panel, of in zip(figure.axes, ("auc", "tpr_at_0.001"), strict=True):
        lines(panel, rows, "round", of, names)
        panel.set(xscale="log", xlabel="round")
    figure.axes[0].set_title("What each round adds", loc="left", fontsize=11)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def varied_figure(rows: dict[str, list[dict[str, Any]]]) -> Any:
    """AUC against clients and width, and below TPR."""
    figure, _ = figures.blank(11.5, 4.4, 4)
    names = NAMES | {"cosine_of_first_round": "cosine, first round alone"}
    slots = [(k, of) for k in ("clients", "width") for of in ("auc", "tpr_at_0.001")]
    for panel, (field, of) in zip(figure.axes, slots, strict=True):
        lines(panel, rows[field], field, of, names)
        ticks = [r[field] for r in rows[field]]
        words = "units of a hidden layer" if field == "width" else field
        panel.set(xscale="log", xlabel=words)
        panel.set_xticks(ticks, [str(t) for t in ticks])
        panel.minorticks_off()
    figure.axes[0].set_title("More clients, more parameters", loc="left", fontsize=11)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def cosines_figure(cosine: np.ndarray, member: np.ndarray) -> Any:
    """Histograms of the cosines of members and non-members: in the first round, the last, all."""
    parts = {
        "first round": cosine[..., 0],
        "last round": cosine[..., -1],
        "mean over rounds": federated.accumulated(cosine),
    }
    figure, _ = figures.blank(11.5, 3.6, 3)
    for panel, (name, values) in zip(figure.axes, parts.items(), strict=True):
        present = ~np.isnan(values)
        low, high = np.quantile(values[present], [0.001, 0.999]).tolist()
        bins = np.linspace(low, high, 61)
        for mask, colour, label in (
            (member & present, figures.COLOURS[1], "members"),
            (~member & present, figures.COLOURS[0], "non-members"),
        ):
            count, _ = np.histogram(np.clip(values[mask], bins[0], bins[-1]), bins)
            density = count / mask.sum() / np.diff(bins)
            panel.stairs(density, bins, fill=True, alpha=0.35, color=colour)
            panel.stairs(density, bins, color=colour, lw=1.4, label=label)
        panel.set(xlabel=f"cosine, {name}")
    figure.axes[0].set(ylabel="density")
    figure.axes[0].legend(frameon=False, fontsize=9)
    figure.axes[0].set_title(
        "An example's gradient and its client's update", loc="left", fontsize=11
    )
    return figure
