"""The ladder of attacks, by name: arrays in, a score for each example out, higher means member."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.attacks import lira, rmia, shadow_classifier, threshold
from jaxmia.attacks.attack_r import ATTACK_R
from jaxmia.attacks.class_threshold import CLASS_THRESHOLD
from jaxmia.attacks.gradient_norm import GRADIENT_NORM, TRAJECTORY_LIRA
from jaxmia.attacks.imputation import LIRA_OFFLINE_IMPUTED
from jaxmia.attacks.infinite import as_answers, finite_signals
from jaxmia.attacks.instance_threshold import INSTANCE_THRESHOLD, INSTANCE_THRESHOLD_PHI
from jaxmia.attacks.joint import JOINT_LIRA
from jaxmia.attacks.label_only_lira import LABEL_ONLY_LIRA
from jaxmia.attacks.proxies import PROXY_CLASS, PROXY_GLOBAL, PROXY_INSTANCE
from jaxmia.attacks.references import LeaveOut, leave_out
from jaxmia.attacks.white_box import ACTIVATIONS, GRADIENTS, LOSS_TRAJECTORY
from jaxmia.types import SIGNALS, Array, Attack, Signals

_LADDER: dict[str, Attack] = {
    "correctness": threshold.CORRECTNESS,
    "global_threshold": threshold.GLOBAL_THRESHOLD,
    "class_threshold": CLASS_THRESHOLD,
    "instance_threshold": INSTANCE_THRESHOLD,
    "instance_threshold_phi": INSTANCE_THRESHOLD_PHI,
    "label_only": threshold.LABEL_ONLY,
    "label_only_lira": LABEL_ONLY_LIRA,
    "quantile_regression": threshold.QUANTILE_REGRESSION,
    "attack_r": ATTACK_R,
    "shadow_classifier": shadow_classifier.attack(),
    "shadow_classifier_top3": shadow_classifier.attack(top=3),
    "base": rmia.BASE,
    "bavaria": lira.attack("online", "student_t")._replace(paper="cf. arXiv 2603.11799"),
    "rmia_online": rmia.attack("online"),
    "rmia_offline": rmia.attack("offline"),
    "rmia_online_gamma_1": rmia.attack("online", gamma=1.0),
    "rmia_offline_gamma_1": rmia.attack("offline", gamma=1.0),
    "lira_online": lira.attack("online"),
    "lira_offline": lira.attack("offline"),
    "lira_offline_imputed": LIRA_OFFLINE_IMPUTED,
    "proxy_global": PROXY_GLOBAL,
    "proxy_class": PROXY_CLASS,
    "proxy_instance": PROXY_INSTANCE,
    "lira_online_per_example_variance": lira.attack("online", "per_example"),
    "lira_offline_per_example_variance": lira.attack("offline", "per_example"),
    "lira_online_global_variance": lira.attack("online", "global"),
    "lira_offline_global_variance": lira.attack("offline", "global"),
    "lira_online_student_t": lira.attack("online", "student_t"),
    "lira_offline_student_t": lira.attack("offline", "student_t"),
    **GRADIENT_NORM,
    "joint_lira_online": JOINT_LIRA,
    "activations": ACTIVATIONS,
    "gradients": GRADIENTS,
    "trajectory_lira_online": TRAJECTORY_LIRA,
    "loss_trajectory": LOSS_TRAJECTORY,
}
ATTACKS: dict[str, Attack] = {name: as_answers(attack) for name, attack in _LADDER.items()}


def needed(names: Sequence[str]) -> set[str]:
    """The signals that a run takes of its models for these attacks, beyond the usual ones."""
    return {n for name in names for n in ATTACKS[name].needs if SIGNALS[n].when == "asked"}


def select(names: Sequence[str], signals: Signals) -> dict[str, Attack]:
    """The attacks asked for.

    Raises `ValueError` for an unknown name, or for an attack whose signal is not there.
    """
    for name in names:
        if name not in ATTACKS:
            raise ValueError(f"attacks: {name[:80]!r} is not one of {', '.join(sorted(ATTACKS))}")
        if lacking := ATTACKS[name].missing(signals):
            raise ValueError(f"attacks: {name} needs {lacking}")
    return {name: ATTACKS[name] for name in names}


def attack_every_model(
    signals: Signals,
    member: Bool[Array, "M N"],
    names: Sequence[str],
    leaves: LeaveOut | None = None,
) -> dict[str, Float[np.ndarray, "M N"]]:
    """Scores with every model as the target in turn, the others as its references.

    `leaves` says who is no reference of a target; by default what the membership shows.
    """
    leaves = leave_out(member) if leaves is None else leaves
    return {
        name: attack.leave_one_out(signals, member, leaves)
        for name, attack in select(names, signals).items()
    }


def attack_targets(
    targets: Sequence[Signals],
    reference: Signals,
    member: Bool[Array, "R N"],
    names: Sequence[str],
) -> dict[str, Float[np.ndarray, "T N"]]:
    """Scores of given targets, by references that are other models.

    What is infinite is taken as one and the same for all targets.
    """
    attacks = select(names, targets[0])
    *targets, reference = finite_signals([*targets, reference])
    return {
        name: np.stack([attack.score(target, reference, member) for target in targets])
        for name, attack in attacks.items()
    }


def attack_by_others(
    targets: Signals,
    reference: Signals,
    member: Bool[Array, "M N"],
    names: Sequence[str],
    leaves: LeaveOut | None = None,
) -> dict[str, Float[np.ndarray, "M N"]]:
    """Scores of one run's models by another's, where model m of both has the members `member[m]`.

    So it is where a defended target is attacked by undefended shadow models. As if the runs were
    one, model m of the references and its partner are left out, since their members tell those of
    the target. Raises `ValueError` for balanced columns, where a reference leaves by example.
    """
    leaves = leave_out(member) if leaves is None else leaves
    if leaves.kind == "opposite":
        raise ValueError("attack_by_others: not for designs with balanced columns")
    member = np.asarray(member, bool)
    targets, reference = finite_signals([targets, reference])
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for target, leaving in enumerate(leaves.excluded):
        references = np.setdiff1d(np.arange(len(member)), leaving)
        one, others = targets.models(target), reference.models(references)
        for name, attack in select(names, one).items():
            rows[name].append(attack.score(one, others, member[references]))
    return {name: np.stack(scores) for name, scores in rows.items()}
