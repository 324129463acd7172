"""Which attack with how many references: ranks over sets, and what is found in each set."""

import numpy as np

from experiments import ranks, rows
from experiments.benchmarks.attacks.sets import SETS
from experiments.pages import words
from experiments.pages.words import Row
from experiments.ranks import Comparison
from jaxmia.attacks.lira import ENOUGH
from jaxmia.report import svg
from jaxmia.report.chart import Axis, Chart, Dots, Panel, Rule, even

KINDS = ("networks", "trees")
# which are ranked, laid down beforehand: each more makes all differences harder to tell
NAMES = {
    "lira_online_student_t": "LiRA online, Student-t",
    "lira_online_global_variance": "LiRA online, one variance",
    "lira_online_per_example_variance": "LiRA online, own variances",
    "lira_offline_imputed": "LiRA offline, imputed",
    "lira_offline_student_t": "LiRA offline, Student-t",
    "lira_offline_global_variance": "LiRA offline, one variance",
    "base": "BASE",
    "rmia_online": "RMIA online, γ = 2",
    "rmia_online_gamma_1": "RMIA online, γ = 1",
    "attack_r": "attack R",
    "global_threshold": "loss threshold",
}
RANKED = tuple(NAMES)
COLUMNS = ("lira_online", "lira_offline_imputed", "base", "rmia_online_gamma_1", "global_threshold")
HEADS = ("LiRA online", *(NAMES[a] for a in COLUMNS[1:]))
GOOD = "not told apart from the best"
FIGURES = {"tpr": "TPR at 0.1 % FPR", "auc": "AUC"}


def _rows() -> list[Row]:
    return rows.read("attacks")


def by_default(references: int, side: str = "online") -> str:
    """The variant that `lira_online` or `lira_offline` is with so many references."""
    return f"lira_{side}_{'student_t' if references >= ENOUGH else 'global_variance'}"


def value(row: Row, attack: str, figure: str) -> list[float]:
    """A figure with the ends of its interval; 0 of an attack that could score nothing."""
    attack = attack if attack not in ("lira_online", "lira_offline") else by_default(
        row["references"], attack.removeprefix("lira_")
    )  # fmt: skip
    if (own := row["attacks"].get(attack)) is None:
        return [0.0, 0.0, 0.0]
    return own["auc"] if figure == "auc" else own["tpr"]["0.001"]


def _asked_everywhere() -> set[str]:
    """Attacks that every cell was asked for: where one is absent there, it could score nothing."""
    return set.intersection(*(set(row["asked_of"]) for row in _rows()))


def numbers() -> list[int]:
    """The numbers of references that there are."""
    return sorted({row["references"] for row in _rows()})


def comparison(references: int, figure: str, kinds: tuple[str, ...] = KINDS) -> Comparison | None:
    """The ranked attacks over the sets that have all these kinds of model; None of too few."""
    cells = {(r["set"], r["kind"]): r for r in _rows() if r["references"] == references}
    sets = [name for name in SETS if all((name, kind) in cells for kind in kinds)]
    if len(sets) < ranks.LEAST:
        return None
    figures = [
        [[value(cells[name, kind], a, figure)[0] for a in RANKED] for name in sets]
        for kind in kinds
    ]
    return ranks.compared(ranks.together(np.array(figures)))


def table_of(figure: str) -> str:
    """Mean ranks by attack and number of references; in bold those not told apart from the best."""
    own = {n: c for n in numbers() if (c := comparison(n, figure))}
    order = np.argsort(np.mean([c.rank for c in own.values()], axis=0), kind="stable")
    heads = ("attack", *(f"{n} references" for n in own))
    body = []
    for i in order:
        cells = [
            f"**{c.rank[i]:.1f}**" if c.as_good()[i] else f"{c.rank[i]:.1f}" for c in own.values()
        ]
        body.append((NAMES[RANKED[i]], *cells))
    body.append(("critical difference", *(f"{c.difference:.1f}" for c in own.values())))
    body.append(("Friedman's p", *(f"{c.p_value:.2g}" for c in own.values())))
    return words.table(heads, body)


def by_kind() -> str:
    """The three best by mean rank, of networks and of trees alone."""
    heads = ("references", *(f"{kind}, {what}" for what in FIGURES.values() for kind in KINDS))
    body = []
    for n in numbers():
        line = [str(n)]
        for figure in FIGURES:
            for kind in KINDS:
                own = comparison(n, figure, (kind,))
                rank = own.rank if own else np.empty(0)
                best = np.argsort(rank, kind="stable")[:3]
                line.append("; ".join(f"{NAMES[RANKED[i]]} ({rank[i]:.1f})" for i in best))
        body.append(line)
    return words.table(heads, body)


