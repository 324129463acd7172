"""The figures of a run, as `summary.json` holds them (docs/summary.md has every field)."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia import metrics, thresholds

SCHEMA = 2
LEVELS = {"0.01": 1e-2, "0.001": 1e-3, "0.00001": 1e-5}
PRIORS = {"0.01": 0.01, "0.1": 0.1, "0.5": 0.5}


class Shadows(NamedTuple):
    """The scores that thresholds are fitted on, and which of their rows leave with each target."""

    scores: dict[str, Float[np.ndarray, "M N"]]
    member: Bool[np.ndarray, "M N"]
    leaving: Int[np.ndarray, "T L"]


def summarise(
    scores: dict[str, Float[np.ndarray, "T N"]],
    member: Bool[np.ndarray, "T N"],
    *,
    queries: int,
    about: dict[str, Any],
    shadows: Shadows | None = None,
) -> dict[str, Any]:
    """All figures of all attacks: those of the pooled scores, and over targets.

    `about` is what the caller knows besides: accuracies, device, how the run was made. With
    `shadows` there are also the rates that thresholds fitted on them really reach.
    """
    models, examples = member.shape
    return {
        "schema": SCHEMA,
        "models": models,
        "examples": examples,
        "queries": queries,
        "attacks": {
            name: _attack(score, member) | _calibrated(name, score, member, shadows)
            for name, score in scores.items()
        },
        **about,
    }


def _calibrated(
    name: str, score: np.ndarray, member: np.ndarray, shadows: Shadows | None
) -> dict[str, Any]:
    """What an attacker reaches who fits thresholds on shadow models alone."""
    if shadows is None:
        return {}
    on = (shadows.scores[name], shadows.member, shadows.leaving)
    best = thresholds.reached(score, member, thresholds.best(*on))
    found = {}
    cuts = thresholds.at_fpr(*on, list(LEVELS.values()))
    for level, cut in zip(LEVELS, cuts, strict=True):
        rates = thresholds.reached(score, member, cut)
        precision = {k: metrics.precision(*rates, prior) for k, prior in PRIORS.items()}
        found[level] = _told({**rates._asdict(), "precision": _told(precision)})
    return _told(
        {
            "balanced_accuracy_shadow_threshold": (best.tpr + 1 - best.fpr) / 2,
            "at_shadow_threshold": found,
        }
    )


def _told(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON holds it: what is not a number is None."""
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in values.items()}


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
