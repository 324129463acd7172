"""The likelihood-ratio attack (LiRA), Carlini et al. 2022: Gaussians of phi, IN against OUT.

    online    mean_q [ log N(phi_q; mu_in, s_in) - log N(phi_q; mu_out, s_out) ]
    offline   mean_q [ -log(1 - Phi((phi_q - mu_out) / s_out)) ]                       (their Eq. 4)

Scores are float64, higher means member, NaN marks an example with too few references.
"""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import digamma, gammaln, log_ndtr, polygamma, stdtr

from jaxmia.attacks.gaussians import CENTRES, Side, side
from jaxmia.attacks.official import official
from jaxmia.attacks.references import Balance, balance_of, left_out
from jaxmia.parallel import cores
from jaxmia.types import Array, Attack, Signals

MODES = ("online", "offline")
VARIANCES = ("auto", "per_example", "global", "student_t")
CONVENTIONS = ("paper", "official")
ENOUGH = 64  # references from which on "auto" gives every example its own variance
FLOOR = 1e-10  # of a standard deviation, relative to 1 + |mu|: degenerate examples stay finite
CHUNK = 1 << 18  # numbers of an array that are worked on at once: long enough for two threads


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
    its variance), or "auto": per example from 64 references on, else global. Raises `ValueError`
    for options or shapes that do not fit.
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

    `balance` says what leaves with the target (`references.balance_of`); `pairs [M]` names partners
    by equal numbers. The official convention is refitted for each target.
    """
    _check(mode, variance, centre, convention)
    phi, member = _arrays(phi, member)
    remedy = balance_of(member, balance, pairs)
    if convention == "official":
        return _refitted(phi, member, remedy, mode, _resolved(variance, len(phi) - 1), centre)
    gone = 0 if remedy.kind == "none" else 1
    job = _Job(phi, phi, member, remedy, mode, _resolved(variance, len(phi) - 1 - gone), centre)
    return _scores(job)


class Calibration(NamedTuple):
    """`a` and `b` of the posterior `sigmoid(a score + b + logit prior)`."""

    a: float
    b: float


def posterior(
    score: Float[Array, "*T N"], prior: float = 0.5, calibration: Calibration | None = None
) -> Float[np.ndarray, "*T N"]:
    """The probability of membership, from online log-likelihood ratios and a prior.

    Raises `ValueError` for a prior outside (0, 1), and for scores without a negative one among
    many: offline scores are no log-ratios.
    """
    from scipy.special import expit, logit

    if not 0 < prior < 1:
        raise ValueError(f"prior={prior} must be above 0 and below 1")
    score = np.asarray(score, np.float64)
    _check_ratio(score)
    a, b = calibration or Calibration(1.0, 0.0)
    return expit(a * score + b + logit(prior))


def fit_calibration(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> Calibration:
    """Logistic regression of membership on online scores of shadow models, at a balanced prior.

    Fit it on other targets than those whose posterior is wanted.
    """
    from scipy.optimize import minimize

    from jaxmia.metrics import scorable

    _check_ratio(np.asarray(score, np.float64))
    ratio, truth = scorable(score, member)
    sign = np.where(truth, 1.0, -1.0)
    weight = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        m = sign * (at[0] * ratio + at[1])
        slope = -weight * sign * np.exp(-np.logaddexp(0, m))
        return float(weight @ np.logaddexp(0, -m)), np.array([slope @ ratio, slope.sum()])

    a, b = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    return Calibration(float(a), float(b))


def _check_ratio(score: np.ndarray) -> None:
    seen = score[np.isfinite(score)]
    if len(seen) >= 20 and seen.min() >= 0:
        raise ValueError(
            "score: has no negative entry, so these are no log-ratios; use mode online"
        )


def _check(mode: str, variance: str, centre: str, convention: str) -> None:
    allowed = {"mode": MODES, "variance": VARIANCES, "centre": CENTRES, "convention": CONVENTIONS}
    for name, value in zip(allowed, (mode, variance, centre, convention), strict=True):
        if value not in allowed[name]:
            raise ValueError(f"{name}={value!r} is not one of {allowed[name]}")
    if convention == "official" and variance == "student_t":
        raise ValueError("variance='student_t' does not exist in convention='official'")


def _resolved(variance: str, references: int) -> str:
    return variance if variance != "auto" else "per_example" if references >= ENOUGH else "global"


def _arrays(phi: Array, member: Array) -> tuple[np.ndarray, np.ndarray]:
    """phi as `[M, N, Q]` and member as Bool `[M, N]`, checked against each other."""
    phi, member = np.asarray(phi), np.asarray(member)
    if phi.dtype.kind not in "fiu" or phi.ndim not in (2, 3):
        raise ValueError(f"phi: needs numbers [M, N] or [M, N, Q], is {phi.dtype} {phi.shape}")
    if member.shape != phi.shape[:2]:
        raise ValueError(f"member: has shape {member.shape}, phi has {phi.shape}")
    if member.dtype != bool and not np.isin(member, (0, 1)).all():
        raise ValueError("member: has entries other than 0 and 1")
    return phi.reshape(*phi.shape[:2], -1), member.astype(bool)


def _of_target(target, reference, member, mode, variance, centre, convention) -> np.ndarray:
    _check(mode, variance, centre, convention)
    reference, member = _arrays(reference, member)
    target = np.asarray(target)
    if target.reshape(*target.shape[:1], -1).shape != reference.shape[1:]:
        raise ValueError(f"target: has shape {target.shape}, reference has {reference.shape}")
    target = target.reshape(1, *reference.shape[1:])
    variance = _resolved(variance, len(reference))
    if convention == "official":
        return official(target[0], reference, member, mode, variance, centre)
    return _scores(_Job(target, reference, member, None, mode, variance, centre))[0]


def _refitted(phi, member, remedy: Balance, mode: str, variance: str, centre: str) -> np.ndarray:
    """The official convention, one target after the other.

    It keeps lists of references, so of a reference that only some examples lose, all lose it.
    """
    partner = remedy.partner if remedy.kind == "pair" else None
    if remedy.kind == "opposite":
        raise ValueError("balance='opposite' does not exist in convention='official'; use 'none'")
    scores = []
    for t in range(len(phi)):
        keep = np.arange(len(phi)) != t
        if partner is not None and partner[t] >= 0:
            keep[partner[t]] = False
        scores.append(official(phi[t], phi[keep], member[keep], mode, variance, centre))
    return np.stack(scores)


class _Job(NamedTuple):
    """Targets against references; a `remedy` means that both are the same models."""

    target: Float[np.ndarray, "T N Q"]
    reference: Float[np.ndarray, "M N Q"]
    member: Bool[np.ndarray, "M N"]
    remedy: Balance | None
    mode: str
    variance: str
    centre: str


def _scores(job: _Job) -> Float[np.ndarray, "T N"]:
    """All scores, by chunks of examples that fit a cache, on all cores."""
    spread = None
    with ThreadPoolExecutor(cores()) as pool:
        if job.variance != "per_example":
            parts = list(pool.map(lambda at: _spread_of(job, at), _chunks(job)))
            spread = _Spread(job, [sum(p) for p in zip(*parts, strict=True)])
        out = np.full(job.target.shape[:2], np.nan)
        for at, found in zip(
            _chunks(job), pool.map(lambda at: _chunk(job, at, spread), _chunks(job)), strict=True
        ):
            out[:, at] = found
    return out


def _chunks(job: _Job) -> Iterator[slice]:
    models, examples, queries = job.reference.shape
    size = max(1, CHUNK // (models * queries))
    return (slice(i, min(i + size, examples)) for i in range(0, examples, size))


def _sides(job: _Job, at: slice) -> tuple[np.ndarray, dict[str, Side]]:
    """The targets' phi of a chunk, and its references' Gaussians, IN and OUT."""
    target = job.target[:, at].astype(np.float64)
    same = job.target is job.reference
    phi = target if same else job.reference[:, at].astype(np.float64)
    member, whole = job.member[:, at], np.all(np.isfinite(phi), -1, keepdims=True)
    phi = phi if whole.all() else np.where(whole, phi, 0.0)
    leaving = []
    if job.remedy is not None:
        models = np.arange(len(phi))[:, None]
        leaving.append(np.broadcast_to(models, member.shape))
        beside = left_out(job.remedy, member, at.start)
        leaving += [beside] if beside is not None else []
    wanted = {"in": member & whole[..., 0], "out": ~member & whole[..., 0]}
    names = ("in", "out") if job.mode == "online" else ("out",)
    return target, {k: side(phi, wanted[k], leaving, job.centre) for k in names}


def _chunk(job: _Job, at: slice, spread: "_Spread | None") -> Float[np.ndarray, "T n"]:
    target, sides = _sides(job, at)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if job.variance == "student_t":
            assert spread is not None
            score = _student(job.mode, target, sides, spread)
        else:
            variances = {k: _variance(s, spread, k) for k, s in sides.items()}
            score = _gaussian(job.mode, target, sides, variances)
        score = score.mean(-1) if score.shape[-1] > 1 else score[..., 0]
    least = 1 if job.variance == "global" else 2
    few = [s.n[..., 0] < least for s in sides.values()]
    unknown = functools.reduce(np.logical_or, few, ~np.all(np.isfinite(target), -1))
    return np.where(unknown, np.nan, score) if unknown.any() else score


def _floor(s: Side) -> np.ndarray:
    """The least variance: that of a degenerate example."""
    return (FLOOR * (1 + np.abs(s.origin))) ** 2


def _variance(s: Side, spread: "_Spread | None", name: str) -> np.ndarray:
    if spread is not None:
        return np.maximum(spread.variance[name], _floor(s))
    variance = s.squares / s.n
    return np.maximum(variance, _floor(s), out=variance)


def _gaussian(mode: str, phi: np.ndarray, sides: dict[str, Side], variance: dict) -> np.ndarray:
    z = {k: phi - s.centre for k, s in sides.items()}
    if mode == "offline":
        return upper_tail(z["out"] / np.sqrt(variance["out"]))
    for k in z:
        z[k] *= z[k]
        z[k] /= variance[k]
    score = variance["out"] / variance["in"]
    np.log(score, out=score)
    score += z["out"]
    score -= z["in"]
    score *= 0.5
    return score


def upper_tail(z: np.ndarray) -> np.ndarray:
    """`-log(1 - Phi(z))`, and `z + 37` below -37, where it would tie at 0."""
    return np.where(z > -37, -log_ndtr(-np.maximum(z, -37)), z + 37)


class _Spread:
    """What a target's references say of variances over all examples, by target `[T, 1, 1]`."""

    def __init__(self, job: _Job, totals: list[np.ndarray]) -> None:
        self.variance: dict[str, np.ndarray] = {}
        self.prior: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        names = ("in", "out") if job.mode == "online" else ("out",)
        with np.errstate(invalid="ignore", divide="ignore"):
            for k, sums in zip(names, np.split(np.stack(totals), len(names)), strict=True):
                if job.variance == "global":
                    self.variance[k] = sums[0] / sums[1]
                else:
                    self.prior[k] = _empirical_bayes(*sums)