def sets() -> str:
    """What each set is, how its models do, and the command."""
    body = []
    for name in SETS:
        own = {r["kind"]: r for r in _rows() if r["set"] == name}
        if not own:
            continue
        row = next(iter(own.values()))
        people = f", of {words.count(row['people'])} persons" if "people" in row else ""
        rates = [
            f"{own[k]['accuracy']['members']:.3f}, {own[k]['accuracy']['others']:.3f}"
            if k in own else "not run" for k in KINDS
        ]  # fmt: skip
        body.append((name, SETS[name].words, words.count(row["examples"]) + people,
                     str(row["classes"]), *rates))  # fmt: skip
    heads = ("set", "what", "pool", "classes", "networks: accuracy in, out", "trees: in, out")
    return words.table(heads, body)


def about() -> str:
    """Models, targets, scores, machine."""
    lines = _rows()
    targets = {n: sorted({r["targets"] for r in lines if r["references"] == n}) for n in numbers()}
    most = ", ".join(f"{max(t)} with {n}" for n, t in targets.items())
    many = len({(r["set"], r["kind"]) for r in lines})
    row, without = lines[0], [name for name in SETS if all(r["set"] != name for r in lines)]
    newer = sorted({a for r in lines for a in r["asked_of"]} - _asked_everywhere())
    left_out = f"Left out, as not asked of every cell: {', '.join(newer)}. " if newer else ""
    return (
        f"{many} of {2 * len(SETS)} cells, {row['models']} models each; networks 128-128 of "
        f"{row['rounds']} epochs, scikit-learn's histogram boosting of {row['rounds']} rounds. "
        f"Not run yet: {', '.join(without) or 'none'}. "
        f"{left_out}Targets by number of references: {most}. "
        f"{words.measured([{**row, 'command': ''}])}"
    )


def cells() -> str:
    """TPR at 0.1 % FPR by set, kind of model and number of references."""
    body = [
        (r["set"], r["kind"], str(r["references"]),
         *(words.span(v[0], v[1:]) for a in COLUMNS for v in [value(r, a, "tpr")]))
        for r in _rows() if r["references"] in (4, 16, 128)
    ]  # fmt: skip
    return words.table(("set", "models", "references", *HEADS), body)


def claims() -> str:
    """For each number of references which attack ranks first, and where the default stands."""
    body = []
    for n in numbers():
        for figure, what in FIGURES.items():
            if (own := comparison(n, figure)) is None:
                continue
            good, order = own.as_good(), np.argsort(own.rank, kind="stable")
            default = RANKED.index(by_default(n))
            stands = "not told apart" if good[default] else "**finds less**"
            body.append((
                str(n), what, f"{NAMES[RANKED[order[0]]]} ({own.rank[order[0]]:.1f})",
                f"{NAMES[RANKED[default]]} ({own.rank[default]:.1f})",
                "is first" if order[0] == default else stands,
                "; ".join(NAMES[RANKED[i]] for i in order if not good[i]) or "none",
            ))  # fmt: skip
    heads = (
        "references", "by", "first (mean rank)", "`lira_online` by default", "against the first",
        "worse than the first",
    )  # fmt: skip
    return words.table(heads, body)


def verdict() -> str:
    """Which attack with how many references, and what that says of the defaults."""
    out = []
    for figure, what in FIGURES.items():
        own = {n: c for n in numbers() if (c := comparison(n, figure))}
        first: dict[str, list[int]] = {}
        for n, c in own.items():
            first.setdefault(NAMES[RANKED[int(c.rank.argmin())]], []).append(n)
        apart = [n for n, c in own.items() if not c.as_good()[RANKED.index(by_default(n))]]
        order = "; ".join(f"{name} with {_listed(n)}" for name, n in first.items())
        out += [
            f"- By the {what} these rank first: {order} references.",
            f"- By the {what} `lira_online`, as it is by default, is told apart from the first "
            f"with {_listed(apart)} of these numbers.",
            f"- LiRA online with the Student-t ranks ahead of one variance with "
            f"{_ahead(own, 'lira_online_student_t', 'lira_online_global_variance')} (by the "
            f"{what}); the default changes over at {ENOUGH}.",
            f"- Offline, the imputed attack ranks ahead of the Student-t with "
            f"{_ahead(own, 'lira_offline_imputed', 'lira_offline_student_t')} (by the {what}).",
        ]
    return "\n".join(out)


def _listed(many: list[int]) -> str:
    return ", ".join(map(str, many)) or "none"


def _ahead(own: dict[int, Comparison], one: str, other: str) -> str:
    """The numbers of references with which one attack ranks ahead of another, and is told apart."""
    gap = {n: c.rank[RANKED.index(other)] - c.rank[RANKED.index(one)] for n, c in own.items()}
    ahead = _listed([n for n, g in gap.items() if g > 0])
    return f"{ahead}, told apart with {_listed([n for n in own if gap[n] >= own[n].difference])}"


