"""The figures of an attack, a row each, which every place that shows figures goes through.

`summary.json`, its sentences, the terminal's table, `attacks.csv`, the page and the evaluation of
streamed scores have what stands in `FIGURES`, in this order.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxmia import metrics
from jaxmia.metrics import RocCounts

LEVELS = {"0.01": 1e-2, "0.001": 1e-3, "0.00001": 1e-5}


class Figure(NamedTuple):
    """A number of an attack. `of` reads it off a ROC with members and non-members, or is None.

    `words` are a sentence's beginning, with {} for the value. `format` is that of the value:
    "{:.3f}", or "{:.2%}" for what tables show in percent. A figure at an FPR is one of several of a
    `name`, and `level` is its key among them.
    """

    name: str
    of: Callable[[RocCounts], float] | None
    words: str
    format: str
    head: str  # above its column, in full
    short: str  # the same where a column is narrow
    level: str | None = None

    @property
    def key(self) -> str:
        """Its name in a file that has no levels."""
        return self.name if self.level is None else f"{self.name}_{self.level}"

    @property
    def percent(self) -> bool:
        """Whether tables show it in percent."""
        return self.format.endswith("%}")

    def text(self, value: float | None) -> str:
        """A value for people; a dash where there is none, as in a summary of another version."""
        return "–" if value is None else self.format.format(value)

    def at(self, tree: Mapping[str, Any] | None) -> Any:
        """What a tree like the summary's has for it: values, intervals, sentences; None if none."""
        value = (tree or {}).get(self.name)
        return value if self.level is None else (value or {}).get(self.level)


def _tpr(level: str) -> Figure:
    fpr = LEVELS[level]
    return Figure(
        "tpr_at_fpr",
        partial(metrics.tpr_at_fpr_of, fpr=fpr),
        f"TPR {{}} at {fpr:g} FPR",
        "{:.2%}",
        f"TPR at {fpr * 100:g} % FPR",
        f"TPR@{fpr * 100:g}%",
        level,
    )


FIGURES = (
    Figure("auc", metrics.auc_of, "AUC {}", "{:.3f}", "AUC", "AUC"),
    Figure(
        "balanced_accuracy", metrics.balanced_accuracy_of, "best balanced accuracy {}", "{:.3f}",
        "balanced accuracy", "bal.acc",
    ),
    *map(_tpr, LEVELS),
)  # fmt: skip


def as_columns() -> list[Figure]:
    """The figures as the tables of a page show them: what is found at an FPR first."""
    return sorted(FIGURES, key=lambda figure: figure.level is None)


def tree(values: Iterable[Any]) -> dict[str, Any]:
    """A value for each figure, as the summary has them: by name, and by level within a name."""
    out: dict[str, Any] = {}
    for figure, value in zip(FIGURES, values, strict=True):
        if figure.level is None:
            out[figure.name] = value
        else:
            out.setdefault(figure.name, {})[figure.level] = value
    return out


def nothing() -> dict[str, Any]:
    """The figures of scores that allow none."""
    return {**{figure.name: None for figure in FIGURES}, "targets": None}


def values_of(curve: RocCounts) -> list[float]:
    """Every figure of a ROC."""
    return [float(figure.of(curve)) for figure in FIGURES if figure.of is not None]


def over_targets(rows: Iterable[list[float]]) -> dict[str, Any] | None:
    """Mean and standard deviation of every figure over targets, given each one's; None of none."""
    each = np.array(list(rows))
    if not len(each):
        return None
    pairs = zip(each.mean(0).tolist(), each.std(0).tolist(), strict=True)
    return {"count": len(each), **tree(list(pair) for pair in pairs)}


def spread(figure: Figure, attack: Mapping[str, Any]) -> list[float] | None:
    """Mean and standard deviation over an attack's targets, as they are shown; None if not.

    An FPR that allows no false alarm among one target's non-members is not shown: what is found
    there is found at no false alarm, whatever the FPR.
    """
    over = attack.get("targets")
    if not over or over["count"] < 2:
        return None
    fpr = LEVELS[figure.level] if figure.name == "tpr_at_fpr" and figure.level else 1.0
    if fpr * attack["non_members"] < over["count"]:
        return None
    return figure.at(over)
