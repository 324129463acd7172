"""Bounds from one training run: how often they refute a promise that is kept."""

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

BOUNDS = {
    "order_statistics": "order statistics",
    "independent": '`channels="independent"`',
    "any": "`mu_one_run`",
    "pure": "`epsilon_one_run`",
}


def _rows() -> list[Row]:
    return rows.read("one_run_bounds")


def table() -> str:
    """A line for each promise and count, the shared level first."""
    heads = ("noise", "ε", "canaries", "guesses", *BOUNDS.values())
    body = [
        (
            "shared level" if mechanism == "shared" else "each its own",
            f"{row['epsilon']:g}",
            words.count(row["canaries"]),
            words.count(row["guesses"]),
            *(words.percent(row[mechanism][name]) for name in BOUNDS),
        )
        for mechanism in ("shared", "independent")
        for row in _rows()
    ]
    return words.table(heads, body)


def claims() -> str:
    """What is above the truth too often."""
    own = _rows()
    whole = [r["shared"]["order_statistics"] for r in own if r["guesses"] == r["canaries"]]
    sound = max(
        r[m][name] for r in own for m in ("shared", "independent") for name in ("any", "pure")
    )
    exact = max(r["independent"]["independent"] for r in own)
    allowed = words.percent(1 - own[0]["confidence"], 0)
    low, high = (words.percent(rate, 0) for rate in (min(whole), max(whole)))
    return (
        f"Where all canaries are guessed and share their level, the order-statistics bound refutes "
        f"a promise that is kept in {low} to {high} of the runs; {allowed} are allowed. The two "
        f"default bounds do in at most {words.percent(sound, 1)}, whichever the noise. The exact "
        f"law of independent channels does in at most {words.percent(exact, 1)} where they are "
        "independent, and errs as the other does where they are not: name it only where each "
        "canary has noise of its own."
    )


def about() -> str:
    """The command."""
    row = _rows()[0]
    return f"δ = {row['delta']:g}; rates are computed, not drawn. {words.measured([row])}"


PARTS = {"table": table, "claims": claims, "about": about}
