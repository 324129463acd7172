"""The whole ladder of attacks on the same 128 digit models: who finds how many members.

    python -m experiments.ladder
    jaxmia score --run checkpoints/ladder --curve --out ladder_curve      (power against cost)

The models of `experiments.digits`, whose logits and 48 noised copies of every example are kept for
the attacks that want them. `--data FILE.npz` takes it to other data.
"""

from dataclasses import replace

from experiments import digits
from jaxmia import augment, cli

experiment = replace(
    digits.experiment,
    name="ladder",
    copies=augment.noised(0.1, 0.2, 0.3, copies=16),
    attacks=(
        "correctness",
        "global_threshold",
        "class_threshold",
        "label_only",
        "quantile_regression",
        "shadow_classifier",
        "shadow_classifier_top3",
        "instance_threshold",
        "attack_r",
        "base",
        "rmia_offline",
        "rmia_offline_gamma_1",
        "rmia_online",
        "rmia_online_gamma_1",
        "lira_offline",
        "lira_offline_imputed",
        "proxy_global",
        "proxy_class",
        "proxy_instance",
        "lira_online_per_example_variance",
        "lira_online",
    ),
)

if __name__ == "__main__":
    cli(experiment)
