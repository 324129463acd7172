"""Attacks held against each other on the same draws of examples.

Two attacks on the same models err on the same examples, so that the difference between them is
known better than either figure. An example is drawn with all its targets, for both attacks alike.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmia import metrics

LEVELS = (1e-2, 1e-3, 1e-5)
DRAWS = 400


def resampled(
    score: np.ndarray, member: np.ndarray, weight: np.ndarray, levels: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """AUC `[D]` and TPR at each level `[D, L]` of the pooled scores, examples weighted."""
    order = _ordered(score, member)
    aucs = [np.trapezoid(*_curve(order, row)) for row in weight]
    return np.array(aucs), rates(score, member, weight, levels)


def rates(
    score: np.ndarray, member: np.ndarray, weight: np.ndarray, levels: Sequence[float]
) -> np.ndarray:
    """TPR at each level `[D, L]` alone, from the highest scores, as far as a draw needs them."""
    order = _ordered(score, member)
    false = np.cumsum(~order.truth)
    enough = np.searchsorted(false, 4 * max(levels) * false[-1] + 100)
    ties = np.flatnonzero(order.last_of_tie)
    at = slice(0, ties[min(np.searchsorted(ties, enough), len(ties) - 1)] + 1)
    highest = _Order(*(part[at] for part in order))
    scored = ~np.isnan(score)
    totals = (weight @ (scored & member).sum(0), weight @ (scored & ~member).sum(0))
    out = []
    for row, true, others in zip(weight, *totals, strict=True):
        tpr, fpr = _curve(highest, row, true, others)
        if fpr[-1] <= max(levels):  # this draw has few non-members among the highest
            tpr, fpr = _curve(order, row)
        allowed = np.multiply(levels, 1 + 1e-12)  # the last cumulated sum may be an ulp off
        out.append(tpr[np.searchsorted(fpr, allowed, side="right") - 1])
    return np.array(out)


class _Order(NamedTuple):
    """Scores from the highest on: whose they are, whether of members, where a tie ends."""

    example: np.ndarray
    truth: np.ndarray
    last_of_tie: np.ndarray


def _ordered(score: np.ndarray, member: np.ndarray) -> _Order:
    at = np.argsort(-score, axis=None)
    at = at[~np.isnan(score.reshape(-1)[at])]
    last = np.append(np.diff(score.reshape(-1)[at]) != 0, True)
    return _Order(at % score.shape[1], member.reshape(-1)[at], last)


def _curve(
    order: _Order, weight: np.ndarray, true: float = 0.0, false: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """TPR and FPR of one draw; the totals are those of all scores, or of these where they are 0."""
    w = weight[order.example]
    above = np.cumsum(w * order.truth)[order.last_of_tie]
    beside = np.cumsum(w * ~order.truth)[order.last_of_tie]
    tpr, fpr = above / (true or above[-1]), beside / (false or beside[-1])
    return np.append(0.0, tpr), np.append(0.0, fpr)


def weights(examples: int, draws: int, seed: int = 0) -> np.ndarray:
    """How often each of so many, examples or people, is in each draw `[D, N]`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(examples, np.full(examples, 1 / examples), draws).astype(np.float64)


def ends(values: np.ndarray) -> list[float]:
    """The 95 % percentile interval of draws."""
    return [float(v) for v in np.quantile(values, [0.025, 0.975])]


def by_person(person: np.ndarray) -> np.ndarray:
    """How often each record is in each draw of as many persons `[D, N]`."""
    ids, whose = np.unique(person, return_inverse=True)
    return weights(len(ids), DRAWS)[:, whose]


def below(
    scores: dict[str, np.ndarray], member: np.ndarray, best: str, person: np.ndarray | None = None
) -> dict[str, dict[str, Any]]:
    """By attack and level: how much less than `best` it finds, in shares and as a ratio.

    Both with 95 % ends; there is no ratio where a draw of the other attack finds nobody. Where
    records belong to persons, persons are drawn.
    """
    weight = by_person(np.arange(member.shape[1]) if person is None else person)
    most = rates(scores[best], member, weight, LEVELS)
    of_best = np.asarray(metrics.tpr_at_fpr(scores[best], member, LEVELS))
    out: dict[str, dict[str, Any]] = {}
    for name, score in scores.items():
        if name == best:
            continue
        other = rates(score, member, weight, LEVELS)
        own = np.asarray(metrics.tpr_at_fpr(score, member, LEVELS))
        out[name] = {}
        for i, level in enumerate(LEVELS):
            row = {"less": float(of_best[i] - own[i]), "interval": ends(most[:, i] - other[:, i])}
            if (other[:, i] > 0).all():
                ratio = most[:, i] / other[:, i]
                row |= {"times": float(of_best[i] / own[i]), "times_interval": ends(ratio)}
            out[name][f"{level:g}"] = row
    return out
