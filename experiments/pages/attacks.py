"""What attacks are called on pages, and what they need."""

NAMES = {
    "correctness": "correctness (gap)",
    "global_threshold": "global threshold, Yeom et al. 2018",
    "class_threshold": "class thresholds, Song & Mittal 2021",
    "label_only": "label only, 48 noised copies, Choquette-Choo et al. 2021",
    "label_only_lira": "label-only LiRA",
    "quantile_regression": "quantile regression, Bertran et al. 2023",
    "shadow_classifier": "attack networks, Shokri et al. 2017",
    "shadow_classifier_top3": "one network on the top 3, Salem et al. 2019",
    "instance_threshold": "difficulty calibration, Watson et al. 2022",
    "attack_r": "attack R, Ye et al. 2022",
    "base": "BASE, arXiv 2505.24089",
    "rmia_offline": "RMIA offline (γ = 2), Zarifzadeh et al. 2024",
    "rmia_offline_gamma_1": "RMIA offline (γ = 1)",
    "rmia_online": "RMIA online (γ = 2)",
    "rmia_online_gamma_1": "RMIA online (γ = 1)",
    "lira_offline": "LiRA offline, Carlini et al. 2022",
    "lira_offline_imputed": "LiRA offline with the IN law imputed",
    "proxy_global": "all other records as proxies, Du et al. 2026",
    "proxy_class": "proxies of the same label, Du et al. 2026",
    "proxy_instance": "the nearest proxy, Du et al. 2026",
    "lira_offline_student_t": "LiRA offline (Student-t)",
    "lira_offline_global_variance": "LiRA offline (one variance)",
    "lira_online_per_example_variance": "LiRA online, variance per example (the paper's)",
    "lira_online_global_variance": "LiRA online (one variance)",
    "lira_online": "LiRA online, Student-t (the default; BaVarIA)",
}
NEEDS = {
    "correctness": "nothing",
    "global_threshold": "nothing",
    "class_threshold": "shadows",
    "label_only": "labels",
    "label_only_lira": "labels, shadows",
    "quantile_regression": "unseen examples",
    "shadow_classifier": "shadows' logits",
    "shadow_classifier_top3": "shadows' logits",
    "instance_threshold": "OUT shadows",
    "attack_r": "OUT shadows",
    "base": "shadows",
    "rmia_offline": "OUT shadows, unseen examples",
    "rmia_offline_gamma_1": "OUT shadows, unseen examples",
    "rmia_online": "shadows, unseen examples",
    "rmia_online_gamma_1": "shadows, unseen examples",
    "lira_offline": "OUT shadows",
    "lira_offline_imputed": "OUT shadows",
    "proxy_global": "OUT shadows",
    "proxy_class": "OUT shadows",
    "proxy_instance": "OUT shadows, features",
    "lira_online_per_example_variance": "shadows",
    "lira_online_global_variance": "shadows",
    "lira_online": "shadows",
}


def name(attack: str) -> str:
    """An attack as a page calls it, with its source."""
    return NAMES.get(attack, f"`{attack}`")


def short(attack: str) -> str:
    """The same without the source."""
    return name(attack).split(",")[0]
