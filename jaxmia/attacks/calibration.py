"""Posteriors of membership from log-likelihood ratios, calibrated on shadow models.

    logit posterior = a ratio + sum_j bends_j max(ratio - knots_j, 0) + b + logit prior

A ratio of independent evidence would have a = 1 and b = 0. Queries that depend on each other,
estimated Gaussians and heavy tails move the slope, differently near 0 and far from it: hence the
bends. Slopes are nowhere negative, so that a posterior ranks as its ratio does.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit, logit

from jaxmia.metrics import Ranked, clustered, rank, scorable
from jaxmia.types import Array

GROUPS = 1 << 13  # of ratios that lie close together, where there are more
KNOTS = (-3.0, -1.0, 0.0, 1.0, 3.0)  # in nats of the ratio
BINS = (0.0, *(round(0.05 + 0.1 * i, 2) for i in range(10)), 1.0)  # about 0.1, 0.2, ..., 0.9


class Calibration(NamedTuple):
    """`a`, `b` and the bends of the posterior; a straight line has none."""

    a: float
    b: float
    knots: tuple[float, ...] = ()
    bends: tuple[float, ...] = ()


def evidence(score: Float[Array, "*T N"], fitted: Calibration) -> Float[np.ndarray, "*T N"]:
    """The calibrated log-odds at a prior of one half."""
    ratio = np.asarray(score, np.float64)
    out = fitted.a * ratio + fitted.b
    for knot, bend in zip(fitted.knots, fitted.bends, strict=True):
        out = out + bend * np.maximum(ratio - knot, 0)
    return out


def posterior(
    score: Float[Array, "*T N"],
    prior: float | Float[Array, " N"] = 0.5,
    calibration: Calibration | None = None,
) -> Float[np.ndarray, "*T N"]:
    """The probability of membership, from online log-likelihood ratios and a prior.

    The prior is one number, or one for each example. Raises `ValueError` for a prior outside (0,
    1), and for scores without a negative one among many: offline scores are no log-ratios.
    """
    score = np.asarray(score, np.float64)
    odds = evidence(score, calibration or Calibration(1.0, 0.0))
    out = at_prior(odds, prior)
    _check_ratio(score)
    return out


def at_prior(
    odds: Float[Array, "*T N"], prior: float | Float[Array, " N"]
) -> Float[np.ndarray, "*T N"]:
    """Log-odds at a prior of one half as probabilities at another."""
    p = np.asarray(prior, np.float64)
    if not ((p > 0) & (p < 1)).all():
        raise ValueError(f"prior={prior} must be above 0 and below 1")
    return expit(np.asarray(odds, np.float64) + logit(p))


def fit_calibration(
    score: Float[Array, "*T N"], member: Bool[Array, "*T N"], knots: Sequence[float] = ()
) -> Calibration:
    """Logistic regression of membership on online scores of shadow models, at a balanced prior.

    Fit it on other targets than those whose posterior is wanted. `knots` are where the line may
    bend (`KNOTS`).
    """
    scorable(score, member)
    return fit_calibration_of(rank(score, member), knots)


def fit_calibration_of(
    ranked: Ranked, knots: Sequence[float] = (), rows: Bool[np.ndarray, " T"] | None = None
) -> Calibration:
    """The same from scores that are ranked already, of some of their targets where `rows` says."""
    rows = np.ones(len(ranked.score), bool) if rows is None else rows
    _check_ratio(ranked.score[rows])
    ratio, inside, outside = _grouped(ranked, rows)
    edges = [-np.inf, *knots, np.inf]
    anchor = knots[0] if len(knots) else 0.0  # the first segment counts from here, downwards
    parts = [np.minimum(ratio, edges[1]) - anchor]
    parts += [
        np.clip(ratio, low, high) - low for low, high in zip(edges[1:-1], edges[2:], strict=True)
    ]
    design = np.stack([*parts, np.ones_like(ratio)], 1)
    coefficients = _newton(design, inside, outside)
    if len(knots) and not (coefficients[:-1] >= 0).all():
        coefficients = _rising(design, inside, outside)
    slopes = coefficients[:-1]
    bends = tuple(float(b) for b in np.diff(slopes))
    shift = float(coefficients[-1] - slopes[0] * anchor)
    return Calibration(float(slopes[0]), shift, tuple(float(k) for k in knots), bends)


def _newton(design: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Weighted logistic regression, with so little of a ridge that separable data end somewhere."""
    at = np.zeros(design.shape[1])
    ridge = 1e-9 * np.eye(len(at))

    def loss(at: np.ndarray) -> float:
        z = design @ at
        return float(inside @ np.logaddexp(0, -z) + outside @ np.logaddexp(0, z))

    current = loss(at)
    for _ in range(100):
        p = expit(design @ at)
        slope = (outside * p - inside * (1 - p)) @ design + ridge @ at
        curve = (design * ((inside + outside) * p * (1 - p))[:, None]).T @ design + ridge
        step, size = np.linalg.solve(curve, slope), 1.0
        while (trial := loss(at - size * step)) > current and size > 1e-6:
            size /= 2
        at, gain, current = at - size * step, current - trial, trial
        if gain < 1e-13:
            break
    return at


