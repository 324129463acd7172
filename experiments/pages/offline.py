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


PARTS = {"table": table, "about": about}
