"""What holding the parameters adds: each white-box attack less its black-box twin."""

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

NAMES = {
    "gradient_norm": "gradient norm below a threshold",
    "activations": "network on the last activations",
    "gradients": "network on logits, layers' norms, activations, Nasr et al. 2019",
    "loss_trajectory": "network on the loss along the training",
    "gradient_norm_instance_threshold": "difficulty calibration of the log-norm",
    "gradient_norm_attack_r": "attack R on the log-norm",
    "gradient_norm_lira_offline": "LiRA offline on the log-norm",
    "gradient_norm_lira_online": "LiRA online on the log-norm",
    "gradient_norm_layers_lira_online": "LiRA online on the log-norms of all layers",
    "trajectory_lira_online": "LiRA online on φ along the training",
    "joint_lira_online": "joint LiRA, φ and every layer's log-norm",
}


def _rows() -> dict[str, Row]:
    return {r["attack"]: r for r in rows.read("whitebox")}


def table() -> str:
    """A line for each white-box attack and its twin."""
    heads = (
        "white-box",
        "TPR at 0.1 % FPR",
        "black-box twin",
        "TPR",
        "more, in points",
        "AUC more",
    )
    own, body = _rows(), []
    for name, row in own.items():
        if "twin" not in row:
            continue
        twin, more = own[row["twin"]], row["more_tpr_0.001"]
        low, high = (f"{v:+.3f}".replace("-", "−") for v in row["more_auc_interval"])
        body.append((
            NAMES[name], _rate(row), f"`{row['twin']}`", _rate(twin),
            words.points(more["found"], more["interval"]),
            f"{row['more_auc']:+.3f} [{low}, {high}]".replace("+-", "−").replace("-0", "−0"),
        ))  # fmt: skip
    return words.table(heads, body)


def _rate(row: Row) -> str:
    return words.percent(row["tpr_0.001"]["found"])


def about() -> str:
    """How much the table rests on."""
    row = next(iter(_rows().values()))
    return (
        f"{row['models']} models; n = {words.count(row['members'])} member and "
        f"{words.count(row['non_members'])} non-member scores; paired 95 % intervals of "
        f"{row['draws']} draws of the {words.count(row['examples'])} examples. "
        f"{words.measured([row])}"
    )


def claims() -> str:
    """How many of the differences are established, and of which sign."""
    more = [r["more_tpr_0.001"] for r in _rows().values() if "twin" in r]
    higher = sum(m["interval"][0] > 0 for m in more)
    lower = sum(m["interval"][1] < 0 for m in more)
    subject = "These attacks find nothing more" if not higher else f"{higher} of them find more"
    return (
        f"{subject} than their twins at 0.1 % FPR: of {len(more)} differences {higher} lie "
        f"above zero "
        f"and {lower} below. An attack that finds *less* with more in hand wastes what it "
        f"has; so the "
        "table shows what these attacks do, not that parameters cannot help."
    )


PARTS = {"table": table, "about": about, "claims": claims}
