"""Whom each attack stands for: what the attacker sees of the target, and what it knows besides."""

from typing import NamedTuple

BLACK, WHITE, STATISTICS = "black-box", "white-box", "released statistics"


class Attacker(NamedTuple):
    """`access`: black-box (asks the model), white-box (has its parameters), or in other words."""

    access: str
    sees: str
    knows: str


LABEL = "the predicted label"
CHANCE = "the probability of the true label"
ALL = "the probabilities of all labels"
RECORD = "the record and its label"
OUT = f"{RECORD}; models trained the same way without the record"
BOTH = f"{RECORD}; models trained the same way with and without the record"
POPULATION = "; records that nobody was trained on"
PARAMETERS = "the parameters, and with them gradients and activations"
ALONG = "the model at several points of its training"
UPDATES = "the server's parameters and the client's update in every round"
FEDERATIONS = f"{RECORD}; federations of other draws of the data"
FREQUENCIES = "the pool's allele frequencies"
GENOTYPE = "the genotype; the population's frequencies"

ATTACKERS = {
    "correctness": Attacker(BLACK, LABEL, RECORD),
    "global_threshold": Attacker(BLACK, CHANCE, RECORD),
    "class_threshold": Attacker(BLACK, CHANCE, BOTH),
    "label_only": Attacker(BLACK, f"{LABEL} of changed copies of the record", RECORD),
    "quantile_regression": Attacker(BLACK, CHANCE, f"{RECORD}{POPULATION}"),
    "instance_threshold": Attacker(BLACK, CHANCE, OUT),
    "attack_r": Attacker(BLACK, CHANCE, OUT),
    "shadow_classifier": Attacker(BLACK, ALL, BOTH),
    "base": Attacker(BLACK, CHANCE, BOTH),
    "bavaria": Attacker(BLACK, CHANCE, BOTH),
    "rmia_online": Attacker(BLACK, CHANCE, f"{BOTH}{POPULATION}"),
    "rmia_offline": Attacker(BLACK, CHANCE, f"{OUT}{POPULATION}"),
    "lira_online": Attacker(BLACK, CHANCE, BOTH),
    "lira_offline": Attacker(BLACK, CHANCE, OUT),
    "gradient_norm": Attacker(WHITE, PARAMETERS, RECORD),
    "gradient_norm_instance_threshold": Attacker(WHITE, PARAMETERS, OUT),
    "gradient_norm_attack_r": Attacker(WHITE, PARAMETERS, OUT),
    "gradient_norm_lira_online": Attacker(WHITE, PARAMETERS, BOTH),
    "gradient_norm_lira_offline": Attacker(WHITE, PARAMETERS, OUT),
    "gradient_norm_layers_lira_online": Attacker(WHITE, PARAMETERS, BOTH),
    "joint_lira_online": Attacker(WHITE, PARAMETERS, BOTH),
    "trajectory_lira_online": Attacker(WHITE, ALONG, BOTH),
    "loss_trajectory": Attacker(WHITE, ALONG, BOTH),
    "cosine": Attacker(WHITE, UPDATES, RECORD),
    "gradient_difference": Attacker(WHITE, UPDATES, RECORD),
    "cosine_lira_online": Attacker(WHITE, UPDATES, FEDERATIONS),
    "gradient_difference_lira_online": Attacker(WHITE, UPDATES, FEDERATIONS),
    "homer": Attacker(STATISTICS, FREQUENCIES, GENOTYPE),
    "likelihood_ratio": Attacker(STATISTICS, FREQUENCIES, GENOTYPE),
    "activations": Attacker(WHITE, PARAMETERS, BOTH),
    "gradients": Attacker(WHITE, PARAMETERS, BOTH),
}


def attacker_of(name: str) -> Attacker:
    """The attacker of an attack or of its variant, whose name begins with the attack's."""
    known = [k for k in ATTACKERS if name == k or name.startswith(f"{k}_")]
    if not known:
        return Attacker("not stated", "its own signals", "what its author says")
    return ATTACKERS[max(known, key=len)]