def _spread_of(job: _Job, at: slice) -> list[np.ndarray]:
    """A chunk's contribution to the totals of `_Spread`, per side, each `[T, 1, 1]`."""
    _, sides = _sides(job, at)
    out = []
    for s in sides.values():
        enough = np.broadcast_to(s.n >= (1 if job.variance == "global" else 2), s.squares.shape)
        if job.variance == "global":
            parts = [s.squares, np.broadcast_to(s.n, s.squares.shape)]
        else:
            with np.errstate(invalid="ignore", divide="ignore"):
                free = s.n - 1
                e = (
                    np.log(np.maximum(s.squares / free, _floor(s)))
                    - digamma(free / 2)
                    + np.log(free / 2)
                )
                noise = np.broadcast_to(polygamma(1, free / 2), e.shape)
            parts = [np.ones_like(e), e, e * e, noise]
        out += [np.where(enough, p, 0.0).sum((1, 2), keepdims=True) for p in parts]
    return out


def _empirical_bayes(count, total, squares, noise) -> tuple[np.ndarray, np.ndarray]:
    """nu_0 and s_0^2 of the prior on variances, by moments of the log variances (Smyth 2004)."""
    mean = total / count
    excess = squares / count - mean**2 - noise / count
    freedom = np.where(excess > 0, 2 * _inverse_trigamma(np.maximum(excess, 1e-12)), np.inf)
    held = np.minimum(freedom, 1e12)
    return freedom, np.exp(mean + digamma(held / 2) - np.log(held / 2))


