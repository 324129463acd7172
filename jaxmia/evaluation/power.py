"""Power against cost: what attacks find with 2, 4, 8, ... shadow models, from one run's signals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxmia import metrics
from jaxmia.attacks import ATTACKS, attack_every_model
from jaxmia.attacks.references import LeaveOut
from jaxmia.evaluation import figures
from jaxmia.types import Array, Signals

TARGETS = 64  # that are attacked at each size, where there are so many
ENOUGH = 1 << 24  # numbers that `power` looks at: some seconds of work


def curve(
    signals: Signals,
    member: Bool[Array, "M N"],
    names: Sequence[str],
    leave_out: LeaveOut,
) -> list[dict[str, Any]]:
    """A row for each size: `models`, `references` of a target, `targets`, `examples`, `attacks`.

    The models are cut into groups of that size, partners together; within a group each is attacked
    by the others, and the scores of all groups are pooled. An attack that could score nothing is
    absent.
    """
    rows = []
    for size in _sizes(len(member)):
        scores, truth = attack_in_groups(signals, member, names, leave_out, size, TARGETS)
        rows.append(
            {
                "models": size,
                "references": size - leave_out.some(np.arange(size)).fewer,
                "targets": len(truth),
                "examples": truth.shape[1],
                "attacks": {k: f for k in names if (f := _figures(scores[k], truth))},
            }
        )
    return rows


def attack_in_groups(
    signals: Signals,
    member: Bool[Array, "M N"],
    names: Sequence[str],
    leave_out: LeaveOut,
    size: int,
    targets: int,
) -> tuple[dict[str, Float[np.ndarray, "T N"]], Bool[np.ndarray, "T N"]]:
    """Scores by attack, and the membership, of targets whose references are `size` models less.

    The models are cut into groups of that size, partners together, at most so many as have the
    targets, but one at least; in each every model is attacked by the others.
    """
    member = np.asarray(member, bool)
    order = np.argsort(leave_out.groups, kind="stable")
    groups = [order[i : i + size] for i in range(0, len(order) - size + 1, size)]
    groups = groups[: max(1, targets // size)]
    parts = [
        attack_every_model(signals.models(at), member[at], names, leave_out.some(at))
        for at in groups
    ]
    truth = np.concatenate([member[at] for at in groups])
    return {k: np.concatenate([p[k] for p in parts]) for k in names}, truth


def power(
    signals: Signals,
    member: Bool[Array, "M N"],
    names: Sequence[str],
    leave_out: LeaveOut,
) -> list[dict[str, Any]]:
    """The `curve` that every run's report shows: of the attacks that train nothing.

    From evenly spaced examples where all of them would take long (`examples` says how many).
    """
    quick = [n for n in names if not ATTACKS[n].trains]
    phi = np.asarray(signals.phi)
    step = max(1, -(-phi.size // ENOUGH))
    fewer = signals.examples(slice(None, None, step))
    return curve(fewer, np.asarray(member)[:, ::step], quick, leave_out) if quick else []


def _sizes(models: int) -> list[int]:
    """Powers of two, and all."""
    return sorted({2**i for i in range(1, models.bit_length())} | {models})


def _figures(score: np.ndarray, truth: np.ndarray) -> dict[str, Any] | None:
    scored = truth[~np.isnan(score)]
    if not scored.any() or scored.all():
        return None
    return figures.tree(figures.values_of(metrics.roc_counts(score, truth)))
