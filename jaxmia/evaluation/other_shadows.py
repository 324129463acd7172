"""What attacks find whose shadow models are trained on other data than the targets are.

The run's models are the targets, as everywhere else; the references are the models that were
trained on the records of `Experiment.shadow_data`, and asked about the targets' pool. None of them
was trained on a record in question, so that attacks which want such models can score nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from jaxmia import metrics
from jaxmia.attacks import ATTACKS, attack_targets
from jaxmia.evaluation import figures
from jaxmia.evaluation.summary import measured
from jaxmia.metrics import Ranked, rank
from jaxmia.types import SIGNALS, Array, Signals

NUMBERS = 1 << 32  # of the references that all targets together are held against: minutes
TRAINS = "trains networks for each target"
OWN = "needs models that were trained on the records asked about"


def by_other_shadows(
    signals: Signals,
    matched: Mapping[str, Ranked],
    references: Signals,
    member: Bool[Array, "R L"],
    about: Mapping[str, Any],
    person: Int[np.ndarray, " N"] | None = None,
) -> dict[str, Any] | None:
    """The summary's `shadow_data`: what is found by other references, and how much less.

    `signals` are those of the run's own models, `matched` their scores by each other; `references`
    and their `member` are of the pool with the other records behind it, `about` is what the caller
    knows of these. A `loss` is the matched figure less the one here, of the same targets, with the
    percentile interval over draws of examples, or persons. Of many signals only the first models
    are attacked. None where no attack has shadow models.
    """
    names = [name for name in matched if "models" in ATTACKS[name].attacker.knows]
    if not names:
        return None
    able = [name for name in names if not ATTACKS[name].trains]
    without = {name: TRAINS for name in names if name not in able}
    models, examples = np.shape(signals.phi)[:2]
    count = int(np.clip(NUMBERS // np.size(references.phi), 1, models))
    targets = [beside(signals.models(t), references) for t in range(count)]
    scores = attack_targets(targets, references, member, able) if able else {}
    attacks = {}
    for name, score in scores.items():
        own = matched[name]
        one = rank(score[:, :examples], own.member[:count])
        if one.curve.both:
            attacks[name] = _figures(one, rank(own.score[:count], one.member), person)
        else:
            without[name] = OWN
    out = {
        **about,
        "records": np.shape(member)[1] - examples,
        "models": len(member),
        "targets": count,
        "attacks": attacks,
        "without": without,
    }
    return out | {"states": _sentence(out)}


def beside(target: Signals, references: Signals) -> Signals:
    """A target's signals with NaN for the records behind its pool: what it says there counts not.

    Labels and features are those of the references.
    """
    more = len(np.asarray(references.y)) - len(np.asarray(target.phi))
    out: dict[str, Any] = {"y": references.y, "features": references.features}
    for name, signal in SIGNALS.items():
        value = getattr(target, name)
        if value is not None and signal.axes.startswith("MN"):
            value = np.asarray(value)
            nothing = np.full((more, *value.shape[1:]), np.nan, value.dtype)
            out[name] = np.concatenate([value, nothing])
    return replace(target, **out)


def _figures(ranked: Ranked, matched: Ranked, person: np.ndarray | None) -> dict[str, Any]:
    """An attack's figures as those of the run itself, and what it loses."""
    out = measured(ranked, person)
    was = figures.values_of(matched.curve)
    spans = metrics.difference(matched, ranked, list(figures.LEVELS.values()), person=person)
    ends = (spans.auc, spans.balanced_accuracy, *spans.tpr_at_fpr)
    now = [figure.at(out) for figure in figures.FIGURES]
    less = [None if value is None else own - value for own, value in zip(was, now, strict=True)]
    both = zip(less, ends, strict=True)
    intervals = [None if value is None else pair.tolist() for value, pair in both]
    loss = figures.tree(less) | {"intervals": figures.tree(intervals)}
    return out | {"matched": figures.tree(was), "loss": loss}


def _sentence(of: dict[str, Any]) -> str:
    """What the strongest attack finds, and which can say nothing."""
    who = f"by {of['models']} shadow models of other data ({of['records']:,} records)"
    without = [name for name, why in of["without"].items() if why == OWN]
    lacking = f"; {', '.join(without)[:200]}: nothing, without models of the records asked about"
    lacking = lacking if without else ""
    rated = {n: a for n, a in of["attacks"].items() if a["tpr_at_fpr"]["0.001"] is not None}
    if not rated:
        return f"{who}: no rate at 0.1 % FPR{lacking}"
    name = max(rated, key=lambda n: rated[n]["tpr_at_fpr"]["0.001"])
    one = rated[name]
    return (
        f"{who} {name[:80]} finds {one['tpr_at_fpr']['0.001']:.2%} at 0.1 % FPR, by those of the "
        f"same records {one['matched']['tpr_at_fpr']['0.001']:.2%}{lacking}"
    )
