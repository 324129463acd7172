"""One threshold for all examples: the attacks that need no shadow models."""

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.attacks.attacker import BLACK, CHANCE, LABEL, POPULATION, RECORD
from jaxmia.attacks.by_example import Panels
from jaxmia.attacks.references import LeaveOut
from jaxmia.types import Array, Attack, Attacker, Signals


def global_threshold(target: Signals) -> Float[np.ndarray, "*T N"]:
    """`phi` of the example itself; the order is that of the negative loss.

    Yeom et al. 2018, section III; NaN where the model's own signal is.
    """
    return np.asarray(target.phi, np.float64)[..., 0]


def correctness(target: Signals) -> Float[np.ndarray, "*T N"]:
    """1 where the prediction is right, else 0: the gap attack.

    Its advantage is training minus test accuracy (Yeom et al. 2018, section III-B).
    """
    margin = np.asarray(target.margin, np.float64)[..., 0]
    return np.where(np.isnan(margin), np.nan, margin > 0)


def label_only(target: Signals) -> Float[np.ndarray, "*T N"]:
    """The share of changed copies (shifted, noised) of an example that keep its label.

    Choquette-Choo et al. 2021, section 3: the attacker sees predicted labels alone. With few copies
    many examples tie.
    """
    return np.asarray(target.robustness, np.float64)


def quantile_regression(target: Signals) -> Float[np.ndarray, "*T N"]:
    """How many scales phi lies above what a regression on unseen examples expects of it.

    Bertran et al. 2023, section 3, with a Gaussian head: the order is that of the quantile.
    """
    mean, scale = np.moveaxis(np.asarray(target.expected, np.float64), -1, 0)
    return (global_threshold(target) - mean) / scale


def _alone(score) -> dict:
    """The two uses of an attack on the target alone."""

    def on_target(target: Signals, reference: Signals, member: Bool[Array, "R N"]):
        return score(target)

    def leave_one_out(signals: Signals, member: Bool[Array, "M N"], leave_out: LeaveOut):
        return score(signals)

    return {"score": on_target, "leave_one_out": leave_one_out}


GLOBAL_THRESHOLD = Attack(
    **_alone(global_threshold),
    attacker=Attacker(BLACK, CHANCE, RECORD),
    paper="Yeom et al. 2018",
    panels=Panels(lambda job: [], lambda job, totals: global_threshold(Signals(job.target))),
)
CORRECTNESS = Attack(
    **_alone(correctness),
    attacker=Attacker(BLACK, LABEL, RECORD),
    needs=("margin",),
    paper="Yeom et al. 2018",
    panels=Panels(
        lambda job: [],
        lambda job, totals: correctness(Signals(job.target, margin=job.target)),
        signal="margin",
    ),
)
LABEL_ONLY = Attack(
    **_alone(label_only),
    attacker=Attacker(BLACK, f"{LABEL} of changed copies of the record", RECORD),
    needs=("robustness",),
    paper="Choquette-Choo et al. 2021",
)
QUANTILE_REGRESSION = Attack(
    **_alone(quantile_regression),
    attacker=Attacker(BLACK, CHANCE, f"{RECORD}{POPULATION}"),
    needs=("phi", "expected"),
    paper="Bertran et al. 2023",
)
