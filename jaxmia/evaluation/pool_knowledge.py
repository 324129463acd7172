"""What knowing the pool is worth: the attacks' figures for an attacker who has other data only."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia import metrics
from jaxmia.attacks import ATTACKS, attack_every_model
from jaxmia.attacks.infinite import finite
from jaxmia.attacks.references import LeaveOut
from jaxmia.evaluation import figures
from jaxmia.evaluation.figures import LEVELS
from jaxmia.evaluation.finite_pool import (
    Sides,
    data_share,
    fresh_signals,
    inflation,
    sampling_fraction,
)
from jaxmia.metrics import Ranked, rank
from jaxmia.types import Array, Signals

NUMBERS = 1 << 20  # of phi' that all attacks are made on; the strongest alone on as many more
DRAWS = 4  # of an estimate's noise, whose scores are pooled, where there are so few numbers
ALLOWED = {"phi", "population", "y"}  # signals that fresh data are signals for


def without_pool(
    signals: Signals,
    member: Bool[Array, "M N"],
    attacks: Mapping[str, dict[str, Any]],
    leaves: LeaveOut,
    again: Float[Array, "K N Q"] | None = None,
    person: Int[np.ndarray, " N"] | None = None,
) -> dict[str, Any] | None:
    """The summary's `finite_pool`: the share of the data in phi's variance, corrected figures.

    `attacks` are the summary's, of the same models, each attacked in turn; `again` is phi of models
    trained once more on the sets of the first ones. Without it all variance is taken as due to the
    data, which bounds the correction. Of many signals only the strongest attack is made, on evenly
    spaced examples. Intervals draw persons where records belong to some. None for models that are
    no samples of one pool, or where nothing on phi was scored.
    """
    fraction = sampling_fraction(member)
    names = _on_phi(attacks)
    if fraction is None or not names:
        return None
    member, signals = np.asarray(member, bool), replace(signals, phi=np.asarray(signals.phi))
    share = None if again is None else _share(signals.phi, again, member)
    rho = inflation(share or Sides(1.0, 1.0), fraction)
    numbers = np.size(signals.phi)
    if numbers > NUMBERS:
        names = names[:1]
    step = -(-numbers // (4 * NUMBERS))
    draws = 1 if share is None else max(1, min(DRAWS, NUMBERS // numbers))
    some, truth = signals.examples(slice(None, None, step)), member[:, ::step]
    whose = None if person is None else person[::step]
    ranked = _ranked(some, truth, names, leaves, rho, draws)
    out: dict[str, Any] = {
        "fraction": fraction,
        "repeat_sets": 0 if again is None else len(again),
        "kind": "bound" if share is None else "estimate",
        "f_in": None if share is None else share.inside,
        "f_out": None if share is None else share.outside,
        "rho_in": rho.inside,
        "rho_out": rho.outside,
        "examples": truth.shape[1],
        "draws": draws,
        "attacks": {name: _figures(of, share is not None, whose) for name, of in ranked.items()},
    }
    return out | {"states": _sentence(out, names[0], attacks[names[0]])}


def _on_phi(attacks: Mapping[str, dict[str, Any]]) -> list[str]:
    """The attacks that look at nothing but phi and train nothing, the strongest first."""
    scored = [
        name
        for name, of in attacks.items()
        if name in ATTACKS
        and ALLOWED.issuperset(ATTACKS[name].needs)
        and not ATTACKS[name].trains
        and of["auc"] is not None
    ]
    return sorted(scored, key=lambda name: -attacks[name]["tpr_at_fpr"]["0.001"])


def _share(phi: np.ndarray, again: Array, member: np.ndarray) -> Sides | None:
    """f on both sides; None where a side has no two sets."""
    first, second = finite(phi[: len(again)], again)
    share = data_share(first, second, member[: len(again)])
    return None if np.isnan(share).any() else share


def _ranked(
    signals: Signals,
    member: np.ndarray,
    names: list[str],
    leaves: LeaveOut,
    rho: Sides,
    draws: int,
) -> dict[str, Ranked]:
    """The scores of phi', those of all draws of the noise as further targets."""
    phi, around = np.asarray(signals.phi), signals.population
    if around is None:
        (phi,) = finite(phi)
    else:
        phi, around = finite(phi, around)
    signals = replace(signals, phi=phi, population=around)
    scores: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for seed in range(draws):
        fresh = fresh_signals(signals, member, rho, seed)
        for name, score in attack_every_model(fresh, member, names, leaves).items():
            scores[name].append(score)
    truth = np.concatenate([member] * draws)
    return {name: rank(np.concatenate(parts), truth) for name, parts in scores.items()}


def _figures(ranked: Ranked, intervals: bool, person: np.ndarray | None) -> dict[str, Any]:
    """An attack's figures; those of an estimate with intervals over examples, or persons."""
    if not ranked.curve.both:
        return figures.nothing()
    out = figures.tree(figures.values_of(ranked.curve))
    if intervals:
        spans = metrics.bootstrap_of(ranked, list(LEVELS.values()), person=person)
        ends = (spans.auc, spans.balanced_accuracy, *spans.tpr_at_fpr)
        out["intervals"] = figures.tree(np.asarray(pair).tolist() for pair in ends)
    return out


def _sentence(pool: dict[str, Any], name: str, attack: dict[str, Any]) -> str:
    """The strongest attack with the pool and without it, in words."""
    with_pool = attack["tpr_at_fpr"]["0.001"]
    without = pool["attacks"][name]["tpr_at_fpr"]
    if without is None:
        return ""
    words = f"{name[:80]} at 0.1 % FPR finds {with_pool:.2%} for an attacker who holds the pool"
    if pool["kind"] == "bound":
        return (
            f"{words}; for one who has other data of the same distribution, down to "
            f"{without['0.001']:.2%} (if the other records made all of the variance; "
            "--repeat-sets measures it)"
        )
    return (
        f"{words}, {without['0.001']:.2%} for one who has other data of the same distribution "
        f"(of the variance {pool['f_in']:.0%} with the example and {pool['f_out']:.0%} without it "
        f"is due to the other records, by {pool['repeat_sets']} sets trained twice)"
    )
