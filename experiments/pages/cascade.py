"""The cascading attack against LiRA with as many shadow models, and what its anchors are."""

import numpy as np

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

HEADS = ("", "records", "shadow models", "AUC", "more than LiRA", "TPR at 1 % FPR",
         "TPR at 0.1 % FPR", "more, points")  # fmt: skip
CASES = {"attack": "CMIA", "baseline": "LiRA", "round 1": "LiRA, round 1 alone"}
RECORDS = {"all": "all", "no anchors": "without anchors"}
MISSING = "*Not measured by this version.*"


def _of(part: str) -> list[Row]:
    return [row for row in rows.read("cascade") if row["part"] == part]


def _table(lines: list[Row], names: dict[str, str]) -> str:
    body = []
    for row in lines:
        gain = row.get("more")
        apart = "{:+.4f} [{:+.4f}, {:+.4f}]".format(
            gain["auc"]["value"], *gain["auc"]["interval"]
        ) if gain else ""  # fmt: skip
        points = gain["tpr"]["0.001"] if gain else None
        rates = [words.span(row["tpr"][k]["value"], row["tpr"][k]["interval"])
                 for k in ("0.01", "0.001")]  # fmt: skip
        low, high = row["auc_interval"]
        body.append((
            names[row["case"]], RECORDS[row["records"]], _models(row["models"]),
            f"{row['auc']:.3f} [{low:.3f}, {high:.3f}]", apart.replace("-", "−"), *rates,
            words.points(points["value"], points["interval"]) if points else "",
        ))  # fmt: skip
    return words.table(HEADS, body) if body else MISSING


def _models(models: list[int]) -> str:
    """Of all targets, whose cascades may end early."""
    least, most = min(models), max(models)
    return f"{most}" if least == most else f"{least} to {most}"


def table() -> str:
    """CMIA and LiRA, on all records and without those that became anchors."""
    return _table([row for row in _of("cascade") if "auc" in row], CASES)


def targets() -> str:
    """Whether each target alone is found better."""
    out = []
    for records in RECORDS:
        pair = {r["case"]: r for r in _of("cascade") if r.get("records") == records}
        apart = np.subtract(*(pair[k]["auc_of_targets"] for k in ("attack", "baseline")))
        spread = apart.std(ddof=1) if len(apart) > 1 else 0.0
        out.append(
            f"{RECORDS[records]}: AUC {apart.mean():+.4f} ± {spread:.4f} (mean and s.d. over "
            f"targets), higher in {int((apart > 0).sum())} of {len(apart)}"
        )
    return "; ".join(out).replace("-", "−") + "."


def anchors() -> str:
    """What became an anchor after each round, and how much of it wrongly."""
    every = [t for row in _of("cascade") if row["case"] == "anchors" for t in row["by_target"]]
    lines = []
    for number in range(max(map(len, every), default=0)):
        new = [rounds[number] for rounds in every if len(rounds) > number]
        count = [one["out"] + one["in"] for one in new]
        wrong = [one["wrong"] for one in new]
        lines.append((
            f"{number + 1}", f"{len(new)}", f"{np.mean(count):.1f} ({min(count)} to {max(count)})",
            f"{sum(one['in'] for one in new)}",
            f"{np.mean(wrong):.1f} ({min(wrong)} to {max(wrong)})",
        ))  # fmt: skip
    heads = ("after round", "targets", "new anchors a target", "of them members, in all", "wrong")
    return words.table(heads, lines) if lines else MISSING


def sets() -> str:
    """What other shadow models would have changed."""
    (row,) = (r for r in _of("cascade") if r["case"] == "round 1")
    aucs = [f"{auc:.3f}" for auc in row["auc_of_sets"]]
    return f"each {max(row['models'])} of the ordinary ones alone: an AUC of {', '.join(aucs)}"


def truth() -> str:
    """CMIA around its own anchors as they truly are."""
    lines = [row for row in _of("truth") if "auc" in row]
    return _table(lines, CASES | {"attack": "CMIA, its anchors put right"})


def errors() -> str:
    """What putting the anchors right adds to the cascade."""
    out = []
    for row in _of("truth"):
        if row["case"] == "attack":
            auc, tpr = row["more_than_cascade"]["auc"], row["more_than_cascade"]["tpr"]["0.001"]
            low, high = auc["interval"]
            out.append(
                f"{RECORDS[row['records']]}: AUC {auc['value']:+.4f} [{low:+.4f}, {high:+.4f}], "
                f"{words.points(tpr['value'], tpr['interval'])} points at 0.1 % FPR"
            )
    return "; ".join(out).replace("-", "−") if out else MISSING


