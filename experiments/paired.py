"""Attacks held against each other on the same draws of examples.

Two attacks on the same models err on the same examples, so that the difference between them is
known better than either figure. An example is drawn with all its targets, for both attacks alike.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxmia import metrics

LEVELS = (1e-2, 1e-3, 1e-5)
DRAWS = 400


def resampled(
    score: np.ndarray, member: np.ndarray, weight: np.ndarray, levels: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """AUC `[D]` and TPR at each level `[D, L]` of the pooled scores, examples weighted."""
    at = np.argsort(-score, axis=None)
    at = at[~np.isnan(score.reshape(-1)[at])]
    example, truth = at % score.shape[1], member.reshape(-1)[at]
    last_of_tie = np.append(np.diff(score.reshape(-1)[at]) != 0, True)
    aucs, rates = [], []
    for row in weight:
        w = row[example]
        true, false = np.cumsum(w * truth)[last_of_tie], np.cumsum(w * ~truth)[last_of_tie]
        tpr, fpr = np.append(0.0, true / true[-1]), np.append(0.0, false / false[-1])
        aucs.append(np.trapezoid(tpr, fpr))
        allowed = np.multiply(levels, 1 + 1e-12)  # the last cumulated sum may be an ulp off
        rates.append(tpr[np.searchsorted(fpr, allowed, side="right") - 1])
    return np.array(aucs), np.array(rates)


def weights(examples: int, draws: int, seed: int = 0) -> np.ndarray:
    """How often each of so many, examples or people, is in each draw `[D, N]`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(examples, np.full(examples, 1 / examples), draws).astype(np.float64)


def ends(values: np.ndarray) -> list[float]:
    """The 95 % percentile interval of draws."""
    return [float(v) for v in np.quantile(values, [0.025, 0.975])]


def of_people(
    scores: dict[str, np.ndarray], member: np.ndarray, person: np.ndarray
) -> dict[str, dict[str, list[float]]]:
    """By attack and level: the 95 % ends of the TPR on records, where persons are drawn."""
    weight = by_person(person)
    out = {}
    for name, score in scores.items():
        _, rates = resampled(score, member, weight, LEVELS)
        out[name] = {f"{level:g}": ends(r) for level, r in zip(LEVELS, rates.T, strict=True)}
    return out


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
    _, most = resampled(scores[best], member, weight, LEVELS)
    rates = np.asarray(metrics.tpr_at_fpr(scores[best], member, LEVELS))
    out: dict[str, dict[str, Any]] = {}
    for name, score in scores.items():
        if name == best:
            continue
        _, other = resampled(score, member, weight, LEVELS)
        own = np.asarray(metrics.tpr_at_fpr(score, member, LEVELS))
        out[name] = {}
        for i, level in enumerate(LEVELS):
            row = {"less": float(rates[i] - own[i]), "interval": ends(most[:, i] - other[:, i])}
            if (other[:, i] > 0).all():
                ratio = most[:, i] / other[:, i]
                row |= {"times": float(rates[i] / own[i]), "times_interval": ends(ratio)}
            out[name][f"{level:g}"] = row
    return out
