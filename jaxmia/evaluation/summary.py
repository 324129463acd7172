"""The figures of a run, as `summary.json` holds them (docs/summary.md has every field)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from jaxmia import metrics, privacy
from jaxmia.attacks import ATTACKS
from jaxmia.attacks import people as persons
from jaxmia.attacks.attacker import UNKNOWN
from jaxmia.evaluation import (
    exposure,
    figures,
    no_false_alarm,
    own_fpr,
    posteriors,
    shadow_thresholds,
)
from jaxmia.evaluation.adversary import Adversary, adversary
from jaxmia.evaluation.exposure import Exposure
from jaxmia.evaluation.figures import LEVELS
from jaxmia.evaluation.intervals import intervals, trials
from jaxmia.evaluation.own_fpr import CountsByExample
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.shadow_thresholds import PRIORS
from jaxmia.evaluation.unknown import reasons
from jaxmia.metrics import Ranked, RocCounts
from jaxmia.types import Attack

SCHEMA = 4
Stage = Callable[[str], AbstractContextManager]  # says that something takes a while


def summarise(
    ranked: Mapping[str, Ranked],
    member: Bool[np.ndarray, "T N"],
    *,
    queries: int,
    about: dict[str, Any],
    shadows: Shadows | None = None,
    person: Int[np.ndarray, " N"] | None = None,
    relation: str | None = None,
    attacks: Mapping[str, Attack] = ATTACKS,
    own: Mapping[str, CountsByExample] | None = None,
    own_nan: Callable[[str], Bool[np.ndarray, "T N"]] | None = None,
    stage: Stage = nullcontext,
) -> dict[str, Any]:
    """All figures of all attacks: those of the pooled scores, and over targets.

    `about` is what the caller knows besides: accuracies, device, how the run was made. With
    `shadows` there are also the rates that thresholds fitted on them really reach, and calibrated
    posteriors; with `person` the figures of persons; `relation` is that of the membership design.
    `attacks` are those whose names are known, `own` what becomes of their p-values, `own_nan(name)`
    says which of the targets' own signals an attack lacks, `stage` names what takes a while.
    """
    models, examples = member.shape
    design = str(about.get("experiment", {}).get("design", ""))
    references = None if shadows is None else shadows.references
    who = adversary(member, person, design, references)
    with stage("measuring p-values") if own else nullcontext():
        of_own = own_fpr.measured(own or {}, person)
    attacked = about.get("attacked", in_turn(models))
    results = {}
    for name, of in ranked.items():
        with stage(f"measuring {name}"):
            results[name] = measured(of, person) | shadow_thresholds.of_attack(name, of, shadows)
            if own_nan is not None and results[name]["not_scorable"]:
                results[name] |= reasons(of.score, own_nan(name)).in_summary()
            if results[name]["auc"] is not None:
                results[name]["leak"] = leak(of.curve, relation)
                if name in attacks and attacks[name].log_ratio:
                    results[name] |= posteriors.of_attack(name, of, shadows, person)
            results[name]["attacker"] = attacker(name, attacks)
            results[name] |= own_fpr.of_attack(results[name], of_own.get(name))
            results[name]["concentration"] = _concentration(of)
            results[name]["states"] = statements(name, results[name], attacked, who)
    people = {}
    if person is not None:
        with stage("measuring persons"):
            people["people"] = _people(ranked, member, shadows, person, attacked, attacks, who)
    return {
        "schema": SCHEMA,
        "models": models,
        "examples": examples,
        "queries": queries,
        "attacked": attacked,
        "adversary": {**who._asdict(), "states": who.sentence()},
        "attacks": results,
        **people,
        **about,
    }


def in_turn(models: int) -> str:
    """What of a run is attacked, in words."""
    return f"each of {models} models in turn, the others as references"


def _people(
    ranked: Mapping[str, Ranked],
    member: np.ndarray,
    shadows: Shadows | None,
    person: np.ndarray,
    attacked: str,
    attacks: Mapping[str, Attack],
    who: Adversary,
) -> dict[str, Any]:
    """The figures where not records are told apart but persons, by all of their records."""
    of_people = persons.people(person)
    inside = persons.member_of_people(member, of_people)
    each = np.arange(len(of_people.ids))
    results = {}
    for name, of in ranked.items():
        ratio = name in attacks and attacks[name].log_ratio
        total = metrics.rank(persons.score_of_people(of.score, of_people, ratio), inside)
        results[name] = measured(total, each)
        if ratio and results[name]["auc"] is not None:
            results[name] |= posteriors.of_people(of, total, shadows, of_people)
        results[name]["combined"] = "sum of log-ratios" if ratio else "mean of scores"
        results[name]["attacker"] = attacker(name, attacks)
        whole = f"{attacked}; persons by all their records"
        results[name]["states"] = statements(name, results[name], whole, who)
    records = np.bincount(of_people.index)
    counts = {
        "least": int(records.min()),
        "mean": float(records.mean()),
        "most": int(records.max()),
    }
    return {"count": len(of_people.ids), "records": counts, "attacks": results}


def attacker(name: str, attacks: Mapping[str, Attack] = ATTACKS) -> dict[str, str]:
    """Whom an attack stands for, as the summary has it."""
    return (attacks[name].attacker if name in attacks else UNKNOWN)._asdict()


def leak(curve: RocCounts, relation: str | None) -> dict[str, Any]:
    """What the pooled scores would show, were they independent trials: no bound."""
    bounds = privacy.leak_of(curve, list(PRIORS.values()))
    return {
        "kind": "estimate: examples of the same models are no independent trials; a lower bound "
        "needs an audit",
        "relation": relation or "not stated",
        "confidence": 0.95,
        "epsilon": bounds.epsilon,
        "mu": bounds.mu,
        "gamma": dict(zip(PRIORS, bounds.gamma.tolist(), strict=True)),
    }


def _concentration(ranked: Ranked) -> dict[str, Any]:
    """By level, how much falls on the examples found in most of their models."""
    if not ranked.curve.both:
        return {}
    cuts = exposure.reach(ranked.curve, list(LEVELS.values())).threshold
    return concentration(exposure.exposures(ranked, cuts))


def concentration(exposed: Sequence[Exposure]) -> dict[str, Any]:
    """The same of what is counted at each of `figures.LEVELS`."""
    levels = zip(LEVELS, exposed, strict=True)
    return {level: exposure.majority(of)._asdict() for level, of in levels}


def measured(ranked: Ranked, person: Int[np.ndarray, " N"] | None) -> dict[str, Any]:
    """The figures of scores, of records or (`person` then counts them) of persons."""
    curve = ranked.curve
    out = counts(curve, ranked.score.size)
    if not curve.both:
        return out | figures.nothing()
    examples = trials(~ranked.member & ~np.isnan(ranked.score), person)
    targets = (figures.values_of(of) for of in ranked.targets() if of.both)
    return out | of_curve(
        curve, targets, examples, intervals(ranked, person), alone=len(ranked.score) == 1
    )


def counts(curve: RocCounts, scores: int) -> dict[str, int]:
    """How many of the scores are members', non-members' and nobody's."""
    members, others = int(curve.tp[-1]), int(curve.fp[-1])
    return {"members": members, "non_members": others, "not_scorable": scores - members - others}


