"""The figures of a run, as `summary.json` holds them (docs/summary.md has every field)."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia import metrics, thresholds
from jaxmia.attacks.attacker import attacker_of
from jaxmia.report import states

SCHEMA = 3
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
    attacked = about.get("attacked", f"each of {models} models in turn, the others as references")
    found = {
        name: _attack(score, member) | _calibrated(name, score, member, shadows)
        for name, score in scores.items()
    }
    for name, figures in found.items():
        figures["attacker"] = attacker_of(name)._asdict()
        figures["states"] = states.of_attack(name, figures, attacked)
    return {
        "schema": SCHEMA,
        "models": models,
        "examples": examples,
        "queries": queries,
        "attacked": attacked,
        "attacks": found,
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
    return out | {
        "auc": pooled.auc,
        "balanced_accuracy": pooled.balanced_accuracy,
        "advantage": 2 * pooled.balanced_accuracy - 1,
        "tpr_at_fpr": _levels(pooled.tpr_at_fpr),
        "targets": _targets(score, member, levels),
        "prior": members / (members + others),
        "resolution": 1 / others,
        "intervals": _intervals(score, member, pooled, members, others),
        "notes": [n for v in levels if "positives" not in (n := metrics.in_words(v, others))],
    }


def _levels(values: np.ndarray) -> dict[str, float]:
    return {k: float(v) for k, v in zip(LEVELS, values, strict=True)}


def _intervals(
    score: np.ndarray, member: np.ndarray, pooled: metrics.Figures, members: int, others: int
) -> dict[str, Any]:
    """By a bootstrap over examples; where its threshold would hang on few, at a fixed threshold."""
    levels = list(LEVELS.values())
    drawn = metrics.bootstrap(score, member, levels)
    hits = np.rint(pooled.tpr_at_fpr * members)
    fixed = np.stack(metrics.clopper_pearson(hits, members), 1)
    alarms = np.array([metrics.allowed(v, others) for v in levels])
    steady = ((alarms >= metrics.FEW) & (hits > 0)).tolist()
    rates = np.where(np.array(steady)[:, None], drawn.tpr_at_fpr, fixed)
    kinds = ("clopper_pearson", "bca")
    return {
        "confidence": 0.95,
        "auc": drawn.auc.tolist(),
        "balanced_accuracy": drawn.balanced_accuracy.tolist(),
        "tpr_at_fpr": dict(zip(LEVELS, rates.tolist(), strict=True)),
        "kind": {
            "auc": "bca",
            "balanced_accuracy": "bca",
            "tpr_at_fpr": {k: kinds[s] for k, s in zip(LEVELS, steady, strict=True)},
        },
        "independent": {
            "auc": list(metrics.auc_interval(score, member)),
            "tpr_at_fpr": dict(zip(LEVELS, fixed.tolist(), strict=True)),
        },
    }


def _targets(score: np.ndarray, member: np.ndarray, levels: list[float]) -> dict[str, Any] | None:
    """Mean and standard deviation over the targets that have both members and non-members."""
    each = metrics.figures_per_target(score, member, levels)
    seen = ~np.isnan(each.auc)
    if not seen.any():
        return None
    rows = np.column_stack([each.auc, each.balanced_accuracy, each.tpr_at_fpr])[seen]
    pairs = [list(p) for p in zip(rows.mean(0).tolist(), rows.std(0).tolist(), strict=True)]
    return {
        "count": int(seen.sum()),
        "auc": pairs[0],
        "balanced_accuracy": pairs[1],
        "tpr_at_fpr": dict(zip(LEVELS, pairs[2:], strict=True)),
    }