def _inverse_trigamma(y: np.ndarray) -> np.ndarray:
    """x with psi'(x) = y, by Newton's method on 1/psi' (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(50):
        first = polygamma(1, x)
        x = x + first * (1 - first / y) / polygamma(2, x)
    return x


def _student(mode: str, phi: np.ndarray, sides: dict[str, Side], spread: _Spread) -> np.ndarray:
    """The predictive Student-t instead of the Gaussian."""
    laws = {}
    for k, s in sides.items():
        nu0, s0 = spread.prior[k]
        held = np.minimum(nu0, 1e12)  # from here on the law is the Gaussian in float64
        nu = held + s.n - 1
        variance = (held * s0 + s.squares) / nu * (1 + 1 / s.n)
        scale = np.sqrt(np.maximum(variance, _floor(s)))
        laws[k] = (phi - s.centre) / scale, nu, scale
    if mode == "online":
        return _student_density(*laws["in"]) - _student_density(*laws["out"])
    return _student_tail(*laws["out"][:2])


def _student_density(z: np.ndarray, nu: np.ndarray, scale: np.ndarray) -> np.ndarray:
    shape = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi)
    shape = np.where(nu > 1e6, -0.5 * np.log(2 * np.pi), shape)
    return shape - np.log(scale) - (nu + 1) / 2 * np.log1p(z * z / nu)


def _student_tail(z: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """`-log(1 - F(z))`, by the tail's leading term where the distribution function underflows."""
    beyond = stdtr(nu, -z)
    far = -_student_density(z, nu, np.ones(1)) - np.log(np.abs(z) / nu + 1 / np.abs(z))
    near = np.where(nu > 1e6, upper_tail(z), -np.log(np.maximum(beyond, 1e-300)))
    below = stdtr(nu, z)  # 1 - beyond loses what is below 1e-16
    near = np.where((z < 0) & (nu <= 1e6), -np.log1p(-below), near)
    return np.where((z > 0) & (beyond < 1e-290) & (nu <= 1e6), far, near)


def attack(mode: str, variance: str = "auto") -> Attack:
    """LiRA with these options, as a rung of the ladder."""
    options = {"mode": mode, "variance": variance}

    def on_target(target: Signals, reference: Signals, member: Bool[Array, "R N"]):
        return {"online": online, "offline": offline}[mode](
            target.phi, reference.phi, member, variance
        )

    def on_all(signals: Signals, member: Bool[Array, "M N"], pairs=None):
        return leave_one_out(signals.phi, member, pairs=pairs, **options)

    return Attack(on_target, on_all, missing=lambda signals: "")
