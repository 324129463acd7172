"""What is found without a single false alarm: the figure of non-members too few for a small FPR."""

from collections.abc import Mapping
from typing import Any

from jaxmia.evaluation import figures
from jaxmia.evaluation.exposure import stated
from jaxmia.metrics import RocCounts, clopper_pearson, tpr_at_fpr_of


def fields(curve: RocCounts, examples: int, alone: bool) -> dict[str, Any]:
    """The TPR at no false alarm among `n` non-member scores of so many examples, for a summary.

    `fpr_at_most` is the upper 95 % limit of the FPR there: Clopper-Pearson's, each example (or
    person) counting once, since its scores may agree. Of one target `alone` there is also
    `tpr_at_fpr`, None at every FPR that its non-members are too few to vouch for.
    """
    others = int(curve.fp[-1])
    rates = {
        level: tpr_at_fpr_of(curve, fpr) if stated(fpr, examples, alone=True) else None
        for level, fpr in figures.LEVELS.items()
    }
    none = {
        "tpr": tpr_at_fpr_of(curve, 0.0),
        "fpr_at_most": float(clopper_pearson(0, examples, confidence=0.9)[1]),
        "n": others,
    }
    return {"at_no_false_alarm": none, **({"tpr_at_fpr": rates} if alone else {})}


def words(attack: Mapping[str, Any]) -> str:
    """The figure of an attack's fields, for people."""
    return f"{attack['at_no_false_alarm']['tpr']:.2%} {where(attack)}"


def where(attack: Mapping[str, Any]) -> str:
    """What stands in for the FPR."""
    none = attack["at_no_false_alarm"]
    return f"at no false alarm among {none['n']} (FPR ≤ {100 * none['fpr_at_most']:.2g} %, 95 %)"
