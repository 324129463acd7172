"""How well scores tell members from non-members. Higher scores mean "member"; ties are one point.

NumPy in float64. Scores that are NaN (not scorable) are left out. `score` and `member` are `[N]`,
or `[T, N]` for T targets, which the functions pool; `per_target` gives one row each.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.types import Array


class Roc(NamedTuple):
    """The curve from (0, 0) to (1, 1), one point per block of tied scores.

    A score at or above `threshold` is called a member; the first threshold is infinite.
    """

    fpr: Float[np.ndarray, " P"]
    tpr: Float[np.ndarray, " P"]
    threshold: Float[np.ndarray, " P"]


class Counted(NamedTuple):
    """Members and non-members at or above each threshold, highest first."""

    true: np.ndarray
    false: np.ndarray
    threshold: np.ndarray


def counted(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> Counted:
    """The ROC in whole numbers.

    Raises `ValueError` for unequal shapes, a `member` that is not 0/1, or a class without scores.
    """
    score, member = scorable(score, member)
    order = np.argsort(-score, kind="stable")
    score, member = score[order], member[order]
    last = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1)
    true = np.cumsum(member)[last]
    return Counted(
        np.append(0, true), np.append(0, last + 1 - true), np.append(np.inf, score[last])
    )


def scorable(
    score: Float[Array, "*T N"], member: Bool[Array, "*T N"]
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The pooled scores that are numbers, with their membership."""
    score, truth = np.asarray(score, np.float64), np.asarray(member)
    if score.shape != truth.shape:
        raise ValueError(f"member: has shape {truth.shape}, score has {score.shape}")
    if truth.dtype != bool:
        if not np.isin(truth, (0, 1)).all():
            raise ValueError("member: has entries other than 0 and 1")
        truth = truth.astype(bool)
    keep = ~np.isnan(score)
    score, truth = score[keep], truth[keep]
    if truth.all() or not truth.any():
        which = "non-members" if truth.size and truth.all() else "members"
        raise ValueError(f"member: there are no {which} among the {truth.size} scored examples")
    return score, truth


