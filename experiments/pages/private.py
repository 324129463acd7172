"""DP-SGD's promise against audits: bounds from outside and inside, and mistakes that fall."""

import math

import numpy as np

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

NAMES = {
    "joint": "joint exact test", "profile": "profile inverted", "any": "any mechanism",
    "independent": "independent channels", "gaussian": "if Gaussian", "pure": "any mechanism",
}  # fmt: skip


def _rows(*parts: str) -> list[Row]:
    return [row for row in rows.read("audit_dp") if row["part"] in parts]


def _span(values: list[float | None]) -> str:
    """Median and ends of the repetitions' bounds."""
    numbers = [math.inf if v is None else v for v in values]
    if len(numbers) == 1:
        return _number(numbers[0])
    ends = ", ".join(_number(v) for v in (min(numbers), max(numbers)))
    return f"{_number(float(np.median(numbers)))} [{ends}]"


def _number(value: float) -> str:
    return "sides apart" if math.isinf(value) else f"{value:.2f}"


def _line(row: Row) -> tuple[str, ...]:
    ideal, joint = row["ideal"]["joint"], float(np.median(row["bounds"]["joint"]))
    before, *after = row["canary_probability"]
    return (
        _span(row["bounds"]["clopper_pearson"]), f"**{_span(row['bounds']['joint'])}**",
        _span(row["bounds"]["auc"]), _number(ideal),
        f"{row['epsilon'] - ideal:.2f}, {ideal - joint:.2f}".replace("-", "−"),
        f"{before:.3f} → {after[0]:.3f} / {after[1]:.3f}",
        " → ".join(f"{a:.3f}" for a in row["test_accuracy"]),
    )  # fmt: skip


HEADS = (
    "Clopper–Pearson", "joint exact test", "AUC (asymptotic)", "ideal attack, joint",
    "of the gap: statistics, attack", "p of the canary's label: start → out / in", "test accuracy",
)  # fmt: skip


def table() -> str:
    """A line for each promise and rate."""
    body = [(f"{r['epsilon']:g}", f"{r['rate']:g}", *_line(r)) for r in _rows("bound")]
    return words.table(("promised ε", "rate", *HEADS), body)


def networks() -> str:
    """Other networks and another canary."""
    own = _rows("networks")
    if not own:
        return "*Not measured by this version: `--parts networks`.*"
    body = [(r["network"], r["canary"], f"{r['epsilon']:g}", *_line(r)) for r in own]
    return words.table(("network", "canary", "promised ε", *HEADS), body)


def sampled() -> str:
    """Poisson batches, and one training with many canaries."""
    body = []
    for row in _rows("sampled"):
        promise = row["promise"]
        what = f"black box, Poisson batches (rate {promise['rate']:.3g}, {promise['steps']} steps)"
        body += [(what, NAMES[k], f"{row['epsilon']:g}", _span(row["bounds"][k]))
                 for k in ("profile", "any")]  # fmt: skip
    for row in _rows("one_run"):
        what = f"white box, one run, {row['canaries']} canaries, {row['guesses']} guesses"
        body += [(what, NAMES[k], f"{row['epsilon']:g}", _span(row["bounds"][k]))
                 for k in ("independent", "gaussian", "pure")]  # fmt: skip
    return words.table(("what is looked at", "bound", "promised ε", "lower bound"), body)


def mistakes() -> str:
    """A line for each mistake and way to look at it."""
    body = []
    for row in _rows("mistakes"):
        name = next(k for k in ("joint", "profile") if k in row["bounds"])
        own = row["bounds"][name]
        refuted = "**refuted**" if row["refuted"] else "not refuted"
        what = "the right one" if row["mistake"] == "none" else row["mistake"]
        body.append((what, row["access"], row["view"], _span(own), refuted))
    heads = ("what is trained", "seen from", "canary or view", "lower bound", "ε = 4 is")
    return words.table(heads, body)


def claims() -> str:
    """How near the bounds come, whether any is too high, and what falls."""
    audits = [(r["bounds"], r["promise"]["epsilon"]) for r in _rows("bound", "networks")]
    above = {
        name: sum(
            v is not None and v > promised for bounds, promised in audits for v in bounds[name]
        )
        for name in ("clopper_pearson", "joint", "auc")
    }
    count = sum(len(bounds["joint"]) for bounds, _ in audits)
    small = min(r["rate"] for r in _rows("bound"))
    near = ", ".join(
        f"{np.median(r['bounds']['joint']):.2f} of {r['epsilon']:g}"
        for r in _rows("bound")
        if r["rate"] == small
    )
    wrong = {r["mistake"] for r in _rows("mistakes")} - {"none"}
    outside, inside = (_caught(access) & wrong for access in ("black box", "white box"))
    return "\n".join((
        f"- At rate {small:g} the joint exact test shows {near} (medians).",
        f"- Of {count} audits of the right implementation {above['clopper_pearson']} exceed the "
        f"promise by Clopper–Pearson, {above['joint']} by the joint test and {above['auc']} by the "
        f"AUC's asymptotic bound; 5 % may.",
        f"- Of {len(wrong)} wrong implementations {len(outside | inside)} are refuted. "
        f"From outside fall: {', '.join(sorted(outside))}. From inside alone: "
        f"{', '.join(sorted(inside - outside))}.",
    ))  # fmt: skip


def _caught(access: str) -> set[str]:
    """The mistakes that some audit with this access refutes."""
    return {r["mistake"] for r in _rows("mistakes") if r["access"] == access and r["refuted"]}


def about() -> str:
    """How much the tables rest on, and what it costs."""
    row = rows.read("audit_dp")[0]
    seconds = max(r["cpu_seconds"] for r in _rows("bound"))
    return (
        f"{len(row['bounds']['joint'])} audits a line, median [least, most], of other networks and "
        f"of mistakes one; each of {row['runs']} runs of {row['steps']} steps with "
        f"{row['others']} records beside the canary, δ = {row['delta']:g}; every bound 95 %. "
        f"{seconds:.0f} seconds of a core a line. {words.measured([row])}"
    )


PARTS = {
    "table": table, "networks": networks, "sampled": sampled, "mistakes": mistakes,
    "claims": claims, "about": about,
}  # fmt: skip
