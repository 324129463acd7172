"""The figures of a run, as `summary.json` holds them (docs/summary.md has every field)."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxmia import metrics

SCHEMA = 1
LEVELS = {"0.01": 1e-2, "0.001": 1e-3, "0.00001": 1e-5}


def summarise(
    scores: dict[str, Float[np.ndarray, "T N"]],
    member: Bool[np.ndarray, "T N"],
    *,
    queries: int,
    about: dict[str, Any],
) -> dict[str, Any]:
    """All figures of all attacks: those of the pooled scores, and over targets.

    `about` is what the caller knows besides: accuracies, device, how the run was made.
    """
    models, examples = member.shape
    return {
        "schema": SCHEMA,
        "models": models,
        "examples": examples,
        "queries": queries,
        "attacks": {name: _attack(score, member) for name, score in scores.items()},
        **about,
    }


def _attack(score: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    scored = ~np.isnan(score)
    members, others = int(member[scored].sum()), int((~member[scored]).sum())
    out: dict[str, Any] = {
        "members": members,
        "non_members": others,
        "not_scorable": int((~scored).sum()),
    }
    if not (members and others):
        return out | {"auc": None, "balanced_accuracy": None, "tpr_at_fpr": None, "targets": None}
    levels = list(LEVELS.values())
    pooled = metrics.figures(score, member, levels)
    out |= {
        "auc": pooled.auc,
        "balanced_accuracy": pooled.balanced_accuracy,
        "tpr_at_fpr": _levels(pooled.tpr_at_fpr),
        "targets": _targets(score, member, levels),
        "resolution": 1 / others,
        "notes": _notes(others),
    }
    low, high = metrics.clopper_pearson(np.rint(pooled.tpr_at_fpr * members), members)
    out["intervals"] = {
        "kind": "95 %, AUC by DeLong, TPR by Clopper-Pearson at a fixed threshold; estimates: "
        "pooled targets share their examples",
        "auc": list(metrics.auc_interval(score, member)),
        "tpr_at_fpr": {k: [float(a), float(b)] for k, a, b in zip(LEVELS, low, high, strict=True)},
    }
    return out


def _levels(values: np.ndarray) -> dict[str, float]:
    return {k: float(v) for k, v in zip(LEVELS, values, strict=True)}


def _targets(score: np.ndarray, member: np.ndarray, levels: list[float]) -> dict[str, Any] | None:
    """Mean and standard deviation over the targets that have both members and non-members."""
    rows = []
    for s, m in zip(score, member, strict=True):
        seen = m[~np.isnan(s)]
        if seen.any() and not seen.all():
            found = metrics.figures(s, m, levels)
            rows.append([found.auc, found.balanced_accuracy, *found.tpr_at_fpr])
    if not rows:
        return None
    mean, sd = np.mean(rows, 0).tolist(), np.std(rows, 0).tolist()
    pairs = [list(p) for p in zip(mean, sd, strict=True)]
    return {
        "count": len(rows),
        "auc": pairs[0],
        "balanced_accuracy": pairs[1],
        "tpr_at_fpr": dict(zip(LEVELS, pairs[2:], strict=True)),
    }


def _notes(others: int) -> list[str]:
    return [
        f"{value:.3%} FPR of {others} non-members means no false positive at all"
        for value in LEVELS.values()
        if value * others < 1
    ]
