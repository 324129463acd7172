"""CMIA, the cascading attack (Du et al. 2026): shadow models trained anew around sure guesses.

Every round trains shadow models in which the anchors, examples whose membership of the target is
taken for known, are as they are taken to be in the target; scores all examples by the shadow models
of all rounds; and makes anchors of the surest. So it attacks one target at a time, by an attacker
who may train for it. Any attack of the ladder may score; that of the paper is LiRA online.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks import ATTACKS, attack_targets
from jaxmia.attacks.anchors import FREE, Rule, Thresholds, chosen_anchors, thresholds
from jaxmia.attacks.references import leave_out
from jaxmia.types import SIGNALS, Signals


class Shadows(NamedTuple):
    """The shadow models of one round: their signals, and whom each was trained on."""

    signals: Signals
    member: Bool[np.ndarray, "M N"]


class Round(NamedTuple):
    """What a round came to.

    `anchor` says for each example what it was in this round's shadow models: `anchors.OUT` or `IN`
    in all of them, or `FREE`; `score` is the target's, by all `models` shadow models so far.
    """

    anchor: Int[np.ndarray, " N"]
    score: Float[np.ndarray, " N"]
    models: int


# the shadow models of a round, by its number (from 1) and its anchors; dear
Train = Callable[[int, Int[np.ndarray, " N"]], Shadows]


def cascade(
    target: Signals,
    train: Train,
    rounds: int = 3,
    references: int = 1,
    attack: str = "lira_online",
    rule: Rule | None = None,
) -> Iterator[Round]:
    """The rounds of an attack on one target, as they come; the last one's score is the attack's.

    `train(number, anchor)` gives the shadow models of a round. Its last `references` models say
    what is sure: each is scored as if it were the target, by all other models but its partner. The
    cascade ends before `rounds` where nothing is sure enough. An anchor's own score rests on the
    rounds before it became one, on one side at least; what cannot be scored is NaN. Raises
    `ValueError` for numbers that are out of range, for an attack that is none or lacks a signal,
    and for balanced columns, where leaving out a reference model would tell its members.
    """
    rule = rule or Rule()
    check(rounds, references, attack, rule)
    anchor = np.full(np.shape(target.phi)[0], FREE)
    every: list[Shadows] = []
    for number in range(1, rounds + 1):
        every.append(_as_asked(target, train(number, anchor)))
        _check_round(every[-1], references)
        pool = together(every)
        score = score_of(target, pool, attack)
        yield Round(anchor, score, len(pool.member))
        if number < rounds:
            sure = _thresholds(every[-1], pool, anchor, references, attack, rule)
            more = chosen_anchors(score, anchor, sure, rule)
            if (more == FREE).all():
                return
            anchor = np.where(anchor == FREE, more, anchor)


def check(rounds: int, references: int, attack: str, rule: Rule) -> None:
    """Raises `ValueError` for settings that no cascade can have."""
    if rounds < 1:
        raise ValueError(f"cascade: rounds={rounds} must be 1 or more")
    if references < 1:
        raise ValueError(f"cascade: references={references} must be 1 or more")
    if attack not in ATTACKS:
        raise ValueError(f"cascade: attack={attack[:80]!r} is not one of {', '.join(ATTACKS)}")
    rule.check()


def _check_round(shadows: Shadows, references: int) -> None:
    models = len(shadows.member)
    if references > models - 3:
        raise ValueError(
            f"cascade: references={references} leaves too few of a round's {models} shadow models: "
            "each is scored by the others without its partner"
        )
    if leave_out(shadows.member).kind == "opposite":
        raise ValueError("cascade: not for designs with balanced columns")


def _as_asked(target: Signals, shadows: Shadows) -> Shadows:
    """Without a population that the target was not asked about: scores are then of one kind."""
    if target.population is not None:
        return shadows
    return shadows._replace(signals=replace(shadows.signals, population=None))


def score_of(target: Signals, shadows: Shadows, attack: str) -> Float[np.ndarray, " N"]:
    """The target's score by these shadow models."""
    return attack_targets([target], shadows.signals, shadows.member, [attack])[attack][0]


def _thresholds(
    last: Shadows,
    pool: Shadows,
    anchor: Int[np.ndarray, " N"],
    references: int,
    attack: str,
    rule: Rule,
) -> list[Thresholds]:
    """Those of each reference model of the last round, by all others but its partner."""
    models, before = len(last.member), len(pool.member) - len(last.member)
    excluded = leave_out(last.member).excluded
    out = []
    for reference in range(models - references, models):
        away = before + excluded[reference][excluded[reference] >= 0]
        others = np.setdiff1d(np.arange(len(pool.member)), away)
        shadows = Shadows(pool.signals.models(others), pool.member[others])
        score = score_of(last.signals.models(reference), shadows, attack)
        out.append(
            thresholds(np.where(anchor == FREE, score, np.nan), last.member[reference], rule)
        )
    return out


def together(every: list[Shadows]) -> Shadows:
    """The models of several rounds, one after the other."""
    out: dict[str, Any] = {}
    for name, signal in SIGNALS.items():
        parts = [getattr(shadows.signals, name) for shadows in every]
        if "M" in signal.axes and all(p is not None for p in parts):
            out[name] = np.concatenate([np.asarray(p) for p in parts])
        elif "M" not in signal.axes:
            out[name] = parts[0]
    return Shadows(Signals(**out), np.concatenate([shadows.member for shadows in every]))
