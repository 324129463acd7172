"""What lies in the models themselves, over all of a run's: sentences for whoever must decide."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxmia.estimators.structure import LEAST

FREEDOM = 10  # degrees of freedom that a linear model should leave (Ritchie et al. 2023)


def of_models(records: Sequence[Mapping[str, Any]], models: int) -> dict[str, Any]:
    """The median over models of every check that some model allows, and what is a risk.

    Each of `checks` has `value`, the number of `records` that a model had, whether it is a `risk`,
    and what it `states`. Empty where the records of blocks hold none.
    """
    rows = [v for r in records for m, v in r.get("structure", {}).items() if int(m) < models]
    if not rows:
        return {}
    median = {k: _median(rows, k) for k in sorted({k for row in rows for k in row})}
    many = median.pop("records")
    checks = {}
    for name, value in median.items():
        states, risk = _state(name, value, many)
        checks[name] = {"value": value, "records": many, "risk": risk, "states": states}
    return {"least": LEAST, "models": len(rows), "checks": checks}


def _median(rows: Sequence[Mapping[str, Any]], name: str) -> int:
    return int(np.median([row[name] for row in rows if name in row]))


def _state(name: str, value: int, many: int) -> tuple[str, bool]:
    share = f"{value:,} of {many:,} training records"
    if name == "stored" and not value:
        return "no training record was recognised in the model as it is", False
    if name == "stored":
        return f"{share} lie in the model as they are: who has its file has them", value > 0
    if name == "small_leaf":
        return f"{share} fall into a leaf with fewer than {LEAST} of them", value > 0
    if name == "smallest_leaf":
        return f"the smallest leaf has {value:,} training record{'s' * (value != 1)}", value < LEAST
    if name == "degrees_of_freedom":
        return f"{value:,} degrees of freedom are left ({FREEDOM} are asked for)", value < FREEDOM
    return f"{value:,} learnt numbers for {many:,} training records", value > many
