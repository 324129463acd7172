"""Poisons: what is found of targets of whom mislabelled copies are in every model."""

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

ATTACKS = {"lira_online": "LiRA online", "global_threshold": "a threshold on φ"}


def _rate(row: Row, level: str) -> str:
    return words.span(row["tpr_at_fpr"][level], row["tpr_interval"][level], 1)


def table() -> str:
    """A line for each attack and number of copies."""
    heads = (
        "attack", "copies of each target", "AUC", "TPR at 1 % FPR",
        "TPR at 1 % more than without", "accuracy on members", "in test",
    )  # fmt: skip
    body = []
    for name, label in ATTACKS.items():
        for row in rows.read("poisoning"):
            if row["attack"] != name:
                continue
            low, high = row["auc_interval"]
            over = row.get("over_none")
            added = words.points(*over["tpr_0.01"].values()) if over else "–"
            auc = f"{row['auc']:.3f} [{low:.3f}, {high:.3f}]"
            body.append((
                "" if over else label, str(row["copies"]), auc,
                _rate(row, "0.01"), added, f"{row['train_accuracy']:.3f}",
                f"{row['test_accuracy']:.3f}",
            ))  # fmt: skip
    return words.table(heads, body)


def about() -> str:
    """How much the table rests on."""
    row = rows.read("poisoning")[0]
    return (
        f"{row['targets']} targets, {row['models']} models with each number of copies; "
        f"n = {words.count(row['n'])} member and {words.count(row['non_members'])} non-member "
        f"scores in each line. {words.measured([row])}"
    )


def cost() -> str:
    """Models, poisons and seconds with each number of copies."""
    lines = [row for row in rows.read("poisoning") if row["attack"] == "lira_online"]
    first, *rest = lines
    said = [
        f"with {row['copies']} copies of each, {words.count(row['copies'] * row['targets'])} "
        f"poisons in all, {words.number(row['cost']['seconds'])} s"
        for row in rest
    ]
    return (
        f"LiRA has {first['models']} models in every line, with and without poisons: without, "
        f"{words.number(first['cost']['seconds'])} s; {'; '.join(said)}. {words.TIMES}"
    )


PARTS = {"table": table, "about": about, "cost": cost}