def roc(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> Roc:
    """TPR against FPR by blocks of tied scores."""
    true, false, threshold = counted(score, member)
    return Roc(false / false[-1], true / true[-1], threshold)


def auc(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> float:
    """Area under the ROC: P(member's score > non-member's) + P(equal) / 2."""
    return _area(counted(score, member))


def tpr_at_fpr(
    score: Float[Array, "*T N"], member: Bool[Array, "*T N"], fpr: float | Sequence[float]
):
    """The largest TPR whose FPR is at most `fpr`, without interpolation; one number for each."""
    found = _tpr_at(counted(score, member), np.atleast_1d(np.asarray(fpr, np.float64)))
    return float(found[0]) if np.ndim(fpr) == 0 else found


def threshold_at_fpr(score: Float[Array, "*T N"], member: Bool[Array, "*T N"], fpr: float) -> float:
    """The lowest threshold whose FPR is at most `fpr`: infinite if every one errs more often."""
    true, false, threshold = counted(score, member)
    return float(threshold[np.searchsorted(false / false[-1], fpr, side="right") - 1])


def balanced_accuracy(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> float:
    """`(TPR + 1 - FPR) / 2` at the best threshold for these very scores."""
    return (1 + advantage(score, member)) / 2


def advantage(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> float:
    """`TPR - FPR` at the best threshold (Yeom et al. 2018, definition 4)."""
    curve = roc(score, member)
    return float((curve.tpr - curve.fpr).max())


def precision(tpr: float, fpr: float, prior: float = 0.5) -> float:
    """Of those called members, the share that is, where a share `prior` of all are members."""
    if not 0 < prior < 1:
        raise ValueError(f"prior={prior} must be above 0 and below 1")
    called = prior * tpr + (1 - prior) * fpr
    return prior * tpr / called if called else float("nan")


def resolution(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> float:
    """The smallest FPR above 0 that can be seen: one over the number of non-members."""
    _, truth = scorable(score, member)
    return float(1 / (~truth).sum())


def per_target(
    metric: Callable[..., float], score: Float[Array, "T N"], member: Bool[Array, "T N"], *args
) -> Float[np.ndarray, " T"]:
    """A metric of each target alone; NaN for a target without scored members and non-members."""
    out = np.full(len(score), np.nan)
    for t, (s, m) in enumerate(zip(np.asarray(score), np.asarray(member), strict=True)):
        seen = m[~np.isnan(s)].astype(bool)
        if seen.any() and not seen.all():
            out[t] = metric(s, m, *args)
    return out


def clopper_pearson(
    hits: int | np.ndarray, trials: int | np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The exact interval of a proportion (Clopper & Pearson 1934), two-sided."""
    from scipy.special import betaincinv

    hits, trials = np.asarray(hits, np.float64), np.asarray(trials, np.float64)
    tail = (1 - confidence) / 2
    low = betaincinv(np.maximum(hits, 1e-300), trials - hits + 1, tail)
    high = betaincinv(hits + 1, np.maximum(trials - hits, 1e-300), 1 - tail)
    return np.where(hits == 0, 0.0, low), np.where(hits == trials, 1.0, high)


def auc_interval(
    score: Float[Array, "*T N"], member: Bool[Array, "*T N"], confidence: float = 0.95
) -> tuple[float, float]:
    """DeLong's interval of the AUC (DeLong, DeLong & Clarke-Pearson 1988), from midranks.

    It takes the examples as independent.
    """
    from scipy.special import ndtri

    score, truth = scorable(score, member)
    inside, outside = np.sort(score[truth]), np.sort(score[~truth])
    wins = _share_below(outside, inside)
    losses = 1 - _share_below(inside, outside)
    area = wins.mean()
    spread = sum(v.var(ddof=1) / len(v) if len(v) > 1 else 0.25 for v in (wins, losses))
    half = ndtri(0.5 + confidence / 2) * np.sqrt(spread)
    return float(max(0.0, area - half)), float(min(1.0, area + half))


def _share_below(of: np.ndarray, at: np.ndarray) -> np.ndarray:
    """For each of `at`, the share of the sorted `of` that is below, ties counting half."""
    return (np.searchsorted(of, at) + np.searchsorted(of, at, side="right")) / (2 * len(of))


def bootstrap_interval(
    metric: Callable[..., float],
    score: Float[Array, "*T N"],
    member: Bool[Array, "*T N"],
    *args,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap over examples, members and non-members drawn apart.

    With `score [T, N]`, an example is drawn with all its targets.
    """
    score, truth = np.atleast_2d(np.asarray(score), np.asarray(member, bool))
    rng = np.random.default_rng(seed)
    single = len(score) == 1
    groups = (
        [np.flatnonzero(truth[0]), np.flatnonzero(~truth[0])]
        if single
        else [np.arange(score.shape[1])]
    )
    found = []
    for _ in range(draws):
        at = np.concatenate([rng.choice(g, len(g)) for g in groups])
        found.append(metric(score[:, at], truth[:, at], *args))
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


class Figures(NamedTuple):
    """The usual figures of one ROC, from one sort."""

    auc: float
    balanced_accuracy: float
    tpr_at_fpr: Float[np.ndarray, " L"]


def figures(
    score: Float[Array, "*T N"], member: Bool[Array, "*T N"], levels: Sequence[float]
) -> Figures:
    """AUC, best balanced accuracy, and the TPR at each FPR of `levels`."""
    curve = counted(score, member)
    return Figures(
        _area(curve),
        float((1 + (curve.true / curve.true[-1] - curve.false / curve.false[-1]).max()) / 2),
        _tpr_at(curve, np.asarray(levels, np.float64)),
    )


def _area(curve: Counted) -> float:
    area = np.sum(np.diff(curve.false) * (curve.true[1:] + curve.true[:-1]), dtype=np.float64) / 2
    return float(area / (float(curve.true[-1]) * float(curve.false[-1])))


def _tpr_at(curve: Counted, levels: np.ndarray) -> np.ndarray:
    at = np.searchsorted(curve.false / curve.false[-1], levels, side="right") - 1
    return curve.true[at] / curve.true[-1]
