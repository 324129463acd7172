"""A release of ratings without names: who is found in it, who wrongly, and who is in it at all."""

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

SCORES = {"eccentricity": "how far it stands out", "fit": "how well it fits"}


def _rows(case: str) -> list[Row]:
    return [row for row in rows.read("ratings") if row["case"] == case]


def _dates(row: Row) -> str:
    return "unknown" if row["days"] is None else f"{row['days']} days"


def _wrong(row: Row) -> str:
    return f"{row['wrong']}, items too" if row["wrong_items"] else str(row["wrong"])


def _share(row: Row, name: str) -> str:
    return words.span(row[name]["share"], row[name]["interval"], 1)


def table() -> str:
    """A line for each setting: what the rule finds."""
    heads = (
        "known", "of them wrong", "dates within", "in it: found", "in it: taken for another",
        "not in it: found in it",
    )  # fmt: skip
    body = [
        (str(row["known"]), _wrong(row), _dates(row),
         *(_share(row, name) for name in ("found", "mistaken", "false")))
        for row in _rows("settings")
    ]  # fmt: skip
    return words.table(heads, body)


def membership() -> str:
    """A line for each setting without and with a quarter wrong: whether somebody is in at all."""
    heads = ("known", "of them wrong", "dates within", "the best record's score", "AUC",
             "TPR at 1 % FPR", "TPR at 0.1 % FPR")  # fmt: skip
    body = []
    for row in _rows("settings"):
        if row["wrong"] / row["known"] > 0.25:
            continue
        first = (str(row["known"]), _wrong(row), _dates(row))
        for name, label in SCORES.items():
            own = row["membership"][name]
            low, high = own["auc_interval"]
            rates = (words.span(own["tpr_at_fpr"][k], own["tpr_interval"][k], 1)
                     for k in ("0.01", "0.001"))  # fmt: skip
            body.append((*first, label, f"{own['auc']:.3f} [{low:.3f}, {high:.3f}]", *rates))
            first = ("", "", "")
    return words.table(heads, body)


def sizes() -> str:
    """The paper's setting in releases of several sizes."""
    heads = ("persons in the release", "in it: found", "not in it: found in it", "AUC",
             "TPR at 0.1 % FPR")  # fmt: skip
    body = []
    for row in [*_rows("size"), _anchor()]:
        own = row["membership"]["eccentricity"]
        rate = words.span(own["tpr_at_fpr"]["0.001"], own["tpr_interval"]["0.001"], 1)
        body.append((words.count(row["persons"]), _share(row, "found"), _share(row, "false"),
                     f"{own['auc']:.3f}", rate))  # fmt: skip
    return words.table(heads, body)


def _anchor() -> Row:
    """Eight ratings, two of them wrong, dates within 14 days."""
    anchor = (8, 2, 14, False)
    names = ("known", "wrong", "days", "wrong_items")
    return next(row for row in _rows("settings") if tuple(row[k] for k in names) == anchor)


def claims() -> str:
    """The paper's setting."""
    row = _anchor()
    own = row["membership"]["eccentricity"]
    low, high = own["auc_interval"]
    return (
        f"With 8 ratings known, of which 2 are wrong, and dates within 14 days, "
        f"{_share(row, 'found')} of the {words.count(row['inside'])} persons in the release are "
        f"found, and {_share(row, 'mistaken')} are taken for another; of "
        f"{words.count(row['outside'])} who are not in it, {_share(row, 'false')} are found in it. "
        f"Whether a person is in it at all is told with an AUC of {own['auc']:.3f} "
        f"[{low:.3f}, {high:.3f}]."
    )


def about() -> str:
    """What was released, and whom the figures are of."""
    row = _anchor()
    return (
        f"{words.count(row['persons'])} of {words.count(2 * row['persons'])} simulated persons are "
        f"released; {words.count(row['ratings'])} ratings of {words.count(row['items'])} items, "
        f"{row['median_ratings']:.0f} a person in the median. Left out as targets are "
        f"{words.count(row['too_few'])} persons with fewer ratings than the most that are known, "
        f"so that every line is of the same persons. Shares: 95 % Clopper–Pearson; AUC and TPR: "
        f"bootstrap over persons. {words.measured([row])}"
    )


PARTS = {
    "table": table, "membership": membership, "sizes": sizes, "claims": claims, "about": about,
}  # fmt: skip
