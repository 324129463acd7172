"""What attacks lose where shadow models are trained on other data, or in another way."""

from typing import Any

from experiments import rows
from experiments.pages import attacks, words
from experiments.pages.words import Row

MATCHED = "the same records"


def _by_shadows() -> dict[str, dict[str, Row]]:
    out: dict[str, dict[str, Row]] = {}
    for row in rows.read("shifted"):
        out.setdefault(row["shadows"], {})[row["attack"]] = row
    return out


def _auc(figure: dict[str, Any], sign: str = "") -> str:
    low, high = figure["interval"]
    return f"{figure['value']:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]".replace("-", "−")


def table() -> str:
    """A line for each kind of shadow models and attack."""
    heads = (
        "shadow models", "attack", "AUC", "TPR at 0.1 % FPR", "loss of AUC",
        "loss of TPR at 0.1 %, points", "null AUC",
    )  # fmt: skip
    body = []
    for name, by in _by_shadows().items():
        for attack, row in by.items():
            tpr, loss = row["tpr_at_0.001"], row.get("loss")
            less = ("", "")
            if loss:
                points = loss["tpr_at_0.001"]
                less = (
                    _auc(loss["auc"], "+"),
                    words.points(points["value"], points["interval"]),
                )
            body.append((
                name, attacks.short(attack), _auc(row["auc"]),
                words.span(tpr["value"], tpr["interval"]), *less, _auc(row["null"]),
            ))  # fmt: skip
    return words.table(heads, body)


def claims() -> str:
    """For each kind of shadow models, which attack finds most, and what is lost for sure."""
    every = _by_shadows()
    lines = []
    for name, by in every.items():
        most = max(by, key=lambda a: by[a]["tpr_at_0.001"]["value"])
        tpr = by[most]["tpr_at_0.001"]
        line = (
            f"- *{name}*: {attacks.short(most)} finds most at 0.1 % FPR, "
            f"{words.span(tpr['value'], tpr['interval'])}"
        )
        if name != MATCHED:
            sure = [a for a, r in by.items() if r["loss"]["tpr_at_0.001"]["interval"][0] > 0]
            lower = [a for a, r in by.items() if r["loss"]["auc"]["interval"][0] > 0]
            line += (
                f"; of {len(by)} attacks {len(sure)} lose TPR there and {len(lower)} AUC "
                f"by an interval that excludes zero"
            )
        lines.append(f"{line}.")
    off = [r for by in every.values() for r in by.values()]
    away = sum(not r["null"]["interval"][0] <= 0.5 <= r["null"]["interval"][1] for r in off)
    lines.append(
        f"- Null: in {len(off) - away} of {len(off)} lines the interval of the AUC against the "
        f"membership of another target holds 1/2."
    )
    return "\n".join(lines)


def about() -> str:
    """Who is attacked, by how many shadow models."""
    every = _by_shadows()
    row = next(iter(every[MATCHED].values()))
    others = {r["references"] for name, by in every.items() for r in by.values() if name != MATCHED}
    number = " or ".join(map(str, sorted(others)))
    return (
        f"{row['targets']} targets asked about {row['queries']} digits: "
        f"n = {words.count(row['scored'])} scores of each attack, half of them members'. "
        f"{row['references']} matched shadow models, {number} others. {words.measured([row])}"
    )


def cost() -> str:
    """How many models each kind is, what all took, and what is found by the same total."""
    every = _by_shadows()
    first = {name: next(iter(by.values())) for name, by in every.items()}
    said = ", ".join(f"*{name}* {row['references']}" for name, row in first.items())
    row = first[MATCHED]
    fewer = first[f"{MATCHED}, half as many"]["references"]
    at = "tpr_at_0.001"
    best = "; ".join(
        f"*{name}* {words.span(tpr['value'], tpr['interval'])}, by {attacks.short(attack)}"
        for name, by in every.items()
        if first[name]["references"] == fewer
        for attack in [max(by, key=lambda a: by[a][at]["value"])]
        for tpr in [by[attack][at]]
    )
    return (
        f"Shadow models, for all {row['targets']} targets and all attacks at once: {said}. All of "
        f"them and the targets are {words.count(row['cost']['models'])} models, "
        f"{words.number(row['cost']['seconds'])} s. {words.TIMES}\n\nBy a total of {fewer} shadow "
        f"models, the most at 0.1 % FPR: {best}."
    )


PARTS = {"table": table, "claims": claims, "about": about, "cost": cost}
