"""What one model's losses say without any shadow model, held against what LiRA finds.

Of members: how many of the 1 % with the highest loss at the end of training, or with the widest
inter-quartile range of the loss along it (LT-IQR, arXiv 2411.05743), are those whom LiRA online
finds at an FPR of 0.1 %. Of models: the true-negative rate of a threshold on the loss that loses
(nearly) no member (The Tail Tells All, arXiv 2510.19773), beside LiRA's TPR. Members and their
losses are known to whoever trained the model; none of this is an attack.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.metrics import roc
from jaxmia.types import Array

SHARE = 0.01  # of the members, who are named
FPR = 1e-3
KEEPING = (1.0, 0.99)  # shares of the members below the threshold on the loss


def loss(phi: Float[Array, "..."]) -> Float[np.ndarray, "..."]:
    """Cross-entropy in nats from log-odds of the true class: `log(1 + exp(-phi))`."""
    return np.logaddexp(0, -np.asarray(phi, np.float64))


def iqr(trajectory: Float[Array, "M N E"]) -> Float[np.ndarray, "M N"]:
    """The inter-quartile range of the loss over the epochs whose phi is kept."""
    low, high = np.quantile(loss(trajectory), [0.25, 0.75], axis=-1)
    return high - low


def exposed(
    score: Float[np.ndarray, "M N"], member: Bool[np.ndarray, "M N"], fpr: float = FPR
) -> Bool[np.ndarray, "M N"]:
    """Members above the lowest threshold at which the pooled FPR is at most so high."""
    curve = roc(score, member)
    return member & (score >= curve.threshold[np.flatnonzero(curve.fpr <= fpr)[-1]])


def precision(
    indicator: Float[np.ndarray, "M N"],
    member: Bool[np.ndarray, "M N"],
    exposure: Bool[np.ndarray, "M N"],
    share: float = SHARE,
    seed: int = 0,
) -> float:
    """How many of a model's members with the highest indicator are exposed, over all models.

    Of each model so large a share of the members is named, one at least; ties are broken at random.
    """
    rng = np.random.default_rng(seed)
    hits = count = 0
    for value, inside, target in zip(indicator, member, exposure, strict=True):
        at = rng.permutation(np.flatnonzero(inside))
        most = at[np.argsort(-value[at], kind="stable")][: max(1, round(share * len(at)))]
        hits, count = hits + int(target[most].sum()), count + len(most)
    return hits / count


def true_negatives(
    loss: Float[np.ndarray, "M N"], member: Bool[np.ndarray, "M N"], keeping: float
) -> float:
    """The share of non-members whose loss is above that of so many members, mean over models."""
    rates = [
        (row[~inside] > np.quantile(row[inside], keeping)).mean()
        for row, inside in zip(loss, member, strict=True)
    ]
    return float(np.mean(rates))


def measured(
    phi: Float[np.ndarray, "M N"],
    trajectory: Float[np.ndarray, "M N E"] | None,
    score: Float[np.ndarray, "M N"],
    member: Bool[np.ndarray, "M N"],
) -> dict[str, Any]:
    """`precision` of each indicator, with that of naming at random, and `tnr` by share kept."""
    exposure = exposed(score, member)
    values = {"final_loss": loss(phi)}
    if trajectory is not None:
        values["loss_iqr"] = iqr(trajectory)
    ends = values["final_loss"]
    return {
        "precision": {k: round(precision(v, member, exposure), 6) for k, v in values.items()},
        "at_random": round(float(exposure[member].mean()), 6),
        "tnr": {f"{k:g}": round(true_negatives(ends, member, k), 6) for k in KEEPING},
    }
