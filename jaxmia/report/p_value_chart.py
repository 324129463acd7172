"""The chart that says whether p-values keep what they promise: nominal rates against real ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxmia.report.chart import Axis, Chart, Line, Mark, Panel, decades, plain, tone

LOWEST = 1e-4  # real rate that the axis reaches down to
MOST = 3  # attacks that are drawn, the strongest


def p_value_chart(attacks: Mapping[str, Any], order: Sequence[str]) -> Chart | None:
    """The share of non-members with a p-value at most each nominal one, and its 95 % band.

    None where no attack has p-values; scores from disk have no band.
    """
    of_names = {n: attacks[n]["p_values"]["calibration"] for n in order if _of(attacks.get(n))}
    distinct: dict[str, Any] = {}
    for name, of in of_names.items():
        if of["real"] not in [other["real"] for other in distinct.values()]:
            distinct[name] = of
    if not distinct:
        return None
    nominal = Axis("nominal p-value", 1e-3, 1, True, decades(1e-3, 1))
    real = Axis("non-members with such a p-value", LOWEST, 1, True, decades(LOWEST, 1))
    ends = np.array([1e-3, 1])
    marks: list[Mark] = [Line("as promised", ends, ends, "soft", dash=2)]
    for name, of in reversed(list(distinct.items())[:MOST]):
        x, y = (np.asarray(of[k]) for k in ("nominal", "real"))
        outline = None
        if "low" in of:
            outline = np.append(x, x[::-1]), np.append(of["high"], of["low"][::-1])
        key = order.index(name)
        marks.append(Line(plain(name), x, y, tone(key), band=outline, key=key))
    return Chart(
        "p_values",
        "Whether p-values keep their promise",
        "The share of non-members whose p-value is at most the nominal one, with its 95 % band if "
        "there is one: on the diagonal p-values keep what they promise.",
        (Panel(nominal, real, tuple(marks), key="p_values"),),
    )


def _of(attack: Any) -> bool:
    return bool(attack and attack.get("p_values"))
