"""Label-only LiRA: how often models with and without the example predict it rightly.

The predicted label is all there is to see; whether it is right is a coin, whose bias is counted on
the references of each side (LiRA of Carlini et al. 2022 with Bernoulli laws for Gaussians):

    score = log p_in(c) - log p_out(c),    p(right) = (right + 1/2) / (n + 1)

with c what the target says and Jeffreys' prior, so that no law is sure. A defence that leaves the
labels alone does not change it.
"""

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.attacks.attacker import BLACK, BOTH, LABEL
from jaxmia.attacks.by_example import Chunk, every_model, one_target, view0
from jaxmia.attacks.gaussians import side
from jaxmia.attacks.references import LeaveOut
from jaxmia.types import Array, Attack, Attacker, Signals


def log_ratio(chunk: Chunk) -> Float[np.ndarray, "T n"]:
    """The score of targets `[T, n, 1]` that are 1 where right, else 0; NaN without a reference."""
    right = chunk.target[..., 0] > 0
    inside = _log_chance(chunk, chunk.inside, right)
    return inside - _log_chance(chunk, chunk.outside, right)


def _log_chance(
    chunk: Chunk, weight: Bool[np.ndarray, "M n"], right: Bool[np.ndarray, "T n"]
) -> Float[np.ndarray, "T n"]:
    """The log-probability of what each target says, under one side's references."""
    fit = side(chunk.reference, weight, chunk.leaving, "mean")
    n = fit.n[..., 0]
    count = np.rint(fit.centre[..., 0] * n)  # whole, or the last bit tells who has left
    return np.log((np.where(right, count, n - count) + 0.5) / (n + 1))


def _right(signals: Signals) -> Float[np.ndarray, "*M N 1"]:
    """1 where the prediction is right, else 0; NaN where it is not known."""
    margin = view0(signals.margin).astype(np.float32)
    return np.where(np.isnan(margin), np.nan, margin > 0)


def on_target(
    target: Signals, reference: Signals, member: Bool[Array, "R N"]
) -> Float[np.ndarray, " N"]:
    """A target's scores, by references that are other models."""
    return one_target(_right(target), _right(reference), member).scores(log_ratio)[0]


def on_all(
    signals: Signals, member: Bool[Array, "M N"], leave_out: LeaveOut
) -> Float[np.ndarray, "M N"]:
    """The scores of every model, by the others."""
    return every_model(_right(signals), member, leave_out).scores(log_ratio)


LABEL_ONLY_LIRA = Attack(
    on_target,
    on_all,
    Attacker(BLACK, LABEL, BOTH),
    needs=("margin",),
    log_ratio=True,
    paper="cf. Carlini et al. 2022",
)
