"""How well scores tell members from non-members. Higher scores mean "member"; ties are one point.

NumPy in float64. Scores that are NaN (not scorable) are left out. `score` and `member` are `[N]`,
or `[T, N]` for T targets, which the functions pool; `targets` has them one by one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.types import Array

FEW = 10  # false positives under which a threshold hangs on single examples


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


def allowed(fpr: float, non_members: int) -> int:
    """How many non-members may be called members at an FPR of at most `fpr`."""
    count = int(np.ceil(fpr * non_members)) + 1
    while count and count / non_members > fpr:  # as the ROC compares, rounding included
        count -= 1
    return min(count, non_members)


def in_words(fpr: float, non_members: int) -> str:
    """What an FPR means of so many non-members, where it is finer than the eye thinks."""
    count = allowed(fpr, non_members)
    if count == 0:
        return f"{_share(fpr)} FPR of {non_members} non-members means no false positive at all"
    if count < FEW:
        return (
            f"{_share(fpr)} FPR of {non_members} non-members means at most {count} false "
            f"positive{'s' * (count > 1)}: the threshold hangs on few"
        )
    return f"{_share(fpr)} FPR of {non_members} non-members means at most {count} false positives"


def _share(fpr: float) -> str:
    return f"{100 * fpr:.4g} %"


class Figures(NamedTuple):
    """The usual figures of one ROC, from one sort."""

    auc: float
    balanced_accuracy: float
    tpr_at_fpr: Float[np.ndarray, " L"]


def figures(
    score: Float[Array, "*T N"], member: Bool[Array, "*T N"], levels: Sequence[float]
) -> Figures:
    """AUC, best balanced accuracy, and the TPR at each FPR of `levels`."""
    return figures_of(counted(score, member), levels)


def figures_of(curve: Counted, levels: Sequence[float]) -> Figures:
    """The same from a ROC that was counted already."""
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
