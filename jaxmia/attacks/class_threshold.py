"""A threshold for each class, fitted on the shadow models (Song & Mittal 2021, section 3.3)."""

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks.attacker import BLACK, BOTH, CHANCE
from jaxmia.attacks.by_example import every_model, view0
from jaxmia.attacks.references import LeaveOut, left_out
from jaxmia.metrics import thresholds
from jaxmia.types import Array, Attack, Attacker, Signals


def scores(
    target: Float[np.ndarray, "T N"],
    reference: Float[np.ndarray, "M N"],
    member: Bool[np.ndarray, "M N"],
    y: Int[np.ndarray, " N"],
    leave_out: LeaveOut | None = None,
) -> Float[np.ndarray, "T N"]:
    """phi less the threshold of its class, the one with the greatest TPR - FPR on the references.

    With `leave_out` the targets are the references. NaN for a class of which the references have no
    member or no non-member.
    """
    leaving = np.full((1, 1), -1) if leave_out is None else leave_out.excluded
    out = np.full(target.shape, np.nan)
    finite = np.where(np.isfinite(reference), reference, np.nan).astype(np.float64)
    for label in np.unique(y):
        at = np.flatnonzero(y == label)
        beside = None
        if leave_out is not None and leave_out.kind == "opposite":
            beside = left_out(leave_out, member[:, at], 0, ~np.isnan(finite[:, at]))
        cut = thresholds.best(finite[:, at], member[:, at], leaving, beside)
        out[:, at] = target[:, at] - cut[:, None]
    return np.where(np.isfinite(target), out, np.nan)


def _on_target(
    target: Signals, reference: Signals, member: Bool[Array, "R N"]
) -> Float[np.ndarray, " N"]:
    phi = (view0(s.phi)[..., 0] for s in (target, reference))
    one, many = phi
    return scores(one[None], many, np.asarray(member, bool), np.asarray(reference.y))[0]


def _on_all(
    signals: Signals, member: Bool[Array, "M N"], leave_out: LeaveOut
) -> Float[np.ndarray, "M N"]:
    job = every_model(view0(signals.phi), member, leave_out)
    phi = job.target[..., 0]
    return scores(phi, phi, job.member, np.asarray(signals.y), leave_out)


CLASS_THRESHOLD = Attack(
    _on_target,
    _on_all,
    Attacker(BLACK, CHANCE, BOTH),
    needs=("phi", "y"),
    paper="Song & Mittal 2021",
)