def wins() -> str:
    """In how many cells the default finds more at 0.1 % FPR than each other attack, and less."""
    others = ("lira_online_global_variance", "lira_online_student_t", "lira_offline_imputed",
              "base", "rmia_online_gamma_1")  # fmt: skip
    body = []
    for n in numbers():
        own = [r for r in _rows() if r["references"] == n]
        line = [str(n)]
        for other in others:
            apart = [value(r, "lira_online", "tpr")[0] - value(r, other, "tpr")[0] for r in own]
            more, less = sum(a > 0 for a in apart), sum(a < 0 for a in apart)
            line.append("it is" if other == by_default(n) else f"{more} : {less}")
        body.append(line)
    return words.table(("references", *(NAMES[a] for a in others)), body)


def medians(figure: str) -> str:
    """The median over cells of every attack, ranked or not, by number of references."""
    own = {n: [r for r in _rows() if r["references"] == n] for n in numbers()}
    names = sorted({a for r in _rows() for a in r["attacks"]} & _asked_everywhere())
    middle = {
        a: [float(np.median([value(r, a, figure)[0] for r in lines])) for lines in own.values()]
        for a in names
    }
    text = "{:.3f}".format if figure == "auc" else words.percent
    body = [
        (f"`{a}`", *map(text, line))
        for a, line in sorted(middle.items(), key=lambda pair: -float(np.mean(pair[1])))
    ]
    return words.table(("attack", *(f"{n} references" for n in own)), body)


def indicators() -> str:
    """Cheap indicators with their precision, beside what LiRA finds with most references."""
    body = []
    for row in _rows():
        own = row.get("indicators")
        if not own:
            continue
        tpr = value(row, "lira_online", "tpr")
        span = own["precision"].get("loss_iqr")
        body.append((
            row["set"], row["kind"], words.span(tpr[0], tpr[1:]),
            words.percent(own["precision"]["final_loss"], 1),
            "–" if span is None else words.percent(span, 1), words.percent(own["at_random"], 1),
            words.percent(own["tnr"]["1"], 1), words.percent(own["tnr"]["0.99"], 1),
        ))  # fmt: skip
    heads = (
        "set", "models", "LiRA online, TPR at 0.1 % FPR", "final loss: precision",
        "range of the loss: precision", "at random", "TNR, no member lost", "TNR, 1 % lost",
    )  # fmt: skip
    return words.table(heads, body)


def by_group() -> str:
    """What LiRA finds of each group with most references, and whether groups are told apart."""
    body, states = [], []
    for row in _rows():
        for column, own in row.get("groups", {}).items():
            states.append(f"- {row['set']}, {row['kind']}: {own['states']}.")
            for group in own["groups"]:
                at, ends = group["at"]["0.001"], group["auc_interval"]
                auc = "–" if ends is None else f"{group['auc']:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"
                spans = (words.span(at[k], at[f"{k}_interval"]) for k in ("tpr", "fpr"))
                name = f"{column}: {group['group']}"
                body.append((row["set"], row["kind"], name, str(group["records"]), auc, *spans))
    if not body:
        return "*Not measured by this version.*"
    heads = ("set", "models", "group", "records", "AUC", "TPR", "FPR")
    return "\n".join([*states, "", words.table(heads, body)])


def chart(figure: str) -> Chart:
    """Mean ranks with half a critical difference to either side, a panel for each number."""
    own = {n: c for n in numbers() if (c := comparison(n, figure))}
    order = np.argsort(-np.mean([c.rank for c in own.values()], axis=0), kind="stable")
    places = np.arange(len(order), dtype=np.float64)
    panels = []
    for number, (n, c) in enumerate(own.items()):
        rank, good, half = c.rank[order], c.as_good()[order], c.difference / 2
        names = [NAMES[RANKED[i]] if not number else "" for i in order]
        marks = [Rule("", x=float(rank.min() + half), kind="soft")]
        for which, tone, name in ((good, "s0", GOOD), (~good, "s1", "worse")):
            x = rank[which]
            marks.append(Dots(name, x, places[which], tone, 4.0, (x - half, x + half), "x"))
        last = len(order)
        panels.append(Panel(
            Axis("mean rank", 1, last, ticks=even(1, last, 4)),
            Axis("", -0.6, last - 0.4, ticks=tuple(zip(places, names, strict=True))),
            tuple(marks), title=f"{n} references", width=390 if not number else 180, height=390,
        ))  # fmt: skip
    many = next(iter(own.values())).sets
    title = f"Mean ranks over {many} sets by {FIGURES[figure]}"
    alt = (
        f"{title}; whiskers are half a critical difference: where they do not meet, attacks differ"
    )
    return Chart(f"benchmark_{figure}", title, alt, tuple(panels))


# critical-difference pictures, which stand under docs
PICTURES = {figure: lambda figure=figure: svg.document(chart(figure)) for figure in FIGURES}
PARTS = {
    "sets": sets, "about": about, "tpr": lambda: table_of("tpr"), "auc": lambda: table_of("auc"),
    "kinds": by_kind, "claims": claims, "verdict": verdict, "wins": wins, "cells": cells,
    "medians-tpr": lambda: medians("tpr"), "medians-auc": lambda: medians("auc"),
    "indicators": indicators, "groups": by_group,
}  # fmt: skip
