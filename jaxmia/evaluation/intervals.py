"""The 95 % intervals of an attack's figures, once for every FPR that anything shows."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from jaxmia import metrics
from jaxmia.evaluation import figures
from jaxmia.evaluation.exposure import LEVELS, level_key, stated
from jaxmia.metrics import Ranked

FPRS = (*LEVELS, 0.2, 0.5)  # of the slider, and beyond it for the bands of a ROC


def intervals(ranked: Ranked, person: Int[np.ndarray, " N"] | None = None) -> dict[str, Any]:
    """What `summary.json` has as `intervals`, of scores with members and non-members.

    Where records belong to persons, persons are drawn and count, each with all records.
    """
    spans = metrics.bootstrap_of(ranked, FPRS, person=person)
    rates, kinds = _rates(ranked, spans.tpr_at_fpr, person)
    pairs = zip(FPRS, rates.tolist(), kinds, strict=True)
    by_fpr = {level_key(fpr): (ends if kind else None, kind) for fpr, ends, kind in pairs}
    fixed = metrics.figures_of(ranked.curve, list(figures.LEVELS.values())).tpr_at_fpr
    members = int(ranked.curve.tp[-1])
    alone = np.stack(metrics.clopper_pearson(np.rint(fixed * members), members), 1)
    return {
        "confidence": 0.95,
        **({} if person is None else {"drawn": "persons"}),
        "auc": spans.auc.tolist(),
        "balanced_accuracy": spans.balanced_accuracy.tolist(),
        "tpr_at_fpr": {level: by_fpr[level][0] for level in figures.LEVELS},
        "by_fpr": {level: ends for level, (ends, _) in by_fpr.items()},
        "kind": {
            "auc": "bca",
            "balanced_accuracy": "bca",
            "tpr_at_fpr": {level: by_fpr[level][1] for level in figures.LEVELS},
            "by_fpr": {level: kind for level, (_, kind) in by_fpr.items()},
        },
        "independent": {
            "auc": list(metrics.auc_interval_of(ranked.curve)),
            "tpr_at_fpr": dict(zip(figures.LEVELS, alone.tolist(), strict=True)),
        },
    }


def trials(scored: Bool[np.ndarray, "T N"], person: Int[np.ndarray, " N"] | None = None) -> int:
    """Of how many examples some target has such a score; of how many persons, if there are any."""
    some = scored.any(0)
    return int(some.sum()) if person is None else len(np.unique(np.asarray(person)[some]))


def _rates(
    ranked: Ranked, pooled: np.ndarray, person: Int[np.ndarray, " N"] | None
) -> tuple[np.ndarray, list[str | None]]:
    """The ends of the TPR at each of `FPRS`, and their kinds; none where no FPR is that small."""
    curve, scored = ranked.curve, ~np.isnan(ranked.score)
    count = trials(scored & ranked.member, person)
    if len(ranked.score) == 1:
        both = count, trials(scored & ~ranked.member, person)
        ends = metrics.tpr_limits(curve, FPRS, trials=both)
        return ends, [None if np.isnan(low) else "limits" for low in ends[:, 0]]
    hits = curve.tp[metrics.at_fpr(curve, FPRS)]
    ends, kinds = pooled.copy(), []
    for row, hit, fpr in zip(ends, hits.tolist(), FPRS, strict=True):
        if hit in (0, curve.tp[-1]):  # no draw of the examples can be any different
            row[:] = metrics.clopper_pearson(count if hit else 0, count)
        sure = stated(fpr, int(curve.fp[-1]), alone=False)
        kinds.append(("clopper_pearson" if hit in (0, curve.tp[-1]) else "bca") if sure else None)
    return ends, kinds
