"""The figure of `experiments.studies.ratings`: who is found, and who is found but is not there."""

from typing import Any

import numpy as np

from jaxmia.report import figures


def power_figure(rows: list[dict[str, Any]]) -> Any:
    """The share of persons in the release, and of persons outside, for whom the rule names one."""
    rows = [row for row in rows if row["case"] == "settings" and not row["wrong_items"]]
    figure, first = figures.blank(9.6, 4.6, 2)
    panels = {"found": first, "false": figure.axes[1]}
    days = sorted({row["days"] for row in rows}, key=lambda d: (d is None, d or 0))
    shares = sorted({row["wrong"] / row["known"] for row in rows})
    for i, late in enumerate(days):
        for j, wrong in enumerate(shares):
            own = [r for r in rows if r["days"] == late and r["wrong"] / r["known"] == wrong]
            dates = "dates unknown" if late is None else f"dates within {late} days"
            label = f"{dates}, {f'{wrong:.0%} wrong' if wrong else 'none wrong'}"
            for name, panel in panels.items():
                value = np.array([r[name]["share"] for r in own])
                ends = np.array([r[name]["interval"] for r in own]).reshape(-1, 2).T
                panel.errorbar(
                    [r["known"] for r in own], value, np.abs(ends - value), label=label, marker="o",
                    ms=4, lw=1.6, capsize=2, color=figures.COLOURS[i % 7], ls=figures.DASHES[j % 4],
                )  # fmt: skip
    titles = {"found": "In the release: found, and nobody else", "false": "Not in it: found in it"}
    for name, panel in panels.items():
        panel.set(xlabel="ratings known of a person", ylabel="share of persons", ylim=(0, 1.02))
        panel.set_title(titles[name], loc="left", fontsize=11)
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure
