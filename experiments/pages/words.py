"""How rows are said: shares in percent, intervals, tables, and what they were measured by."""

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]
TIMES = "Seconds are of training and asking, beside others' work on the same cores, and rough."


def percent(share: float, digits: int = 2) -> str:
    """A share in percent: 0.0367 is 3.67 %."""
    return f"{100 * share:.{digits}f} %"


def span(share: float, ends: Sequence[float] | None, digits: int = 2) -> str:
    """A share and its interval, if it has one: 3.67 % [2.95, 4.57]."""
    if ends is None:
        return percent(share, digits)
    low, high = (f"{100 * end:.{digits}f}" for end in ends)
    return f"{percent(share, digits)} [{low}, {high}]"


def points(more: float, ends: Sequence[float]) -> str:
    """A difference in points with its interval: +0.14 [−0.02, +0.31]."""
    value, low, high = (f"{100 * v:+.2f}".replace("-", "−") for v in (more, *ends))
    return f"{value} [{low}, {high}]"


def count(number: int) -> str:
    """A number in groups of three: 92 032."""
    return f"{number:,}".replace(",", " ")


def number(value: float) -> str:
    """Three digits or all before the point: 0.0483, 218, 135 436."""
    return f"{value:.3g}" if abs(value) < 100 else count(round(value))


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def measured(rows: Sequence[Row]) -> str:
    """The commands of rows; machine, versions and date of the first."""
    row = rows[0]
    parts = [f"`{command}`" for command in dict.fromkeys(r.get("command") for r in rows) if command]
    versions = row["versions"]
    parts += [row.get("hardware", row["device"])]
    parts += [f"jax {versions['jax']}, Python {versions['python']}"]
    parts += [f"seed {row['seed']}"] if "seed" in row else []
    return "; ".join([*parts, row["time"][:10]]) + "."


def excludes_zero(ends: Sequence[float]) -> bool:
    """Whether a difference with this interval is established."""
    return ends[0] > 0 or ends[1] < 0
