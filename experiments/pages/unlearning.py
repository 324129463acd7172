"""Unlearning: what still tells an unlearned model from one that never had the record."""

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

LABELS = {"wrong": "wrong labels", "own": "own labels"}


def _rows(labels: str, against: str) -> list[Row]:
    return [
        row for row in rows.read("unlearning")
        if row["labels"] == labels and row["against"] == against
    ]  # fmt: skip


def _auc(row: Row) -> str:
    low, high = row["auc_interval"]
    return f"{row['auc']:.3f} [{low:.3f}, {high:.3f}]"


def _rate(row: Row) -> str:
    return words.span(row["tpr_at_fpr"]["0.01"], row["tpr_interval"]["0.01"], 1)


def table() -> str:
    """A line for each kind of labels and way to unlearn."""
    heads = (
        "candidates", "what is done", "against models never trained on it: AUC", "TPR at 1 % FPR",
        "against models that have unlearned others: AUC", "TPR at 1 % FPR",
        "accuracy on what is retained", "in test", "time, in trainings",
    )  # fmt: skip
    body = []
    for labels, label in LABELS.items():
        both = (_rows(labels, against) for against in ("never trained", "unlearned others"))
        for i, (never, others) in enumerate(zip(*both, strict=True)):
            body.append((
                "" if i else label, never["method"], _auc(never), _rate(never), _auc(others),
                _rate(others), f"{never['core_accuracy']:.3f}", f"{never['test_accuracy']:.3f}",
                f"{never['cost']:.2f}",
            ))  # fmt: skip
    return words.table(heads, body)


def about() -> str:
    """How much the table rests on."""
    row = rows.read("unlearning")[0]
    return (
        f"{row['models']} models of each family, {words.count(row['core'])} records in the core, "
        f"{row['candidates']} candidates, of which each model is trained on half; "
        f"n = {words.count(row['n'])} scores of the unlearned and as many of the others in each "
        f"figure. Models of the core alone: accuracy {row['never']['core_accuracy']:.3f} on it, "
        f"{row['never']['test_accuracy']:.3f} in test (own labels). {words.measured([row])}"
    )


def cost() -> str:
    """What the attack trains for each question, in trainings, next to ordinary LiRA."""
    row = rows.read("unlearning")[0]
    unlearning = [r["models"] * r["cost"] for r in rows.read("unlearning")]
    models, low, high = row["models"], min(unlearning), max(unlearning)
    return (
        f"Ordinary LiRA, by {models} models: {models} trainings. What was unlearned, by as many: "
        f"{models} trainings and {models} unlearnings, the latter together as long as "
        f"{words.number(low)} to {words.number(high)} trainings, by method. That something was: "
        f"{models} trainings on the core alone besides."
    )


PARTS = {"table": table, "about": about, "cost": cost}
