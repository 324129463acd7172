"""DP-SGD's promise against audits with canaries."""

import numpy as np

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row


def _rows() -> list[Row]:
    return rows.read("audit_dp")


def table() -> str:
    """A line for each promise."""
    heads = (
        "promised ε", "noise", "test accuracy", "AUC of canaries", "TPR at 1 % FPR",
        "one run: median lower bound (95 % quantile)", "models above the promise",
        "many runs: lower bound, of at most",
    )  # fmt: skip
    body = []
    for row in _rows():
        promise, one, many = row["promise"], np.array(row["one_run"]["pure"]), row["many_runs"]
        limit = promise["epsilon"] if promise else np.inf
        low, high = row["auc_interval"]
        body.append((
            f"{limit:.2f}" if promise else "none",
            f"{promise['noise_multiplier']:.2f}" if promise else "0",
            f"{row['test_accuracy']:.3f}",
            f"{row['auc']:.3f} [{low:.3f}, {high:.3f}]",
            words.percent(row["tpr_at_fpr"]["0.01"]),
            f"{np.median(one):.2f} ({np.quantile(one, 0.95):.2f})",
            f"{int((one > limit).sum())} of {len(one)}" if promise else "–",
            f"{many['epsilon']:.2f} of {many['most']:.2f}",
        ))  # fmt: skip
    return words.table(heads, body)


def claims() -> str:
    """What was shown, and how much could have been."""
    own = _rows()
    private = [r for r in own if r["promise"]]
    plain = next(r for r in own if not r["promise"])
    most = max(float(np.median(r["one_run"]["pure"])) for r in private)
    ceiling = max(r["many_runs"]["most"] for r in private)
    promised = " and ".join(f"{r['promise']['epsilon']:.3g}" for r in private)
    return (
        f"Promised ε of {promised}: the median lower bound of one run is at most {most:.2f}; "
        f"without "
        f"privacy it is {np.median(plain['one_run']['pure']):.2f}. One canary in "
        f"{plain['many_runs']['trials']} runs could show {ceiling:.2f} at most, whatever the "
        f"truth. "
        "Black-box audits of so few digits refute no promise, and do not say that it is tight."
    )


def about() -> str:
    """How much the table rests on."""
    row = _rows()[0]
    return (
        f"{row['models']} models of each ε, {row['canaries']} canaries, δ = {row['delta']:g}, "
        f"{row['guesses']} guesses of each side; every bound 95 %. {words.measured([row])}"
    )


PARTS = {"table": table, "claims": claims, "about": about}
