"""The defences: strength and attacker picked on one half of the examples, reported on the other."""

from typing import Any

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

BASELINE = "dp_sgd epsilon=inf"
POINT = 0.01  # of test accuracy, which a strength may cost
SHORT = {"lira_online": "LiRA", "base": "BASE", "label_only_lira": "label-only LiRA"}
LEVEL = "0.001"


def strongest(row: Row) -> str:
    """The attack that finds most at 0.1 % FPR, or else at 1 %, on the half that one picks on."""
    rate = {k: a["choice"]["tpr"] for k, a in row["adaptive"].items()}
    return max(rate, key=lambda k: (rate[k][LEVEL], rate[k]["0.01"]))


def reported(row: Row) -> dict[str, Any]:
    """That attack's figures on the other half."""
    return row["adaptive"][strongest(row)]["report"]


def line(row: Row) -> str:
    """A row as the study prints it."""
    own = reported(row)
    rate = words.span(own["tpr"][LEVEL], own["tpr_interval"][LEVEL])
    attack = SHORT[strongest(row)]
    return f"test {row['test_accuracy']:.3f} AUC {own['auc']:.3f} TPR {rate} by {attack}"


def cells(lines: list[Row], examples: str) -> dict[str, Row]:
    """The rows of one kind of examples, by cell."""
    return {r["cell"]: r for r in lines if r["examples"] == examples}


def picked(lines: list[Row]) -> list[str]:
    """Each defence's strength at which fewest canaries of the half to pick on are found.

    Of those that cost at most a point of test accuracy, or else of the least costly alone; DP-SGD's
    cost is counted from its own recipe without noise.
    """
    natural, canary = cells(lines, "natural"), cells(lines, "canaries")

    def exposure(cell: str) -> tuple[float, float]:
        rate = canary[cell]["adaptive"][strongest(canary[cell])]["choice"]["tpr"]
        return rate[LEVEL], rate["0.01"]

    out = []
    for name in dict.fromkeys(c.split()[0] for c in natural):
        plain = BASELINE if name == "dp_sgd" and BASELINE in natural else "none"
        least = natural[plain]["test_accuracy"] - POINT
        own = [c for c in natural if c.split()[0] == name and c != BASELINE]
        if not own:
            continue
        cheap = [c for c in own if natural[c]["test_accuracy"] >= least]
        cheap = cheap or [max(own, key=lambda c: natural[c]["test_accuracy"])]
        out.append(min(cheap, key=exposure))
    return out


HEADS = (
    "defence", "test accuracy", "AUC", "TPR at 0.1 % FPR", "by", "non-adaptive LiRA",
    "canaries: AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "by", "non-adaptive LiRA",
)  # fmt: skip


def _cells(cell: str, natural: Row, canary: Row) -> list[str]:
    out = [cell if cell != BASELINE else "(dp_sgd's recipe without noise)"]
    out.append(f"{natural['test_accuracy']:.3f}")
    for row, levels in ((natural, (LEVEL,)), (canary, ("0.01", LEVEL))):
        own = reported(row)
        out.append(f"{own['auc']:.3f}")
        out += [words.span(own["tpr"][k], own["tpr_interval"][k]) for k in levels]
        out += [SHORT[strongest(row)], words.percent(row["non_adaptive"]["report"]["tpr"][LEVEL])]
    return out


def table(lines: list[Row], names: list[str]) -> str:
    """Markdown: a line for each of the cells."""
    natural, canary = cells(lines, "natural"), cells(lines, "canaries")
    return words.table(HEADS, [_cells(c, natural[c], canary[c]) for c in names])


def best(lines: list[Row]) -> str:
    """The table of the strengths that are picked, and of DP-SGD's recipe without noise."""
    names = picked(lines)
    at = next((i for i, n in enumerate(names) if n.startswith("dp_sgd")), None)
    if at is not None and BASELINE in cells(lines, "natural"):
        names.insert(at, BASELINE)
    return table(lines, names)


def _rows() -> list[Row]:
    return rows.read("defences_digits")


def _every() -> str:
    lines = _rows()
    return table(lines, list(cells(lines, "natural")))


