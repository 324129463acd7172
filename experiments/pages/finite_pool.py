"""What knowing the pool is worth, and the correction for an attacker who does not."""

from experiments import rows
from experiments.pages import attacks, words
from experiments.pages.words import Row


def _rows() -> list[Row]:
    """The last rows of each part: the study appends."""
    own = rows.read("finite_pool")
    last = {(r["part"], r.get("noise")): r for r in own}
    return list(last.values())


def _title(row: Row) -> str:
    return row["part"].replace("_", " ") + (f", noise {row['noise']:g}" if "noise" in row else "")


def table() -> str:
    """A line for each part and case: with fresh data, of a pool, and corrected."""
    heads = ("part", "share of the data, IN and OUT", "case", "AUC", "TPR at 1 % FPR", "at 0.1 %")
    body = []
    for row in _rows():
        share = f"{row['f_in']:.2f}, {row['f_out']:.2f}"
        cases = row.get("cases") or {
            f"{attacks.short(name)}, {case}": row[case][name]
            for name in row["pool"]
            for case in ("pool", "corrected")
        }
        for i, (case, of) in enumerate(cases.items()):
            rates = (words.percent(of["tpr_at_fpr"][k]) for k in ("0.01", "0.001"))
            first = (_title(row), share) if i == 0 else ("", "")
            body.append((*first, case, f"{of['auc']:.3f}", *rates))
    return words.table(heads, body)


def about() -> str:
    """The command of each part."""
    return "\n".join(f"- {_title(row)}: {words.measured([row])}" for row in _rows())


PARTS = {"table": table, "about": about}
