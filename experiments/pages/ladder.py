"""The whole ladder of attacks on the same models."""

from experiments import rows
from experiments.pages import attacks, words
from experiments.pages.sets import rate
from experiments.pages.words import Row


def _rows() -> list[Row]:
    return sorted(rows.read("ladder"), key=lambda r: r["tpr_at_fpr"]["0.001"])


def table() -> str:
    """A line for each attack, the strongest at 0.1 % FPR last."""
    heads = (
        "attack", "needs", "AUC pooled", "over targets", "TPR at 1 % FPR", "at 0.1 %",
        "without a false alarm (0.001 %)", "LiRA online less it at 0.1 %, points",
    )  # fmt: skip
    body = []
    for row in _rows():
        mean, sd = row["targets"]["auc"]
        below = row.get("below")
        body.append((
            attacks.name(row["attack"]), attacks.NEEDS.get(row["attack"], ""), f"{row['auc']:.3f}",
            f"{mean:.3f} ± {sd:.3f}", rate(row, "0.01"), rate(row, "0.001"), rate(row, "0.00001"),
            words.points(below["0.001"]["less"], below["0.001"]["interval"]) if below else "",
        ))  # fmt: skip
    return words.table(heads, body)


def about() -> str:
    """Who is attacked, by whom, and on how many scores."""
    every = _rows()
    row = every[-1]
    later = [r for r in every if r["time"] != row["time"]]
    again = ""
    if later:
        names = "; ".join(attacks.short(r["attack"]) for r in later)
        again = f" Of another start, with its own LiRA online: {names}. {words.measured(later)}"
    return (
        f"{row['models']} MLPs, every model attacked by all others without its partner; "
        f"n = {words.count(row['members'])} member and {words.count(row['non_members'])} "
        f"non-member "
        f"scores of {words.count(row['examples'])} examples; differences on the same draws of "
        f"examples. {words.measured([row])}"
        f"{again}"
    )


def claims() -> str:
    """What the table shows, and what it does not."""
    own = {r["attack"]: r for r in _rows()}
    lira, base = own["lira_online"], own["base"]
    middle, least = base["below"]["0.001"], base["below"]["1e-05"]
    status = "established" if words.excludes_zero(least["interval"]) else "not established"
    there = lira["at_shadow_threshold"]["0.001"]
    few, rare = (words.percent(there["precision"][k], 0) for k in ("0.1", "0.01"))
    none = {k: words.percent(r["tpr_at_fpr"]["0.00001"]) for k, r in own.items()}
    return "\n".join(
        (
            f"- At 0.1 % FPR LiRA online finds {rate(lira, '0.001')}, and "
            f"{words.points(middle['less'], middle['interval'])} points more than BASE.",
            f"- Without any false alarm BASE finds {none['base']}, LiRA {none['lira_online']}: "
            f"{words.points(least['less'], least['interval'])} points for LiRA, {status}.",
            "- An attacker who sets LiRA's threshold on shadow models for 0.1 % FPR gets "
            f"{words.percent(there['fpr'])} FPR and {words.percent(there['tpr'])} TPR, on average "
            f"over records and targets: where one in ten is a member, {few} of those named are; "
            f"one in a hundred, {rare}.",
        )
    )


PARTS = {"table": table, "about": about, "claims": claims}
