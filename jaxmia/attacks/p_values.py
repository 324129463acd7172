"""P-values of membership: by them every example has a false-positive rate of its own.

phi of a model that was not trained on an example is drawn from the example's OUT law, the Student-t
that the references predict; z = (phi - mu_out) / s_out. How often would such a model look as much
like a member as the target does?

    upper    1 - F(z)                                 LiRA offline's score is -log of this
    ratio    P(l(z') >= l(z)),    l(z) = z^2 - (z - d)^2 / r^2

with d = (mu_in - mu_out) / s_out and r = s_in / s_out: l is twice the log-ratio of two Gaussians,
but for a constant. It is a parabola about d / (1 - r^2), so that a phi and its mirror image are as
telling: what lies between them (r < 1) or beyond them (r > 1) is as much a member's or more.

Whoever calls those members whose p-value is at most a, is wrong of *every* example about as often
as a, where a threshold on scores is so on an average over examples. Standardising the ratios
themselves would not do, they are no Gaussian. Of several views the mean phi is taken. (Carlini et
al. 2022, section VI-A, offline; the Student-t as in Smyth 2004.)
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr

from jaxmia.attacks.by_example import Inputs
from jaxmia.attacks.lira import ENOUGH, prediction_totals, predictions
from jaxmia.attacks.student import StudentT

KINDS = ("upper", "ratio")
ROUNDING = 1e-5  # of a scale, below which a difference of constant signals may be rounding's
LEAST = ENOUGH  # references from which on LiRA's laws are Student-t's


def references(job: Inputs) -> int:
    """How many there are of each target, IN and OUT together."""
    return len(job.reference) - (0 if job.leave_out is None else job.leave_out.fewer)


def p_values(job: Inputs, kind: str) -> Float[np.ndarray, "T N"]:
    """Those of all targets and examples; NaN where a reference or the target's phi is missing."""
    return np.concatenate(by_chunk(job, (kind,), lambda at, p: p[kind]), axis=1)


def totals(job: Inputs, kinds: Sequence[str]) -> list[np.ndarray]:
    """What all examples have to say in each one's laws; that of several panels adds up."""
    return prediction_totals(_one_view(job), _mode(kinds))


def by_chunk(
    job: Inputs,
    kinds: Sequence[str],
    work: Callable[[slice, dict[str, Float[np.ndarray, "T n"]]], Any],
    of_all: list[np.ndarray] | None = None,
) -> list[Any]:
    """`work(at, p_values by kind)` of every chunk of examples, in their order.

    `of_all` are the `totals` of all examples, if these are a panel. Raises `ValueError` for a kind
    that is none.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r} is not one of {KINDS}")
    one = _one_view(job)
    laws = predictions(one, _mode(kinds), of_all)

    def of(at: slice) -> Any:
        phi, of_sides = laws(at)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return work(at, _values(phi[..., 0], of_sides, kinds))

    return one.map(of)


def _mode(kinds: Sequence[str]) -> str:
    """LiRA's, whose laws these p-values are of."""
    return "online" if "ratio" in kinds else "offline"


def _one_view(job: Inputs) -> Inputs:
    """The mean phi over the views, where there are several."""
    if job.reference.shape[-1] == 1:
        return job
    reference = job.reference.mean(-1, keepdims=True, dtype=np.float64)
    same = job.target is job.reference
    target = reference if same else job.target.mean(-1, keepdims=True, dtype=np.float64)
    return job._replace(target=target, reference=reference)


def _values(
    phi: Float[np.ndarray, "T n"], laws: dict[str, StudentT], kinds: Sequence[str]
) -> dict[str, Float[np.ndarray, "T n"]]:
    out = {}
    centre, scale, nu = (a[..., 0] for a in laws["out"])
    z = (phi - centre) / scale
    far = stdtr(nu, -np.abs(z))  # what lies beyond z, on its side of the centre
    if "upper" in kinds:
        out["upper"] = np.where(z > 0, far, 1 - far)
    if "ratio" in kinds:
        inside, width = (a[..., 0] for a in laws["in"][:2])
        d, narrow = (inside - centre) / scale, 1 - (width / scale) ** 2
        out["ratio"] = _of_ratio(z, far, nu, d, narrow)
    return out


def _of_ratio(
    z: np.ndarray, far: np.ndarray, nu: np.ndarray, d: np.ndarray, narrow: np.ndarray
) -> Float[np.ndarray, "T n"]:
    """`narrow` is 1 - r^2. With two like scales one end lies at infinity, on the side of d."""
    mirror = 2 * d / narrow - z
    far_mirror = stdtr(nu, -np.abs(mirror))
    one_side = np.signbit(z) == np.signbit(mirror)
    between = np.where(one_side, np.abs(far - far_mirror), 1 - far - far_mirror)
    beyond = np.where(one_side, 1 - between, far + far_mirror)
    value = np.where(narrow < 0, beyond, between)
    same = np.maximum(np.abs(z), np.abs(d)) < ROUNDING  # constant signals: nothing tells
    return np.where(same, 1.0, value)
