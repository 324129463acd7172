"""The ladder's attacks on other signals than phi: gradient norms, and phi along the training.

A model has fitted what it was trained on, so the gradient of a member's loss is short. The score is
the negative log-norm (Nasr et al. 2019, section V; Ye et al. 2022); held against shadow models as
phi is, it is LiRA, attack R or difficulty calibration on log-norms. With every layer's norm as a
query, or phi after every so many epochs as one, the log-ratios are averaged as over views.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.attacks import lira
from jaxmia.attacks.attack_r import ATTACK_R
from jaxmia.attacks.attacker import ALONG, PARAMETERS, WHITE
from jaxmia.attacks.instance_threshold import INSTANCE_THRESHOLD_PHI
from jaxmia.attacks.references import LeaveOut
from jaxmia.attacks.threshold import GLOBAL_THRESHOLD
from jaxmia.types import Array, Attack, Attacker, Signals

Pick = Callable[[Signals], Float[np.ndarray, "*M N Q"]]


def whole(signals: Signals) -> Float[np.ndarray, "*M N 1"]:
    """The negative log-norm of the whole gradient."""
    return -np.asarray(signals.gradient)[..., :1]


def by_layer(signals: Signals) -> Float[np.ndarray, "*M N L"]:
    """Those of the layers; of the whole where layers were not told apart."""
    norms = -np.asarray(signals.gradient)
    return norms[..., 1:] if norms.shape[-1] > 1 else norms


def along(signals: Signals) -> Float[np.ndarray, "*M N E"]:
    """phi after some of the epochs."""
    return np.asarray(signals.trajectory)


def on_signal(attack: Attack, pick: Pick, name: str, sees: str = PARAMETERS) -> Attack:
    """An attack on phi, given another signal in its place."""

    def instead(signals: Signals) -> Signals:
        return Signals(phi=pick(signals), y=signals.y)

    def on_target(target: Signals, reference: Signals, member: Bool[Array, "R N"]):
        return attack.score(instead(target), instead(reference), member)

    def on_all(signals: Signals, member: Bool[Array, "M N"], leave_out: LeaveOut):
        return attack.leave_one_out(instead(signals), member, leave_out)

    attacker = Attacker(WHITE, sees, attack.attacker.knows)
    paper = f"{attack.paper}; Nasr et al. 2019" if name == "gradient" else attack.paper
    return attack._replace(
        score=on_target,
        leave_one_out=on_all,
        attacker=attacker,
        needs=(name,),
        panels=None,
        paper=paper,
    )


GRADIENT_NORM: dict[str, Attack] = {
    "gradient_norm": on_signal(GLOBAL_THRESHOLD, whole, "gradient"),
    "gradient_norm_instance_threshold": on_signal(INSTANCE_THRESHOLD_PHI, whole, "gradient"),
    "gradient_norm_attack_r": on_signal(ATTACK_R, whole, "gradient"),
    "gradient_norm_lira_online": on_signal(lira.attack("online"), whole, "gradient"),
    "gradient_norm_lira_offline": on_signal(lira.attack("offline"), whole, "gradient"),
    "gradient_norm_layers_lira_online": on_signal(lira.attack("online"), by_layer, "gradient"),
}
TRAJECTORY_LIRA = on_signal(lira.attack("online"), along, "trajectory", ALONG)
