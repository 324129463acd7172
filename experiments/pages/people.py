"""People, not rows: synthetic persons, and the figures of their records and of themselves."""

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row


def _rows() -> tuple[list[Row], Row]:
    own = rows.read("people")
    return own[:-1], own[-1]


def table() -> str:
    """A line for each way of drawing and attacking."""
    heads = ("", "n", "AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR")
    cases, _ = _rows()
    body = [
        (r["case"], words.count(r["n"]), f"{r['auc']:.3f}",
         *(words.span(r["tpr_at_fpr"][k], r["tpr_interval"][k]) for k in ("0.01", "0.001")))
        for r in cases
    ]  # fmt: skip
    return words.table(heads, body)


def claims() -> str:
    """False alarms beside siblings, and posteriors of persons."""
    _, also = _rows()
    alarms = {k: words.percent(v) for k, v in also["false_alarms"].items()}
    error = also["calibration_error"]
    return "\n".join((
        f"- Drawn by rows, a record that is out looks like a member by its siblings: false "
        f"alarms are "
        f"{alarms['no sibling inside']} without a sibling inside, {alarms['all']} where all are.",
        f"- A sum of a person's log-ratios is no posterior: its calibration error is "
        f"{error['sum, as if independent']:.3f}; fitted on other models (ρ {also['rho']:.2f}) "
        f"it is "
        f"{error['calibrated']:.3f}.",
    ))  # fmt: skip


def about() -> str:
    """How much the table rests on."""
    row = _rows()[1]
    return (
        f"{row['models']} models of each design, {row['persons']} synthetic persons with "
        f"{words.count(row['records'])} records. {words.measured([row])}"
    )


PARTS = {"table": table, "claims": claims, "about": about}
