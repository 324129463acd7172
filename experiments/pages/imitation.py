"""Imitative models against ordinary ones, a line for each attack."""

from experiments import rows
from experiments.pages import attacks, words
from experiments.pages.words import Row

NAMES = {
    "imitative": "imitative models, IMIA",
    "imitative_ordinary": "the same score, ordinary models in the imitators' place",
    "imitative_other": "the same score, imitators of another target in their place",
}


def _rows() -> list[Row]:
    return rows.read("imitation")


def table() -> str:
    """A line for each attack, pooled over the targets."""
    heads = ("attack", "AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR",
             "imitators have more, points at 0.1 %", "AUC more")  # fmt: skip
    body = []
    for row in _rows():
        name = NAMES.get(row["attack"]) or attacks.name(row["attack"])
        low, high = row["auc_interval"]
        rates = [words.span(t["value"], t["interval"]) for t in row["tpr"].values()]
        more = row.get("more")
        body.append((
            name, f"{row['auc']:.3f} [{low:.3f}, {high:.3f}]", *rates,
            _ends(more["0.001"], 100, 2) if more else "", _ends(more["auc"], 1, 3) if more else "",
        ))  # fmt: skip
    return words.table(heads, body)


def _ends(ends: list[float], times: float, digits: int) -> str:
    return " to ".join(f"{times * v:+.{digits}f}".replace("-", "−") for v in ends)


def about() -> str:
    """What the table rests on."""
    row = _rows()[0]
    return (
        f"{row['targets']} targets, each imitated by {row['imitators']} models; {row['shadows']} "
        f"ordinary shadow models; {words.count(row['examples'])} examples; intervals of draws of "
        f"examples, each with all its targets. {words.measured([row])}"
    )


def claims() -> str:
    """Whether imitation helps, by the same score without it, and against LiRA."""
    by = {row["attack"]: row for row in _rows()}
    said = [
        f"{_verdict(by['imitative_ordinary']['more'])} than the same score of ordinary models",
        f"{_verdict(by['imitative_other']['more'])} than that of imitators of another target",
        f"{_verdict(by['lira_online']['more'])} than LiRA online by as many ordinary models",
    ]
    return (
        f"On these models the imitators' score finds {'; '.join(said)}. Imitators of another "
        f"target find {_verdict(by['imitative_other']['over_ordinary'])} than ordinary models."
    )


def cost() -> str:
    """Models and seconds of LiRA and of imitation, for all targets and for one."""
    row = _rows()[0]
    targets, each = row["targets"], row["imitators"]
    shared, own = row["cost"]["shared"], row["cost"]["own"]
    first = row["shadows"] - each
    return (
        f"LiRA has {shared['models']} models for all {targets} targets, "
        f"{words.number(shared['seconds'])} s. Imitation has {first} of them for all, and {each} "
        f"for each target: {first + own['models']} in all, "
        f"{words.number((first + own['models']) / shared['models'])} times LiRA's; those of the "
        f"targets alone took {words.number(own['seconds'])} s, "
        f"{words.number(own['seconds'] / targets)} s a target. For one target alone the numbers "
        f"are equal. {words.TIMES}"
    )


def _verdict(more: dict[str, list[float]]) -> str:
    """More, less, or not surely either, by the AUC and at 0.1 % FPR."""
    words_of = []
    for key, of in (("auc", "in AUC"), ("0.001", "at 0.1 % FPR")):
        low, high = more[key]
        sign = "more" if low > 0 else "less" if high < 0 else "not surely more or less"
        words_of.append((sign, of))
    (first, a), (second, b) = words_of
    if first == second:
        return f"{first} ({a} and {b})"
    return f"{first} {a} and {second} {b}"


PARTS = {"table": table, "about": about, "claims": claims, "cost": cost}
