"""The figures of several draws: their mean and deviation."""

from typing import Any

import numpy as np

from jaxmia import metrics

LEVELS = (1e-2, 1e-3)


def performance(score: np.ndarray, member: np.ndarray) -> list[float]:
    """AUC, and TPR at each level, of pooled scores."""
    whole = metrics.figures(score, member, LEVELS)
    return [whole.auc, *whole.tpr_at_fpr.tolist()]


def over_draws(several: list[list[float]]) -> dict[str, Any]:
    """Mean and standard deviation over draws."""
    mean, deviation = np.mean(several, 0), np.std(several, 0)
    return {
        "auc": float(mean[0]),
        "tpr_at_fpr": {f"{level:g}": float(r) for level, r in zip(LEVELS, mean[1:], strict=True)},
        "deviation": deviation.tolist(),
    }
