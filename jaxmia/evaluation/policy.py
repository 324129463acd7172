"""Limits that were chosen beforehand, and what a run's figures are against them.

It fails closed: what is absent, has no interval, was doubted, or was judged by limits that are
younger than the run, is refused. A figure passes by the upper end of its interval.
"""

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

FIGURES = {
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "tpr_at_fpr.0.01": "members found at 1 % false alarms",
    "tpr_at_fpr.0.001": "members found at 0.1 % false alarms",
    "tpr_at_own_fpr.0.01": "found where nobody is accused wrongly above 1 %",
    "tpr_at_own_fpr.0.001": "found where nobody is accused wrongly above 0.1 %",
    "groups.0.01": "members found of the most exposed group at 1 %",
    "groups.0.001": "members found of the most exposed group at 0.1 %",
    "structure.stored": "training records that lie in the model",
    "structure.small_leaf": "training records in a small leaf",
}
DECISIONS = ("pass", "review", "refuse")


class Limit(NamedTuple):
    """Up to `review` a figure passes, up to `refuse` somebody has to look at it."""

    figure: str
    review: float
    refuse: float


@dataclass(frozen=True)
class Policy:
    """What is asked, who chose the limits when, what must have been done, and the limits."""

    question: str
    by: str
    chosen_on: date
    attacks: tuple[str, ...]
    models: int
    limits: tuple[Limit, ...]
    digest: str


class Verdict(NamedTuple):
    """One limit with the figure that comes closest to it, or goes furthest beyond."""

    limit: Limit
    attack: str
    value: float | None
    interval: tuple[float, float] | None
    decision: str
    reason: str


class Decision(NamedTuple):
    """The gravest of all verdicts, and whatever else speaks against the run."""

    decision: str
    verdicts: list[Verdict]
    reasons: list[str]


def read(file: Path) -> Policy:
    """A policy in TOML: `question`, `by`, `chosen` (a date), `attacks`, `models`, `[[limit]]`.

    Raises `ValueError` or `FileNotFoundError`, naming file and field; a field that nobody knows is
    refused, since a misspelt limit would be none.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file}: is no file; a policy in TOML is needed")
    content = file.read_bytes()
    try:
        table = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read as TOML ({error!s:.200})") from error
    kinds = {"question": str, "by": str, "chosen": date, "attacks": list, "models": int,
             "limit": list}  # fmt: skip
    if other := sorted(table.keys() ^ kinds.keys()):
        what = "lacks" if other[0] in kinds else "has no field called"
        raise ValueError(f"{file}: a policy {what} {other[0]!r}; its fields are {', '.join(kinds)}")
    for name, kind in kinds.items():
        if not isinstance(table[name], kind) or isinstance(table[name], bool):
            raise ValueError(f"{file}: {name} must be a {kind.__name__}, not {table[name]!r:.80}")
    limits = tuple(_limit(file, row) for row in table["limit"])
    if not limits or not table["attacks"]:
        raise ValueError(f"{file}: must name attacks, and a limit at least")
    day = table["chosen"]
    return Policy(
        table["question"], table["by"], date(day.year, day.month, day.day),
        tuple(map(str, table["attacks"])), table["models"], limits,
        hashlib.sha256(content).hexdigest(),
    )  # fmt: skip


def _limit(file: Path, row: Any) -> Limit:
    if not isinstance(row, dict) or row.keys() != {"figure", "review", "refuse"}:
        raise ValueError(f"{file}: a limit must have figure, review and refuse, not {row!r:.80}")
    if row["figure"] not in FIGURES:
        names = ", ".join(FIGURES)
        raise ValueError(f"{file}: figure {row['figure']!r:.80} is not one of {names}")
    numbers = [row["review"], row["refuse"]]
    sound = all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers)
    if not sound or not 0 <= numbers[0] <= numbers[1]:
        raise ValueError(
            f"{file}: {row['figure']} must have 0 <= review <= refuse, not {numbers!r:.80}"
        )
    return Limit(row["figure"], *map(float, numbers))


def decide(policy: Policy, summary: Mapping[str, Any], first_day: date | None) -> Decision:
    """What follows from a run's summary; `first_day` is that on which its first model was ready."""
    doubts = [n for n in summary.get("notes", []) if n.startswith("warning")]
    reasons = [f"the run is doubted: {line}" for line in (*summary.get("warnings", []), *doubts)]
    if first_day is None:
        reasons.append("the run does not say when it was begun")
    elif policy.chosen_on > first_day:
        reasons.append(
            f"the limits were chosen on {policy.chosen_on}, after the run of {first_day}"
        )
    for name in policy.attacks:
        if summary["attacks"].get(name, {}).get("auc") is None:
            reasons.append(f"the attack {name} was not made")
    shadows = summary.get("references") or summary["models"]
    if shadows < policy.models:
        reasons.append(f"there are {shadows} shadow models, {policy.models} are asked for")
    verdicts = [_verdict(limit, summary) for limit in policy.limits]
    grave = max((DECISIONS.index(v.decision) for v in verdicts), default=2)
    return Decision("refuse" if reasons else DECISIONS[grave], verdicts, reasons)


def _verdict(limit: Limit, summary: Mapping[str, Any]) -> Verdict:
    figures = list(_figures(limit.figure, summary))
    if not figures:
        return Verdict(limit, "", None, None, "refuse", "the run does not have this figure")
    for attack, value, ends in figures:
        if ends is None:
            why = "it has no interval: there are too few non-members"
            return Verdict(limit, attack, value, None, "refuse", why)
    attack, value, (low, high) = max(figures, key=lambda row: row[2][1])
    decision = DECISIONS[(high > limit.review) + (high > limit.refuse)]
    return Verdict(limit, attack, value, (low, high), decision, "")


def _figures(name: str, summary: Mapping[str, Any]) -> Iterator[tuple[str, float, Any]]:
    """Attack, value and interval of a figure, of every attack, of records and of persons."""
    kind, _, level = name.partition(".")
    if kind == "groups":
        for column, of in summary.get("groups", {}).items():
            for row in of["groups"]:
                if (value := row["at"][level]["tpr"]) is not None:
                    who = f"{of['attack']} on {column} {row['group']}"
                    yield who, value, row["at"][level]["tpr_interval"]
        return
    if kind == "structure":
        if check := summary.get("structure", {}).get("checks", {}).get(level):
            yield "the model's file", check["value"], (check["value"], check["value"])
        return
    units = {"": summary, "persons by ": summary.get("people", {})}
    for unit, of in units.items():
        for attack, fields in of.get("attacks", {}).items():
            value, ends = (
                (t.get(kind) or {}).get(level) if level else t.get(kind)
                for t in (fields, fields.get("intervals") or {})
            )
            if value is not None or (kind == "tpr_at_fpr" and fields["auc"] is not None):
                yield f"{unit}{attack}", value, ends
