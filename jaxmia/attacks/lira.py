"""The likelihood-ratio attack (LiRA), Carlini et al. 2022: Gaussians of phi, IN against OUT.

    online    mean_q [ log N(phi_q; mu_in, s_in) - log N(phi_q; mu_out, s_out) ]
    offline   mean_q [ -log(1 - Phi((phi_q - mu_out) / s_out)) ]                       (their Eq. 4)

Scores are float64, higher means member, NaN marks an example with too few references.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks.attacker import BLACK, BOTH, CHANCE, OUT
from jaxmia.attacks.by_example import Inputs, Panels, arrays, every_model, one_target
from jaxmia.attacks.calibration import Calibration, fit_calibration, posterior
from jaxmia.attacks.gaussians import CENTRES, GaussianFit, side
from jaxmia.attacks.official import official
from jaxmia.attacks.references import LeaveOut, leave_out
from jaxmia.attacks.student import (
    Prior,
    StudentT,
    least_variance,
    log_variance,
    predictive,
    prior,
    tail,
    upper_tail,
)
from jaxmia.types import Array, Attack, Attacker, Signals

__all__ = [
    "Calibration",
    "attack",
    "fit_calibration",
    "leave_one_out",
    "offline",
    "online",
    "posterior",
    "upper_tail",
]

MODES = ("online", "offline")
VARIANCES = ("auto", "per_example", "global", "student_t")
CONVENTIONS = ("paper", "official")
ENOUGH = 6  # references from which on "auto" takes the Student-t, which was best at every number
OFFICIAL = 64  # references from which on the official convention gives each example its variance


def online(
    target: Float[Array, "N *Q"],
    reference: Float[Array, "R N *Q"],
    member: Bool[Array, "R N"],
    variance: str = "auto",
    centre: str = "mean",
    convention: str = "paper",
) -> Float[np.ndarray, " N"]:
    """The log-likelihood ratio of IN over OUT; `member` is the references' membership.

    `variance`: "per_example", "global" (one s_in and one s_out, of the residuals about each
    example's own centre), "student_t" (the predictive of a normal with an empirical-Bayes prior on
    its variance), or "auto": that one from 6 references on, else global. Where no example has two
    references of a side, its spread is the other side's, or 1. Raises `ValueError` for options or
    shapes that do not fit.
    """
    return _of_target(target, reference, member, "online", variance, centre, convention)


def offline(
    target: Float[Array, "N *Q"],
    reference: Float[Array, "R N *Q"],
    member: Bool[Array, "R N"],
    variance: str = "auto",
    centre: str = "mean",
    convention: str = "paper",
) -> Float[np.ndarray, " N"]:
    """How far the target lies above the OUT references, one-sided: `-log(1 - Phi(z))`.

    Where that underflows (z below -37) it goes on as `z + 37`, so that nothing ties. Options as for
    `online`; "official" is two-sided, `-log N(phi; mu_out, s_out)`.
    """
    return _of_target(target, reference, member, "offline", variance, centre, convention)


def leave_one_out(
    phi: Float[Array, "M N *Q"],
    member: Bool[Array, "M N"],
    mode: str = "online",
    balance: str = "auto",
    variance: str = "auto",
    centre: str = "mean",
    convention: str = "paper",
    pairs: Int[Array, " M"] | None = None,
) -> Float[np.ndarray, "M N"]:
    """Every model attacked in turn, the others being its references, in O(M N Q).

    `balance` says what leaves with the target (`references.leave_out`); `pairs [M]` names partners
    by equal numbers. The official convention is refitted for each target.
    """
    _check(mode, variance, centre, convention)
    phi, member = arrays(phi, member)
    job = every_model(phi, member, leave_out(member, balance, pairs))
    if convention == "official":
        fitted = _resolved_official(variance, len(job.reference) - 1)
        return _refitted(job, mode, fitted, centre)
    return _scores(job, _law_of(job, mode, variance, centre))


def _check(mode: str, variance: str, centre: str, convention: str) -> None:
    allowed = {"mode": MODES, "variance": VARIANCES, "centre": CENTRES, "convention": CONVENTIONS}
    for name, value in zip(allowed, (mode, variance, centre, convention), strict=True):
        if value not in allowed[name]:
            raise ValueError(f"{name}={value!r} is not one of {allowed[name]}")
    if convention == "official" and variance == "student_t":
        raise ValueError("variance='student_t' does not exist in convention='official'")


def _resolved(variance: str, references: int) -> str:
    return variance if variance != "auto" else "student_t" if references >= ENOUGH else "global"


def _resolved_official(variance: str, references: int) -> str:
    return variance if variance != "auto" else "per_example" if references >= OFFICIAL else "global"


def _of_target(target, reference, member, mode, variance, centre, convention) -> np.ndarray:
    _check(mode, variance, centre, convention)
    job = one_target(target, reference, member)
    if convention == "official":
        variance = _resolved_official(variance, len(job.reference))
        return official(job.target[0], job.reference, job.member, mode, variance, centre)
    return _scores(job, _law_of(job, mode, variance, centre))[0]


def _refitted(job: Inputs, mode: str, variance: str, centre: str) -> Float[np.ndarray, "T N"]:
    """The official convention, one target after the other.

    It keeps lists of references, so of a reference that only some examples lose, all lose it.
    """
    assert job.leave_out is not None
    if job.leave_out.kind == "opposite":
        raise ValueError("balance='opposite' does not exist in convention='official'; use 'none'")
    scores = []
    for phi, leaves in zip(job.target, job.leave_out.excluded, strict=True):
        keep = ~np.isin(np.arange(len(job.reference)), leaves)
        rest = job.reference[keep], job.member[keep]
        scores.append(official(phi, *rest, mode, variance, centre))
    return np.stack(scores)


class _VarianceModel(NamedTuple):
    """Which law of the references the target is held against."""

    mode: str
    variance: str
    centre: str

    @property
    def sides(self) -> tuple[str, ...]:
        return ("in", "out") if self.mode == "online" else ("out",)


def _scores(job: Inputs, law: _VarianceModel) -> Float[np.ndarray, "T N"]:
    """All scores, in two passes where all examples have a say in each one's variance."""
    return _of_panel(job, law, _totals(job, law))