def of_curve(
    curve: RocCounts,
    targets: Iterable[list[float]],
    non_members: int,
    spans: dict[str, Any],
    *,
    alone: bool,
) -> dict[str, Any]:
    """The figures of the pooled scores' ROC, given those of each of the `targets`.

    `non_members` are the examples (or persons) that are some target's, `spans` the intervals,
    `alone` says that there is one target.
    """
    members, others = int(curve.tp[-1]), int(curve.fp[-1])
    values = figures.tree(figures.values_of(curve))
    return {
        **values,
        **no_false_alarm.fields(curve, non_members, alone=alone),
        "advantage": 2 * values["balanced_accuracy"] - 1,
        "targets": figures.over_targets(targets),
        "prior": members / (members + others),
        "resolution": 1 / others,
        "intervals": spans,
        "notes": [
            n for v in LEVELS.values() if "positives" not in (n := metrics.in_words(v, others))
        ],
    }


def statements(
    name: str, fields: dict[str, Any], attacked: str, adversary: Adversary
) -> dict[str, Any]:
    """What each figure of an attack means: a sentence under the figure's own name."""
    if fields["auc"] is None:
        return {}
    spans, who = fields["intervals"], _who(name, fields, attacked, adversary)

    def sentence(figure: figures.Figure) -> str:
        if (at := figure.at(fields)) is None:
            few = f"the non-members are too few for a TPR at {float(figure.level or 0):g} FPR"
            return f"TPR {no_false_alarm.words(fields)}: {few}. {who}"
        value = figure.words.format(figure.text(at))
        if (ends := figure.at(spans)) is None:
            return f"{value}. {who}"
        return f"{value} {_span(ends, spans, figure)}. {who}"

    return figures.tree(map(sentence, figures.FIGURES)) | own_fpr.statements(fields, who)


LIMITS = "thresholds that may have this FPR, of one target"
KINDS = {
    "examples": {
        "bca": "BCa bootstrap over examples",
        "clopper_pearson": "Clopper-Pearson, an example counting once",
        "limits": LIMITS,
    },
    "persons": {
        "bca": "BCa bootstrap over persons",
        "clopper_pearson": "Clopper-Pearson, a person counting once",
        "limits": f"{LIMITS}, a person counting once",
    },
}


def _span(ends: list[float], spans: dict[str, Any], figure: figures.Figure) -> str:
    low, high = (figure.format.format(end) for end in ends)
    kind = KINDS[spans.get("drawn", "examples")][figure.at(spans["kind"])]
    return f"(95 %: {low} to {high}, {kind})"


def _who(name: str, fields: dict[str, Any], attacked: str, adversary: Adversary) -> str:
    a = fields["attacker"]
    short = name if len(name) <= 80 else name[:79] + "…"
    return (
        f"Attacked: {attacked}. Attacker: {short}, {a['access']}; "
        f"sees {a['sees']}; has {a['knows']}; {adversary.sentence('models' in a['knows'])}. "
        f"n = {fields['members']} member and {fields['non_members']} non-member scores (prior "
        f"{fields['prior']:.3f}). An estimate: it is what this attack found, no limit to others."
    )