def _attackers() -> str:
    """Every attacker's share of the canaries, on the half that is reported."""
    lines = _rows()
    canary = cells(lines, "canaries")
    heads = ("defence", *(f"{SHORT[a]}: TPR at 0.1 % FPR" for a in SHORT))
    body = []
    for cell in picked(lines):
        own = canary[cell]["adaptive"]
        spans = [(own[a]["report"]["tpr"][LEVEL], own[a]["report"]["tpr_interval"][LEVEL])
                 for a in SHORT]  # fmt: skip
        body.append([cell, *(words.span(*s) for s in spans)])
    return words.table(heads, body)


def _about() -> str:
    lines = _rows()
    own, canary = (reported(cells(lines, k)["none"]) for k in ("natural", "canaries"))
    return (
        f"{lines[0]['models']} models a row and kind of examples; on the half that is reported "
        f"{words.count(own['non_members'])} non-member scores of natural examples, "
        f"{words.count(canary['non_members'])} of canaries. {words.measured(lines)}"
    )


def _rate(row: Row, level: str = LEVEL) -> str:
    own = reported(row)
    return words.span(own["tpr"][level], own["tpr_interval"][level])


def _flattered(lines: list[Row]) -> str:
    """The defences that undefended shadow models hardly see through, and their own do."""
    natural = cells(lines, "natural")
    out = []
    for name in picked(lines):
        own = reported(natural[name])
        others = natural[name]["non_adaptive"]["report"]["tpr"][LEVEL]
        if others < 0.002 < own["tpr_interval"][LEVEL][0]:
            out.append(f"`{name}` ({words.percent(own['tpr'][LEVEL])})")
    return ", ".join(out)


def _verdict(lines: list[Row], name: str) -> str:
    """What is found of the canaries under a defence, and whether that is more than guessing."""
    row = cells(lines, "canaries")[next(n for n in picked(lines) if n.split()[0] == name)]
    own = reported(row)
    rates = f"{_rate(row)} at 0.1 % FPR, {_rate(row, '0.01')} at 1 %, AUC {own['auc']:.3f}"
    more = own["tpr_interval"][LEVEL][0] > 1e-3 or own["tpr_interval"]["0.01"][0] > 1e-2
    verdict = "did not hold" if more else "held, as far as so many scores can tell"
    return f"`{row['cell']}` {verdict}: of the canaries {SHORT[strongest(row)]} finds {rates}"


def _price(lines: list[Row]) -> str:
    """What DP-SGD costs against its own recipe without noise."""
    natural = cells(lines, "natural")
    private = next(n for n in picked(lines) if n.startswith("dp_sgd"))
    plain = natural[BASELINE]["test_accuracy"]
    points = 100 * (plain - natural[private]["test_accuracy"])
    recipe = f"the same recipe without noise ({plain:.3f})"
    return f"it costs {points:.1f} points of accuracy against {recipe}"


def _claims() -> str:
    lines = _rows()
    natural, canary = cells(lines, "natural"), cells(lines, "canaries")
    there = {n.split()[0] for n in picked(lines)}
    claims = [
        f"**Averages mislead.** Undefended models give away {_rate(natural['none'])} of their "
        f"members at 0.1 % FPR, and {_rate(canary['none'])} of the canaries.",
        "**Non-adaptive attacks flatter.** By undefended shadow models less than 0.2 % of the "
        f"members are found, and more by models defended alike: {_flattered(lines) or 'none'}.",
    ]
    if "dp_sgd" in there:
        claims.append(f"**DP-SGD.** {_verdict(lines, 'dp_sgd')}; {_price(lines)}.")
    if "hamp" in there:
        claims.append(f"**HAMP.** {_verdict(lines, 'hamp')}.")
    if "rounded" in there:
        claims.append(f"**Rounding.** {_verdict(lines, 'rounded')}.")
    return "\n".join(f"- {claim}" for claim in claims)


PARTS = {
    "best": lambda: best(_rows()),
    "every": _every,
    "attackers": _attackers,
    "about": _about,
    "claims": _claims,
}
