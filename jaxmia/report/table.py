"""The table of attacks, as the terminal shows it: at most 80 columns."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from jaxmia.evaluation import figures, no_false_alarm, own_fpr
from jaxmia.types import Attack


def table(summary: dict[str, Any]) -> Table:
    """All attacks, pooled and (below) as mean ± standard deviation over targets; TPR in percent.

    Below that, where there are p-values, the TPR if that FPR is every example's own.
    """
    out = Table(box=None, pad_edge=False, show_edge=False)
    out.add_column("attack", overflow="fold", max_width=24)
    for figure in figures.FIGURES:
        out.add_column(figure.short, justify="right", no_wrap=True)
    for name, attack in summary["attacks"].items():
        if attack["auc"] is None:
            out.add_row(escape(name), *["–"] * len(figures.FIGURES))
            continue
        values = [f.text(f.at(attack)).removesuffix("%") for f in figures.FIGURES]
        out.add_row(f"[bold]{escape(name)}[/bold]", *values)
        if (over := attack["targets"]) and over["count"] > 1:
            spread = [_pair(figures.spread(f, attack), f.percent) for f in figures.FIGURES]
            out.add_row(f"  {over['count']} targets", *spread, style="dim")
        if attack.get("tpr_at_own_fpr"):
            out.add_row("  everyone's own FPR", *_own(attack), style="dim")
    return out


def _own(attack: Mapping[str, Any]) -> list[str]:
    """Under each pooled TPR that at the same FPR of every example's own, where p-values hold."""
    values = {
        f.level: f.text(f.at(attack)).removesuffix("%") if own_fpr.hold(attack, f.level) else "–"
        for f in own_fpr.FIGURES
    }
    return [values.get(f.level, "") if f.level else "" for f in figures.FIGURES]


def headlines(summary: dict[str, Any]) -> list[str]:
    """What is said first beneath the table: who the attacker is, and whose the false alarms are."""
    out = []
    if who := summary.get("adversary"):
        out.append(f"attacker: {who['states']}")
    attacks = summary["attacks"]
    name = own_fpr.nearest(attacks)
    if name and not own_fpr.hold(attacks[name]):
        out.append(
            f"no p-values hold here: the best, of {escape(name[:80])}, err on "
            f"{attacks[name]['p_values']['fpr']['0.001']:.2%} of non-members instead of 0.1 %, so "
            "that nothing is said of a false-positive rate of everyone's own"
        )
    elif name:
        of = attacks[name]
        rate = _ends((of.get("intervals") or {}).get("tpr_at_own_fpr"), "95 %: ")
        error = _ends(of["p_values"].get("interval"))
        out.append(
            "if nobody may be accused wrongly more often than once in 1,000: "
            f"TPR {of['tpr_at_own_fpr']['0.001']:.2%}{rate} by the p-values of "
            f"{escape(name[:80])}, which err on {of['p_values']['fpr']['0.001']:.2%}{error}"
        )
    if line := exposed_most(attacks):
        out.append(line)
    return out


def _ends(spans: Mapping[str, list[float]] | None, what: str = "") -> str:
    """An interval at 0.1 %, where there is one: of scores from disk there is none."""
    if spans is None:
        return ""
    low, high = spans["0.001"]
    return f" ({what}{low:.2%} to {high:.2%})"


def exposed_most(attacks: Mapping[str, Any]) -> str:
    """What falls on those who are found in most of their models, by the strongest attack; or ""."""
    rated = {n: a for n, a in attacks.items() if a.get("tpr_at_fpr") and a.get("concentration")}
    if not rated:
        return ""
    name = max(rated, key=lambda n: rated[n]["tpr_at_fpr"]["0.001"] or 0)
    of = rated[name]["concentration"]["0.001"]
    if not of["examples"] or of["own_fpr"] is None:
        return ""
    many = of["examples"]
    who = f"{many:,} example{'s' * (many != 1)}"
    return (
        f"{of['share_of_finds']:.0%} of the finds of {escape(name[:80])} at 0.1 % FPR fall on "
        f"{who} found in more than half of their models; their own FPR is {of['own_fpr']:.2%}"
    )


