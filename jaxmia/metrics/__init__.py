"""How well scores tell members from non-members, and how sure that is."""

from jaxmia.metrics.bootstrap import KINDS, Intervals, bootstrap, bootstrap_per_target
from jaxmia.metrics.intervals import auc_interval, clopper_pearson
from jaxmia.metrics.roc import (
    FEW,
    Counted,
    Figures,
    Roc,
    advantage,
    allowed,
    auc,
    balanced_accuracy,
    counted,
    figures,
    figures_of,
    in_words,
    precision,
    resolution,
    roc,
    scorable,
    threshold_at_fpr,
    tpr_at_fpr,
)
from jaxmia.metrics.targets import TargetFigures, figures_per_target

__all__ = [
    "FEW",
    "Counted",
    "KINDS",
    "Figures",
    "Intervals",
    "Roc",
    "TargetFigures",
    "advantage",
    "allowed",
    "auc",
    "auc_interval",
    "balanced_accuracy",
    "bootstrap",
    "bootstrap_per_target",
    "clopper_pearson",
    "counted",
    "figures",
    "figures_of",
    "figures_per_target",
    "in_words",
    "precision",
    "resolution",
    "roc",
    "scorable",
    "threshold_at_fpr",
    "tpr_at_fpr",
]