def _rising(design: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """The same where no slope may be negative."""
    from scipy.optimize import minimize

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        z = design @ at
        value = inside @ np.logaddexp(0, -z) + outside @ np.logaddexp(0, z)
        return float(value), (outside * expit(z) - inside * expit(-z)) @ design

    slopes = design.shape[1] - 1
    limits: list[Any] = [(0.0, None)] * slopes + [(None, None)]
    start = np.append(np.ones(slopes), 0.0)
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits).x


def _grouped(ranked: Ranked, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratios, and the weights of members and of others there; very many are grouped by rank."""
    order = ranked.order[::-1]
    order = order if rows.all() else order[rows[order // ranked.score.shape[1]]]
    few = len(order) <= GROUPS
    order = np.sort(order) if few else order  # where all are taken, as they stand
    ratio = np.clip(ranked.score.reshape(-1)[order], -1e6, 1e6)
    truth = ranked.member.reshape(-1)[order]
    inside, outside = 0.5 * truth / truth.sum(), 0.5 * ~truth / (~truth).sum()
    if few:
        return ratio, inside, outside
    first = np.linspace(0, len(ratio), GROUPS, endpoint=False).astype(np.int64)
    count = np.diff(first, append=len(ratio))
    mean = np.add.reduceat(ratio, first) / count
    return mean, *(np.add.reduceat(w, first) for w in (inside, outside))


def crossed(
    score: Float[Array, "T N"],
    member: Bool[Array, "T N"],
    group: Int[Array, " T"],
    knots: Sequence[float] = KNOTS,
) -> Float[np.ndarray, "T N"]:
    """Log-odds of each target, by a calibration that was fitted on the other half of the targets.

    Targets of one `group`, such as the two models of a pair, are in one half. Raises `ValueError`
    for fewer than two groups.
    """
    return crossed_of(rank(score, member), group, knots)


def crossed_of(
    ranked: Ranked, group: Int[Array, " T"], knots: Sequence[float] = KNOTS
) -> Float[np.ndarray, "T N"]:
    """The same from scores that are ranked already."""
    _, number = np.unique(np.asarray(group), return_inverse=True)
    if number.max() < 1:
        raise ValueError("group: needs two groups of targets or more, one to be calibrated by")
    out = np.empty(ranked.score.shape)
    for half in (number % 2 == 0, number % 2 == 1):
        fitted = fit_calibration_of(ranked, knots, ~half)
        for t in np.flatnonzero(half).tolist():  # a target at a time, which a cache holds
            out[t] = evidence(ranked.score[t], fitted)
    return out


class Reliability(NamedTuple):
    """Stated probabilities against what came true, by bins of the stated; empty ones are left out.

    `low` and `high` are the 95 % ends had the examples, or the persons, been others
    (`metrics.clustered`).
    """

    stated: Float[np.ndarray, " B"]
    true: Float[np.ndarray, " B"]
    low: Float[np.ndarray, " B"]
    high: Float[np.ndarray, " B"]
    count: Int[np.ndarray, " B"]

    @property
    def error(self) -> float:
        """The expected calibration error: |stated - true|, weighted by the bins' counts."""
        return float(np.average(np.abs(self.stated - self.true), weights=self.count))


def reliability(
    stated: Float[Array, "*T N"],
    member: Bool[Array, "*T N"],
    bins: Sequence[float] = BINS,
    person: Int[Array, " N"] | None = None,
) -> Reliability:
    """How often what was stated came true; examples of one `person` stand or fall together."""
    p, truth = np.asarray(stated, np.float64), np.asarray(member, bool)
    scored, unit = ~np.isnan(p), np.arange(p.shape[-1])
    if person is not None:
        unit = np.unique(np.asarray(person), return_inverse=True)[1].reshape(-1)
    examples = int(unit.max()) + 1
    example = np.broadcast_to(unit, p.shape)[scored]
    p, truth = p[scored], truth[scored]
    at = np.clip(np.searchsorted(np.asarray(bins), p, side="right") - 1, 0, len(bins) - 2)
    count = np.bincount(at, minlength=len(bins) - 1)
    hits = np.bincount(at, weights=truth, minlength=len(bins) - 1)
    total = np.bincount(at, weights=p, minlength=len(bins) - 1)
    own, cells = at * examples + example, (len(bins) - 1) * examples
    trials, true = np.bincount(own, minlength=cells), np.bincount(own[truth], minlength=cells)
    low, high = clustered(true, trials, np.repeat(np.arange(len(bins) - 1), examples))
    some = count > 0
    count, hits, total = count[some], hits[some], total[some]
    low, high = low[some[: len(low)]], high[some[: len(high)]]
    return Reliability(total / count, hits / count, low, high, count)


def _check_ratio(score: np.ndarray) -> None:
    finite = score[np.isfinite(score)]
    if len(finite) >= 20 and finite.min() >= 0 and finite.max() > finite.min():
        raise ValueError(
            "score: has no negative entry, so these are no log-ratios; use mode online"
        )