def _pair(pair: list[float] | None, percent: bool) -> str:
    if pair is None:
        return "–"
    factor, places = (100, 1) if percent else (1, 3)
    return f"{pair[0] * factor:.{places}f}±{pair[1] * factor:.{places}f}"


def remarks(summary: dict[str, Any]) -> list[str]:
    """What belongs under the table: warnings first, then how fine the levels really are."""
    out = [escape(note) for note in summary.get("notes", [])]
    if summary.get("generalization_gap") is not None:
        out.append(
            f"generalization gap {summary['generalization_gap']:.3f} "
            f"(training accuracy {summary['train_accuracy']:.3f}, "
            f"test accuracy {summary['test_accuracy']:.3f})"
        )
    if diverged := summary.get("diverged"):
        out.append(f"left out because training diverged: models {diverged}")
    if retrained := summary.get("retrained"):
        out.append(f"trained again with another key, since they diverged: {list(retrained)}")
    out += _at_shadow_threshold(summary["attacks"])
    if pool := summary.get("finite_pool", {}).get("states"):
        out.append(escape(pool))
    if other := summary.get("shadow_data", {}).get("states"):
        out.append(escape(other))
    if streamed := summary.get("streamed"):
        out.append(escape(streamed))
    for name, attack in summary["attacks"].items():
        if attack["not_scorable"]:
            why = _reasons(attack.get("not_scorable_because") or {})
            count = attack["not_scorable"]
            out.append(f"{escape(name[:80])}: {count} scores cannot be given{why}")
    for name, attack in summary["attacks"].items():
        if None in (attack["tpr_at_fpr"] or {}).values():
            out.append(f"{escape(name[:80])}: TPR {no_false_alarm.words(attack)}")
    out += list(dict.fromkeys(n for a in summary["attacks"].values() for n in a.get("notes", [])))
    return out


REASONS = {
    "diverged": "of models that have diverged",
    "nan": "whose own signal is NaN",
    "references": "with too few references that were trained on the example, or that were not",
}


def _reasons(counts: dict[str, int]) -> str:
    """Why scores cannot be given, each reason with its number."""
    parts = [f"{counts[reason]} {words}" for reason, words in REASONS.items() if reason in counts]
    return ": " + ", ".join(parts) if parts else ""


def _at_shadow_threshold(attacks: dict[str, Any]) -> list[str]:
    """What an attacker really gets, by the attack that finds most at 0.1 % FPR."""
    thresholds = {
        name: attack["at_shadow_threshold"]["0.001"]
        for name, attack in attacks.items()
        if attack.get("at_shadow_threshold") and attack["tpr_at_fpr"]
    }
    if not thresholds:
        return []
    best = max(thresholds, key=lambda name: _strength(attacks[name]))
    at = thresholds[best]
    if at["fpr"] is None or at["precision"]["0.1"] is None:
        return []
    return [
        f"{escape(best[:80])}, threshold set on shadows for 0.1 % FPR: reaches FPR "
        f"{at['fpr']:.2%}, TPR {at['tpr']:.2%}; where 1 in 10 is a member, "
        f"{at['precision']['0.1']:.0%} of those it names are"
    ]


def _strength(attack: dict[str, Any]) -> float:
    rate = attack["tpr_at_fpr"]["0.001"]
    return attack["at_no_false_alarm"]["tpr"] if rate is None else rate


def attacks_table(attacks: Mapping[str, Attack]) -> Table:
    """What attacks there are: by name, what the attacker needs, and the paper."""
    out = Table(box=None, pad_edge=False, show_edge=False)
    for head in ("attack", "the attacker sees", "and has", "paper"):
        out.add_column(head, overflow="fold")
    for name, attack in attacks.items():
        access, sees, knows = attack.attacker
        out.add_row(f"[bold]{escape(name)}[/bold]", f"{access}: {sees}", knows, attack.paper)
    return out
