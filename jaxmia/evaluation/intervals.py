"""The 95 % intervals of an attack's figures, once for every FPR that anything shows."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from jaxmia import metrics
from jaxmia.evaluation import figures
from jaxmia.evaluation.exposure import LEVELS, level_key, stated
from jaxmia.metrics import Ranked, RocCounts

FPRS = (*LEVELS, 0.2, 0.5)  # of the slider, and beyond it for the bands of a ROC


def intervals(ranked: Ranked, person: Int[np.ndarray, " N"] | None = None) -> dict[str, Any]:
    """What `summary.json` has as `intervals`, of scores with members and non-members.

    Where records belong to persons, persons are drawn and count, each with all records.
    """
    scored, alone = ~np.isnan(ranked.score), len(ranked.score) == 1
    sides = [trials(scored & side, person) for side in (ranked.member, ~ranked.member)]
    spans = metrics.bootstrap_of(ranked, FPRS, person=person)
    out = of_curve(ranked.curve, spans, sides[0], sides[1], alone=alone)
    return out if person is None else out | {"drawn": "persons"}


def of_curve(
    curve: RocCounts, spans: metrics.Intervals, members: int, others: int, *, alone: bool
) -> dict[str, Any]:
    """The same, given the bootstrap's ends at `FPRS`.

    `members` and `others` are the examples, or persons, that have scores as such; `alone` says that
    there is one target.
    """
    rates, kinds = _rates(curve, spans.tpr_at_fpr, members, others, alone)
    pairs = zip(FPRS, rates.tolist(), kinds, strict=True)
    by_fpr = {level_key(fpr): (ends if kind else None, kind) for fpr, ends, kind in pairs}
    fixed = metrics.figures_of(curve, list(figures.LEVELS.values())).tpr_at_fpr
    hits = np.rint(fixed * int(curve.tp[-1]))
    independent = np.stack(metrics.clopper_pearson(hits, int(curve.tp[-1])), 1)
    return {
        "confidence": 0.95,
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
            "auc": list(metrics.auc_interval_of(curve)),
            "tpr_at_fpr": dict(zip(figures.LEVELS, independent.tolist(), strict=True)),
        },
    }


def trials(scored: Bool[np.ndarray, "T N"], person: Int[np.ndarray, " N"] | None = None) -> int:
    """Of how many examples some target has such a score; of how many persons, if there are any."""
    some = scored.any(0)
    return int(some.sum()) if person is None else len(np.unique(np.asarray(person)[some]))


def _rates(
    curve: RocCounts, pooled: np.ndarray, members: int, others: int, alone: bool
) -> tuple[np.ndarray, list[str | None]]:
    """The ends of the TPR at each of `FPRS`, and their kinds; none where no FPR is that small."""
    if alone:
        ends = metrics.tpr_limits(curve, FPRS, trials=(members, others))
        return ends, [None if np.isnan(low) else "limits" for low in ends[:, 0]]
    hits = curve.tp[metrics.at_fpr(curve, FPRS)]
    ends, kinds = pooled.copy(), []
    for row, hit, fpr in zip(ends, hits.tolist(), FPRS, strict=True):
        if hit in (0, curve.tp[-1]):  # no draw of the examples can be any different
            row[:] = metrics.clopper_pearson(members if hit else 0, members)
        sure = stated(fpr, int(curve.fp[-1]), alone=False)
        kinds.append(("clopper_pearson" if hit in (0, curve.tp[-1]) else "bca") if sure else None)
    return ends, kinds
