"""Three real sets, each attacked by one command: the README's first table."""

from experiments import rows
from experiments.pages import attacks, words
from experiments.pages.words import Row
from jaxmia.evaluation import own_fpr

SETS = {"digits": "digits", "randhie": "people", "cifar10_small": "CIFAR-10"}
ATTACKS = ("lira_online", "base", "lira_offline_imputed", "lira_offline", "global_threshold")
WHAT = {
    "digits": "scikit-learn's digit scans, MLPs 64-128-128-10",
    "randhie": "years of people in the RAND Health Insurance Experiment and how often each saw a "
    "doctor (4 classes), MLPs 22-128-128-4; a person's years are in or out together",
    "cifar10_small": "5000 images of CIFAR-10 (a copy with pixels within 3/255), small CNNs",
}


def rate(row: Row, level: str) -> str:
    """The TPR at a level, with its interval where this is one that draws examples or persons."""
    share, ends = row["tpr_at_fpr"][level], row["intervals"]["tpr_at_fpr"][level]
    bootstrapped = row["intervals"]["kind"]["tpr_at_fpr"][level] == "bca"
    return words.span(share, ends) if bootstrapped and ends else words.percent(share)


def own_rate(row: Row) -> str:
    """The TPR where 0.1 % is every record's own FPR, if the attack has p-values that hold."""
    if not row.get("p_values") or not own_fpr.hold(row):
        return "–"
    share = row["tpr_at_own_fpr"]["0.001"]
    return words.span(share, row["intervals"]["tpr_at_own_fpr"]["0.001"])


def table() -> str:
    """A line for each set and attack; people as a whole below their records."""
    heads = (
        "data", "attack", "AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR, 95 % interval",
        "nobody above 0.1 %",
    )  # fmt: skip
    body = []
    for name, title in SETS.items():
        own = rows.read(name) if rows.there(name) else []
        of_records = {r["attack"]: r for r in own if r["unit"] == "records"}
        lines = [(attacks.short(a), of_records[a]) for a in ATTACKS if a in of_records]
        lines += [(f"{attacks.short(r['attack'])}, of a person's records together", r)
                  for r in own if r["unit"] == "people" and r["attack"] == ATTACKS[0]]  # fmt: skip
        for i, (attack, row) in enumerate(lines):
            one = words.percent(row["tpr_at_fpr"]["0.01"])
            auc = f"{row['auc']:.3f}"
            first = title if i == 0 else ""
            body.append((first, attack, auc, one, rate(row, "0.001"), own_rate(row)))
    return words.table(heads, body)


def about() -> str:
    """What each set is, how its models do, and the command."""
    out = []
    for name, title in SETS.items():
        if not rows.there(name):
            out.append(f"- **{title}**: not measured by this version.")
            continue
        row = rows.read(name)[0]
        out.append(
            f"- **{title}**: {WHAT[name]}. {row['models']} models, each trained on a random "
            f"half of "
            f"{words.count(row['examples'])}; {words.count(row['members'])} member and "
            f"{words.count(row['non_members'])} non-member scores; accuracy "
            f"{row['train_accuracy']:.3f} in training, {row['test_accuracy']:.3f} in test. "
            f"{words.measured([row])}"
        )
    return "\n".join(out)


def tail() -> str:
    """What the average hides, with the base that it is held against."""
    own = {r["attack"]: r for r in rows.read("digits") if r["unit"] == "records"}
    lira, plain = own["lira_online"], own["global_threshold"]
    below = plain["below"]["0.001"]
    low, high = below["times_interval"]
    return (
        f"At one false alarm in a thousand LiRA finds "
        f"{words.percent(lira['tpr_at_fpr']['0.001'], 1)} "
        f"of the digits' members, where guessing finds 0.1 % and a threshold on the loss "
        f"{words.percent(plain['tpr_at_fpr']['0.001'])}: {below['times']:.0f} times as many (95 %: "
        f"{low:.0f} to {high:.0f}, both on the same draws of examples). The AUC, an average, is "
        f"{lira['auc']:.2f}."
    )


PARTS = {"table": table, "about": about, "tail": tail}
