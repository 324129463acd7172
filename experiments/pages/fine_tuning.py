"""Fine-tuning: what is found by the number of examples of each class, and how fast it falls."""

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

WAYS = {"head": "a new head", "adapters": "head and adapters of rank 4", "all": "everything"}


def _rate(row: Row, level: str) -> str:
    return words.span(row["tpr_at_fpr"][level], row["tpr_interval"][level], 2)


def _table(name: str) -> str:
    heads = (
        "what trains", "examples of each class", "AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR",
        "test accuracy",
    )  # fmt: skip
    body, before = [], ""
    for row in rows.read(name):
        if "slope" in row:
            continue
        low, high = row["auc_interval"]
        auc = f"{row['auc']:.3f} [{low:.3f}, {high:.3f}]"
        way = "" if row["way"] == before else WAYS[row["way"]]
        body.append((way, str(row["examples"]), auc, _rate(row, "0.01"), _rate(row, "0.001"),
                     f"{row['test_accuracy']:.3f}"))  # fmt: skip
        before = row["way"]
    return words.table(heads, body)


def _slopes(name: str) -> str:
    body = []
    for row in rows.read(name):
        if "slope" in row:
            value, low, high = (
                f"{v:.2f}".replace("-", "−") for v in (row["slope"], *row["interval"])
            )
            level = words.percent(row["fpr"], 1 if row["fpr"] < 0.01 else 0)
            body.append((WAYS[row["way"]], level, f"{value} [{low}, {high}]"))
    return words.table(("what trains", "FPR", "exponent"), body)


def _about(name: str) -> str:
    lines = [row for row in rows.read(name) if "slope" not in row]
    least, row = min(lines, key=lambda row: row["n"]), lines[0]
    return (
        f"{row['models']} models of each pool, {row['classes']} classes; n = "
        f"{words.count(least['n'])} member scores or more in each line, as many non-members'. "
        f"{words.measured([row])}"
    )


PARTS = {
    "table": lambda: _table("fine_tuning"),
    "slopes": lambda: _slopes("fine_tuning"),
    "about": lambda: _about("fine_tuning"),
    "features-table": lambda: _table("fine_tuning_features"),
    "features-slopes": lambda: _slopes("fine_tuning_features"),
    "features-about": lambda: _about("fine_tuning_features"),
}
