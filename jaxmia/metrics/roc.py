"""How well scores tell members from non-members. Higher scores mean "member"; ties are one point.

NumPy in float64. Scores that are NaN (not scorable) are left out. `score` and `member` are `[N]`,
or `[T, N]` for T targets, which the functions pool; `targets` has them one by one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.metrics.ranked import RocCounts, roc_counts, scorable
from jaxmia.types import Array

FEW = 10  # false positives under which a threshold depends on single examples
STEP = 1 << 20  # points of a curve that are worked on at once


class Roc(NamedTuple):
    """The curve from (0, 0) to (1, 1), one point per block of tied scores.

    A score at or above `threshold` is called a member; the first threshold is infinite.
    """

    fpr: Float[np.ndarray, " P"]
    tpr: Float[np.ndarray, " P"]
    threshold: Float[np.ndarray, " P"]


def roc(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> Roc:
    """TPR against FPR by blocks of tied scores."""
    true, false, threshold = roc_counts(score, member)
    return Roc(false / false[-1], true / true[-1], threshold)


def auc(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> float:
    """Area under the ROC: P(member's score > non-member's) + P(equal) / 2."""
    return auc_of(roc_counts(score, member))


def tpr_at_fpr(
    score: Float[Array, "*T N"], member: Bool[Array, "*T N"], fpr: float | Sequence[float]
):
    """The largest TPR whose FPR is at most `fpr`, without interpolation; one number for each."""
    curve = roc_counts(score, member)
    tpr = curve.tp[at_fpr(curve, np.atleast_1d(fpr))] / curve.tp[-1]
    return float(tpr[0]) if np.ndim(fpr) == 0 else tpr


def threshold_at_fpr(score: Float[Array, "*T N"], member: Bool[Array, "*T N"], fpr: float) -> float:
    """The lowest threshold whose FPR is at most `fpr`: infinite if every one errs more often."""
    curve = roc_counts(score, member)
    return float(curve.threshold[at_fpr(curve, [fpr])[0]])


def balanced_accuracy(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> float:
    """`(TPR + 1 - FPR) / 2` at the best threshold for these very scores."""
    return balanced_accuracy_of(roc_counts(score, member))


def advantage(score: Float[Array, "*T N"], member: Bool[Array, "*T N"]) -> float:
    """`TPR - FPR` at the best threshold (Yeom et al. 2018, definition 4)."""
    return best(roc_counts(score, member))[1]


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
            f"positive{'s' * (count > 1)}: the threshold depends on few"
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
    return figures_of(roc_counts(score, member), levels)


def figures_of(curve: RocCounts, levels: Sequence[float]) -> Figures:
    """The same from a ROC that was counted already."""
    rates = curve.tp[at_fpr(curve, levels)] / curve.tp[-1]
    return Figures(auc_of(curve), balanced_accuracy_of(curve), rates)


def auc_of(curve: RocCounts) -> float:
    """The area under a ROC, ties counting half."""
    twice = 0.0  # in whole numbers, exact below 2^53
    for at in _steps(curve):
        true, false = curve.tp[at], curve.fp[at]
        twice += float(np.sum(np.diff(false) * (true[1:] + true[:-1]), dtype=np.float64))
    return twice / 2 / (float(curve.tp[-1]) * float(curve.fp[-1]))


def balanced_accuracy_of(curve: RocCounts) -> float:
    """`(TPR + 1 - FPR) / 2` where it is greatest."""
    return (1 + best(curve)[1]) / 2


def tpr_at_fpr_of(curve: RocCounts, fpr: float) -> float:
    """The largest TPR whose FPR is at most `fpr`."""
    return float(curve.tp[at_fpr(curve, [fpr])[0]] / curve.tp[-1])


def best(curve: RocCounts) -> tuple[int, float]:
    """Where `TPR - FPR` is greatest, the highest threshold of equals, and how great it is."""
    place, most = 0, 0.0
    for at in _steps(curve):
        gain = curve.tp[at] / curve.tp[-1] - curve.fp[at] / curve.fp[-1]
        if gain[top := int(np.argmax(gain))] > most:
            place, most = at.start + top, float(gain[top])
    return place, most


def at_fpr(curve: RocCounts, levels: Sequence[float] | np.ndarray) -> Int[np.ndarray, " L"]:
    """The last point of a ROC whose FPR is at most each level: the one with the largest TPR."""
    others = int(curve.fp[-1])
    limit = [allowed(float(level), others) for level in levels]
    return np.searchsorted(curve.fp, np.array(limit, np.int64), side="right") - 1


def _steps(curve: RocCounts) -> list[slice]:
    """Parts of a curve, each beginning with the last point of the one before."""
    last = len(curve.tp) - 1
    return [slice(i, min(i + STEP, last) + 1) for i in range(0, max(last, 1), STEP)]
