"""What an attacker reaches who fits thresholds on shadow models alone."""

from typing import Any

import numpy as np

from jaxmia import metrics
from jaxmia.evaluation.figures import LEVELS
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.metrics import Ranked, thresholds

PRIORS = {"0.01": 0.01, "0.1": 0.1, "0.5": 0.5}


def of_attack(name: str, ranked: Ranked, shadows: Shadows | None) -> dict[str, Any]:
    """The rates that thresholds really give which were fitted on the other models' scores.

    Where every example is IN equally many models, those that stay would tell on which side the
    target is: one of the other side leaves with it, on each example another.
    """
    if shadows is None:
        return {}
    excluded, beside = shadows.excluded(len(ranked.score)), shadows.beside(name)
    on, of = shadows.ranked[name], (ranked.score, ranked.member)
    best = thresholds.rates_at(*of, thresholds.best_of(on, excluded, beside))
    by_level = {}
    cuts = thresholds.at_fpr_of(on, excluded, list(LEVELS.values()), beside)
    for level, cut in zip(LEVELS, cuts, strict=True):
        rates = thresholds.rates_at(*of, cut)
        precision = {k: metrics.precision(*rates, prior) for k, prior in PRIORS.items()}
        by_level[level] = _without_nan({**rates._asdict(), "precision": _without_nan(precision)})
    return _without_nan(
        {
            "balanced_accuracy_shadow_threshold": (best.tpr + 1 - best.fpr) / 2,
            "at_shadow_threshold": by_level,
        }
    )


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON holds it: what is not a number is None."""
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in values.items()}
