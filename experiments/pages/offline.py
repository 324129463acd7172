"""Offline attacks, by set and number of references."""

from experiments import rows
from experiments.pages import attacks, words
from experiments.pages.words import Row


def _rows() -> list[Row]:
    files = sorted(rows.RESULTS.glob("offline_*.jsonl"))
    if not files:
        raise FileNotFoundError(2, "no rows", str(rows.RESULTS / "offline_*.jsonl"))
    return [row for file in files for row in rows.read(file.stem)]


def table() -> str:
    """A line for each set, number of references and attack."""
    heads = ("set", "references", "attack", "AUC", "TPR at 0.1 % FPR", "imputed has more, points")
    body = []
    for row in _rows():
        own = row["tpr"]["0.001"]
        more = row.get("more", {}).get("0.001")
        ends = " to ".join(f"{100 * v:+.2f}".replace("-", "−") for v in more) if more else ""
        body.append((
            row["set"], str(row["references"]), attacks.short(row["attack"]), f"{row['auc']:.3f}",
            words.span(own["value"], own["interval"]), ends,
        ))  # fmt: skip
    return words.table(heads, body)


def about() -> str:
    """The commands, one for each set."""
    first = {row["set"]: row for row in _rows()}
    return "\n".join(
        f"- {name}: {row['targets']} targets, {words.count(row['examples'])} examples. "
        f"{words.measured([row])}"
        for name, row in first.items()
    )


def cost() -> str:
    """Models of each set, and what the imputed attack has over LiRA online with as many."""
    heads = ("set", "models, for all attacks", "references", "imputed over LiRA online, points")
    body, sure = [], {"more": 0, "less": 0}
    online = [row for row in _rows() if row["attack"] == "lira_online"]
    for row in online:
        low, high = row["more"]["0.001"]
        sure["more"] += low > 0
        sure["less"] += high < 0
    for name in dict.fromkeys(row["set"] for row in online):
        most = max((r for r in online if r["set"] == name), key=lambda r: r["references"])
        ends = " to ".join(f"{100 * v:+.2f}".replace("-", "−") for v in most["more"]["0.001"])
        body.append((name, str(most["targets"]), str(most["references"]), ends))
    return (
        f"{words.table(heads, body)}\n\nOf all {len(online)} lines above, with as many references "
        f"on both sides, the imputed attack surely finds more than LiRA online at 0.1 % FPR in "
        f"{sure['more']}, and surely less in {sure['less']}."
    )


PARTS = {"table": table, "about": about, "cost": cost}
