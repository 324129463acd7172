"""What a figure means, in one sentence: found by whom, of what, at which prior, n and interval."""

from typing import Any


def of_attack(name: str, found: dict[str, Any], attacked: str) -> dict[str, Any]:
    """A sentence for each figure of an attack, under the figure's own name."""
    if found["auc"] is None:
        return {}
    spans, who = found["intervals"], _who(name, found, attacked)
    out: dict[str, Any] = {}
    for key, words in (("auc", "AUC"), ("balanced_accuracy", "best balanced accuracy")):
        span = _span(spans[key], spans["kind"][key], "{:.3f}")
        out[key] = f"{words} {found[key]:.3f} {span}. {who}"
    out["tpr_at_fpr"] = {}
    for level, rate in found["tpr_at_fpr"].items():
        span = _span(spans["tpr_at_fpr"][level], spans["kind"]["tpr_at_fpr"][level], "{:.2%}")
        out["tpr_at_fpr"][level] = f"TPR {rate:.2%} at {float(level):g} FPR {span}. {who}"
    return out


KINDS = {
    "bca": "BCa bootstrap over examples",
    "clopper_pearson": "Clopper-Pearson at a fixed threshold, scores taken as independent",
}


def _span(ends: list[float], kind: str, style: str) -> str:
    low, high = (style.format(end) for end in ends)
    return f"(95 %: {low} to {high}, {KINDS[kind]})"


def _who(name: str, found: dict[str, Any], attacked: str) -> str:
    a = found["attacker"]
    short = name if len(name) <= 80 else name[:79] + "…"
    return (
        f"Attacked: {attacked}. Attacker: {short}, {a['access']}; "
        f"sees {a['sees']}; has {a['knows']}. "
        f"n = {found['members']} member and {found['non_members']} non-member scores (prior "
        f"{found['prior']:.3f}). An estimate: it is what this attack found, no limit to others."
    )
