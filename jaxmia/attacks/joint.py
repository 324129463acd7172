"""LiRA on several signals at once: phi, and the log-norm of every layer's gradient.

The signals of one example depend on each other, so their log-ratios cannot be added as they are.
Of the residuals about each example's own IN and OUT means the pooled covariances are taken, S_in
and S_out, and the generalised eigenvectors of the two, after which both are diagonal:

    W' S_out W = 1,    W' S_in W = diag(s)

In these directions the joint log-ratio of two Gaussians is the sum of the single ones, each fitted
per example as LiRA does. When every model is attacked in turn, W comes from other folds of models
than the target's. It takes the form of Carlini et al. 2022, section VI-C (queries), with the
dependence between queries; phi enters as it is, a layer's log-norm as that of phi's own gradient.
"""

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.attacks import lira
from jaxmia.attacks.attacker import BOTH, PARAMETERS, WHITE
from jaxmia.attacks.gradient_norm import by_layer
from jaxmia.attacks.networks import as_one, folds
from jaxmia.attacks.references import LeaveOut
from jaxmia.types import Array, Attack, Attacker, Signals

ONLINE = lira.attack("online")
RIDGE = 1e-6  # of a signal's variance, added to both covariances


def stacked(signals: Signals) -> Float[np.ndarray, "M N D"]:
    """phi of view 0, and log ||grad phi|| of each layer: the loss's less log sigma(-phi)."""
    phi = np.asarray(signals.phi, np.float64)[..., :1]
    with np.errstate(invalid="ignore"):  # a diverged model's
        return np.concatenate([phi, -by_layer(signals) + np.logaddexp(0, phi)], axis=-1)


def directions(
    x: Float[np.ndarray, "R N D"], member: Bool[np.ndarray, "R N"]
) -> Float[np.ndarray, "D D"]:
    """W, its columns the directions in which both sides' residuals are uncorrelated.

    What a model does not say all of about an example is left out.
    """
    from scipy.linalg import eigh

    finite = np.asarray(np.isfinite(x).all(-1))
    x = x if finite.all() else np.where(finite[..., None], x, 0.0)
    sides = [_covariance(x, side & finite) for side in (member, ~member)]
    variance = np.diag(sides[0] + sides[1])  # of each signal; 0 with one reference a side
    scale = np.sqrt(np.where(variance > 1e-30, variance, 1.0))
    inside, outside = (s / np.outer(scale, scale) + RIDGE * np.eye(len(s)) for s in sides)
    return eigh(inside, outside)[1] / scale[:, None]


def _covariance(x: np.ndarray, weight: np.ndarray) -> Float[np.ndarray, "D D"]:
    """Of the residuals about each example's mean, pooled over the examples."""
    w = weight[..., None].astype(np.float64)
    n = w.sum(0)
    r = (x - (w * x).sum(0)[None] / np.maximum(n, 1)[None]) * w
    flat = r.reshape(-1, x.shape[-1])
    return flat.T @ flat / max(1.0, float(np.maximum(n - 1, 0).sum()))


def _on_target(target: Signals, reference: Signals, member: Bool[Array, "R N"]):
    x, own = stacked(reference), stacked(as_one(target, reference))[0]
    w = directions(x, np.asarray(member, bool))
    return x.shape[-1] * lira.online(own @ w, x @ w, member)


def _on_all(signals: Signals, member: Bool[Array, "M N"], leave_out: LeaveOut):
    x, member = stacked(signals), np.asarray(member, bool)
    finite, fold = np.isfinite(x).all(-1).any(1), folds(leave_out)
    out = np.full(member.shape, np.nan)
    for number in range(fold.max() + 1):
        others = (fold != number) & finite
        if others.any():
            turned = x @ directions(x[others], member[others])
            score = ONLINE.leave_one_out(Signals(turned), member, leave_out)
            out[fold == number] = x.shape[-1] * score[fold == number]
    return out


JOINT_LIRA = Attack(
    _on_target,
    _on_all,
    Attacker(WHITE, PARAMETERS, BOTH),
    needs=("phi", "gradient"),
    log_ratio=True,
    paper="Carlini et al. 2022; Nasr et al. 2019",
)