def errors_verdict() -> str:
    """Whether errors are what holds the cascade back."""
    (row,) = (r for r in _of("truth") if r["case"] == "attack" and r["records"] == "all")
    low, high = row["more_than_cascade"]["auc"]["interval"]
    if low > 0:
        return "Its errors cost the cascade AUC."
    if high < 0:
        return "Its errors cost the cascade no AUC: with them it finds more."
    return (
        "That errors cost the cascade any AUC is not established: by the interval it would have "
        f"at most {high:.4f} more without them."
    )


def oracle() -> str:
    """Some of the membership known: the other records."""
    lines = [row for row in _of("oracle") if "auc" in row]
    tables = []
    for share in dict.fromkeys(row["share"] for row in lines):
        names = CASES | {"attack": f"{words.percent(share, 0)} of the membership known"}
        tables.append(_table([row for row in lines if row["share"] == share], names))
    return "\n\n".join(tables) if tables else MISSING


def oracle_verdict() -> str:
    """For which shares an AUC above LiRA's is established, and how large it is at best."""
    gain = {r["share"]: r["more"]["auc"] for r in _of("oracle") if r["case"] == "attack"}
    sure = [share for share, of in gain.items() if of["interval"][0] > 0]
    most = max(gain, key=lambda share: gain[share]["value"])
    rest = [words.percent(share, 0) for share in gain if share not in sure]
    said = [f"Knowing {' or '.join(words.percent(share, 0) for share in sure)} gives a higher AUC"]
    none = [f"that {' or '.join(rest)} helps is not established"]
    best = f"the most is {gain[most]['value']:+.3f}, by {words.percent(most, 0)}"
    return "; ".join([*said * bool(sure), *none * bool(rest), best]) + "."


def cost() -> str:
    """How many models each kind of attack needs, and how long they took."""
    (row,) = (r for r in _of("cascade") if r["case"] == "cost")
    shared, own, targets = row["shared"], row["own"], row["targets"]
    (round_1,) = (r for r in _of("cascade") if r["case"] == "round 1")
    first = max(round_1["models"])
    both = first + own["models"]
    return (
        f"LiRA: {words.count(shared['models'])} models for all {targets} targets, "
        f"{words.number(shared['seconds'])} s. CMIA: {first} for all, and "
        f"{words.number(own['models'] / targets)} for each target, {words.count(both)} in all, "
        f"{both / shared['models']:.1f} times LiRA's: {words.number(own['seconds'])} s for those "
        f"of the targets alone, {words.number(own['seconds'] / targets)} s a target. For one "
        f"target alone it is {words.number(first + own['models'] / targets)} models against "
        f"LiRA's {shared['models']}. {words.TIMES}"
    )


def verdict() -> str:
    """What of the difference is established, and what is not."""
    (more,) = (r["more"] for r in _of("cascade") if r["case"] == "attack" and r["records"] == "all")
    ends = {"the AUC": more["auc"]} | {
        f"the TPR at {words.percent(float(k), 0 if k == '0.01' else 1)} FPR": of
        for k, of in more["tpr"].items()
    }
    sure = [name for name, of in ends.items() if words.excludes_zero(of["interval"])]
    rest = [name for name in ends if name not in sure]
    said = [f"established for {' and '.join(sure)}"] * bool(sure)
    return ", ".join([*said, *[f"not established for {' and '.join(rest)}"] * bool(rest)])


def about() -> str:
    """Numbers, command and machine."""
    row = _of("cascade")[0]
    alone = max(row["models"]) * (row["rounds"] - 1) // row["rounds"]
    return (
        f"{row['targets']} targets, {words.count(row['examples'])} records, "
        f"{words.count(row['targets'] * row['examples'])} scores; {row['rounds']} rounds, of which "
        f"each target has {alone} shadow models trained for it alone; LiRA's serve all targets. "
        + words.measured([r for part in ("cascade", "truth", "oracle") for r in _of(part)])
    )


PARTS = {
    "table": table, "targets": targets, "sets": sets, "anchors": anchors, "oracle": oracle,
    "about": about, "verdict": verdict, "truth": truth, "errors": errors, "cost": cost,
    "errors_verdict": errors_verdict, "oracle_verdict": oracle_verdict,
}  # fmt: skip
