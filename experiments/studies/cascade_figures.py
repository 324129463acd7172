"""Figures of a cascade and of LiRA with as many models, with and without the anchors' records."""

from typing import Any, NamedTuple

import numpy as np

from experiments import paired
from jaxmia import metrics
from jaxmia.attacks.anchors import FREE

LEVELS = (1e-2, 1e-3)


class Attacked(NamedTuple):
    """Scores `[T, N]` of all targets, and their anchors in the last round, if any."""

    attack: np.ndarray
    baseline: np.ndarray
    member: np.ndarray
    anchor: np.ndarray
    models: list[int]


def figures_of(of: Attacked, draws: int) -> list[dict[str, Any]]:
    """A row for attack and baseline on all records, and on those that are no anchors."""
    out = []
    for records, at in (("all", np.full(of.anchor.shape, True)), ("no anchors", of.anchor == FREE)):
        score, baseline = (np.where(at, s, np.nan) for s in (of.attack, of.baseline))
        unlike = np.isnan(score) != np.isnan(baseline)  # neither is given what the other lacks
        score, baseline = (np.where(unlike, np.nan, s) for s in (score, baseline))
        same = {"records": records, "models": of.models}
        out.append(
            {"case": "attack"} | same | figures(score, of.member, draws)
            | {"more": more(score, baseline, of.member, draws)}
        )  # fmt: skip
        out.append({"case": "baseline"} | same | figures(baseline, of.member, draws))
    return out


def figures(score: np.ndarray, member: np.ndarray, draws: int) -> dict[str, Any]:
    """Pooled over targets, with intervals; and the AUC of each target."""
    weight = paired.weights(member.shape[1], draws)
    auc, tpr = paired.resampled(score, member, weight, LEVELS)
    rates = np.asarray(metrics.tpr_at_fpr(score, member, LEVELS))
    return {
        "targets": len(score), "examples": member.shape[1],
        "scores": int(np.isfinite(score).sum()),
        "auc": metrics.auc(score, member), "auc_interval": paired.ends(auc),
        "auc_of_targets": metrics.figures_per_target(score, member, LEVELS).auc.tolist(),
        "tpr": {
            f"{level:g}": {"value": float(v), "interval": paired.ends(draw)}
            for level, v, draw in zip(LEVELS, rates, tpr.T, strict=True)
        },
    }  # fmt: skip


def more(score: np.ndarray, baseline: np.ndarray, member: np.ndarray, draws: int) -> dict[str, Any]:
    """What the attack has over the baseline, on the same draws."""
    weight = paired.weights(member.shape[1], draws)
    (auc, tpr), (less, fewer) = (
        paired.resampled(s, member, weight, LEVELS) for s in (score, baseline)
    )
    gain = metrics.auc(score, member) - metrics.auc(baseline, member)
    rates, base = (np.asarray(metrics.tpr_at_fpr(s, member, LEVELS)) for s in (score, baseline))
    return {
        "auc": {"value": float(gain), "interval": paired.ends(auc - less)},
        "tpr": {
            f"{level:g}": {"value": float(v), "interval": paired.ends(draw)}
            for level, v, draw in zip(LEVELS, rates - base, (tpr - fewer).T, strict=True)
        },
    }