def _totals(job: Inputs, law: _VarianceModel) -> list[np.ndarray]:
    """What all examples together say of variances; nothing where each speaks for itself."""
    if law.variance == "per_example":
        return []
    parts = job.map(lambda at: _spread_of(job, law, at))
    return [sum(p) for p in zip(*parts, strict=True)]


def _of_panel(
    job: Inputs, law: _VarianceModel, totals: list[np.ndarray]
) -> Float[np.ndarray, "T N"]:
    spread = _Prior(law, totals) if totals else None
    return np.concatenate(job.map(lambda at: _chunk(job, law, at, spread)), axis=1)


def _law_of(job: Inputs, mode: str, variance: str, centre: str = "mean") -> _VarianceModel:
    fewer = 0 if job.leave_out is None else job.leave_out.fewer
    return _VarianceModel(mode, _resolved(variance, len(job.reference) - fewer), centre)


def _sides(
    job: Inputs, law: _VarianceModel, at: slice
) -> tuple[np.ndarray, dict[str, GaussianFit]]:
    """The targets' phi of a chunk, and its references' Gaussians, IN and OUT."""
    chunk = job.chunk(at)
    weight = {"in": chunk.inside, "out": chunk.outside}
    return chunk.target, {
        k: side(chunk.reference, weight[k], chunk.leaving, law.centre) for k in law.sides
    }


def _chunk(
    job: Inputs, law: _VarianceModel, at: slice, spread: "_Prior | None"
) -> Float[np.ndarray, "T n"]:
    target, sides = _sides(job, law, at)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if law.variance == "student_t":
            assert spread is not None
            score = _student(law.mode, target, sides, spread)
        else:
            variances = {k: _variance(s, spread, k) for k, s in sides.items()}
            score = _gaussian(law.mode, target, sides, variances)
        score = score.mean(-1) if score.shape[-1] > 1 else score[..., 0]
    least = 2 if law.variance == "per_example" else 1
    few = [s.n[..., 0] < least for s in sides.values()]
    unknown = functools.reduce(np.logical_or, few, ~np.all(np.isfinite(target), -1))
    return np.where(unknown, np.nan, score) if unknown.any() else score


def _variance(s: GaussianFit, spread: "_Prior | None", name: str) -> np.ndarray:
    if spread is not None:
        return np.maximum(spread.prior[name].variance, least_variance(s))
    variance = s.squares / s.n
    return np.maximum(variance, least_variance(s), out=variance)


def _gaussian(
    mode: str, phi: np.ndarray, sides: dict[str, GaussianFit], variance: dict
) -> np.ndarray:
    z = {k: phi - s.centre for k, s in sides.items()}
    if mode == "offline":
        return upper_tail(z["out"] / np.sqrt(variance["out"]))
    for k in z:
        z[k] *= z[k]
        z[k] /= variance[k]
    score = variance["out"] / variance["in"]
    np.log(score, out=score)
    score = np.add(score, z["out"], out=z["out"])  # of every target, as the variance may not be
    score -= z["in"]
    score *= 0.5
    return score


class _Prior:
    """What a target's references say of variances over all examples, by target `[T, 1, 1]`."""

    def __init__(self, law: _VarianceModel, totals: list[np.ndarray]) -> None:
        self.prior: dict[str, Prior] = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            fitted = [_fit(law, sums) for sums in np.split(np.stack(totals), len(law.sides))]
            for k, own, other in zip(law.sides, fitted, fitted[::-1], strict=True):
                self.prior[k] = _or_other(own, other)


def _fit(law: _VarianceModel, sums: np.ndarray) -> Prior:
    """A side's prior, or its one variance for all."""
    if law.variance == "global":
        return Prior(np.full_like(sums[0], np.inf), sums[0] / sums[1])
    count, total, squares, noise = sums
    mean = total / count
    return prior(mean, squares / count - mean**2 - noise / count)


def _or_other(own: Prior, other: Prior) -> Prior:
    """A side's own; where no example has two of its references, the other side's, or variance 1."""
    return Prior(
        *(
            np.where(own.variance > 0, a, np.where(other.variance > 0, b, c))
            for a, b, c in zip(own, other, (np.inf, 1.0), strict=True)
        )
    )


def _spread_of(job: Inputs, law: _VarianceModel, at: slice) -> list[np.ndarray]:
    """A chunk's contribution to the totals of `_Prior`, per side, each `[T, 1, 1]`."""
    _, sides = _sides(job, law, at)
    out = []
    for s in sides.values():
        enough = np.broadcast_to(s.n >= (1 if law.variance == "global" else 2), s.squares.shape)
        if law.variance == "global":
            parts = [s.squares, np.broadcast_to(s.n, s.squares.shape)]
        else:
            with np.errstate(invalid="ignore", divide="ignore"):
                e, noise = log_variance(s.squares, s.n - 1, least_variance(s))
                noise = np.broadcast_to(noise, e.shape)
            parts = [np.ones_like(e), e, e * e, noise]
        out += [np.where(enough, p, 0.0).sum((1, 2), keepdims=True) for p in parts]
    return out


def _student(
    mode: str, phi: np.ndarray, sides: dict[str, GaussianFit], spread: _Prior
) -> np.ndarray:
    """The predictive Student-t instead of the Gaussian."""
    laws = {k: predictive(s, spread.prior[k]) for k, s in sides.items()}
    if mode == "online":
        return laws["in"].log_density(phi) - laws["out"].log_density(phi)
    out = laws["out"]
    return tail((phi - out.centre) / out.scale, out.freedom)


def prediction_totals(job: Inputs, mode: str) -> list[np.ndarray]:
    """What all examples together say for `predictions`; that of several panels adds up."""
    return _totals(job, _VarianceModel(mode, "student_t", "mean"))


def predictions(
    job: Inputs, mode: str, totals: list[np.ndarray] | None = None
) -> Callable[[slice], tuple[Float[np.ndarray, "T n Q"], dict[str, StudentT]]]:
    """Of any chunk the targets' phi, and the Student-t laws of their references.

    "out", and with mode "online" also "in"; NaN where there is no reference. `totals` are
    `prediction_totals` of all examples, if these are a panel.
    """
    law = _VarianceModel(mode, "student_t", "mean")
    spread = _Prior(law, prediction_totals(job, mode) if totals is None else totals)

    def of(at: slice) -> tuple[np.ndarray, dict[str, StudentT]]:
        target, sides = _sides(job, law, at)
        return target, {k: predictive(s, spread.prior[k]) for k, s in sides.items()}

    return of


def attack(mode: str, variance: str = "auto") -> Attack:
    """LiRA with these options, as a rung of the ladder."""

    def on_target(target: Signals, reference: Signals, member: Bool[Array, "R N"]):
        return {"online": online, "offline": offline}[mode](
            target.phi, reference.phi, member, variance
        )

    def on_all(signals: Signals, member: Bool[Array, "M N"], leaves: LeaveOut):
        job = every_model(signals.phi, member, leaves)
        return _scores(job, _law_of(job, mode, variance))

    panels = Panels(
        lambda job: _totals(job, _law_of(job, mode, variance)),
        lambda job, totals: _of_panel(job, _law_of(job, mode, variance), totals),
        view0=False,
    )
    attacker = Attacker(BLACK, CHANCE, BOTH if mode == "online" else OUT)
    p_value = {"online": "ratio", "offline": "upper"}[mode]
    return Attack(
        on_target,
        on_all,
        attacker,
        log_ratio=mode == "online",
        panels=panels,
        p_value=p_value if variance in ("auto", "student_t") else "",
        paper="Carlini et al. 2022",
    )
