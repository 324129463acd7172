"""The charts of attacks and signals: ROC, power against cost, phi."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia import privacy
from jaxmia.evaluation.exposure import reach, stated
from jaxmia.metrics import RULE_OF_THREE, RocCounts
from jaxmia.report.chart import (
    SERIES,
    Area,
    Axis,
    Chart,
    Dots,
    Line,
    Mark,
    Note,
    Panel,
    Rule,
    decades,
    even,
    plain,
    tone,
)

LEAST = 1e-5
HEAD, GRID = 400, 500  # steps of a curve's very tail that are all kept, and points beyond
EPSILONS = (1.0, 2.0, 4.0, 8.0)


def roc_chart(
    curves: dict[str, RocCounts],
    intervals: Mapping[str, Mapping[str, Sequence[float] | None] | None],
    alone: Collection[str] = (),
) -> Chart:
    """TPR against FPR of the pooled scores: both logarithmic from 1e-5 on, and linear.

    `intervals` are those that the summary has of each attack's TPR, `by_fpr`. Curves of one target
    `alone`, by name, begin where its non-members can vouch for the FPR.
    """
    rate = Axis("false-positive rate", LEAST, 1, True, decades(LEAST, 1))
    power = Axis("true-positive rate", LEAST, 1, True, decades(LEAST, 1))
    fractions = tuple((v / 4, f"{25 * v} %") for v in range(5))
    fpr = np.geomspace(LEAST, 1, 200)
    tail: list[Mark] = [Line("chance", fpr, fpr, "soft", dash=2)]
    for epsilon in EPSILONS:
        bound = np.asarray(privacy.tpr_bound(fpr, epsilon))
        tail.append(Line(f"ε = {epsilon:g}", fpr, bound, "soft"))
        high = 0.6 if epsilon > 1 else 0.32  # apart from its neighbour
        tail.append(Note(f"ε = {epsilon:g}", float(0.8 * high * np.exp(-epsilon)), high, "end"))
    tail += [Rule("", x=1e-3), Rule("", x=LEAST)]
    whole: list[Mark] = [Line("chance", np.array([0, 1]), np.array([0, 1]), "soft", dash=2)]
    for i, (name, curve) in reversed(list(enumerate(curves.items()))):
        least = RULE_OF_THREE / int(curve.fp[-1]) if name in alone else 0.0
        tail.append(_tail(plain(name), i, curve, band(intervals.get(name) or {}), least))
        whole.append(_whole(plain(name), i, curve))
    for i, (name, curve) in reversed(list(enumerate(curves.items()))):
        others = int(curve.fp[-1])
        rates = [v for v in (LEAST, 1e-3) if name not in alone or stated(v, others, True)]
        if i < SERIES and rates:
            at = reach(curve, rates)
            tail.append(Dots(plain(name), np.array(rates), at.tpr, tone(i), 3.5))
    linear = (Axis(rate.label, 0, 1, False, fractions), Axis(power.label, 0, 1, False, fractions))
    return Chart(
        "roc",
        "Members found against false alarms",
        "True-positive rate against false-positive rate of every attack, on logarithmic axes from "
        "0.001 % on and on linear axes; the figures stand in the table of all attacks. "
        + _ranking({name: curve for name, curve in curves.items() if name not in alone}),
        (
            Panel(rate, power, tuple(tail), width=560, height=430, key="roc"),
            Panel(*linear, tuple(whole), width=400, height=430, key="roc-linear"),
        ),
    )


def _ranking(curves: dict[str, RocCounts]) -> str:
    leaders = [f"{plain(n)} {reach(c, [1e-3]).tpr[0]:.2%}" for n, c in list(curves.items())[:3]]
    return "At 0.1 % false positives: " + ", ".join(leaders) + "." if leaders else ""


def thinned(curve: RocCounts) -> Int[np.ndarray, " p"]:
    """Which points of a curve are drawn: every step of the far tail, then evenly in log FPR.

    Each kept point has the largest TPR at its FPR, so nothing is smoothed.
    """
    last = np.flatnonzero(np.append(curve.fp[1:] != curve.fp[:-1], True))
    if len(last) <= HEAD + GRID:
        return last
    fpr = curve.fp[last] / curve.fp[-1]
    grid = np.concatenate([np.geomspace(fpr[HEAD - 1], 1, GRID), np.linspace(0, 1, 101)])
    at = np.searchsorted(fpr, grid, side="right") - 1
    return last[np.unique(np.concatenate([np.arange(HEAD), at, [len(last) - 1]]))]


def band(by_fpr: Mapping[str, Sequence[float] | None]) -> tuple[np.ndarray, np.ndarray] | None:
    """The outline of the TPR's intervals, straight between the FPRs that have one."""
    spans = sorted((float(level), *ends) for level, ends in by_fpr.items() if ends)
    if not spans:
        return None
    fpr, low, high = np.array([*spans, (1.0, 1.0, 1.0)]).T
    return np.concatenate([fpr, fpr[::-1]]), np.concatenate([high, low[::-1]])


def _tail(name: str, number: int, curve: RocCounts, outline: Any, least: float) -> Line:
    at = thinned(curve)
    x, y = curve.fp[at] / curve.fp[-1], curve.tp[at] / curve.tp[-1]
    if least:
        first = int(np.searchsorted(x, least, side="right")) - 1
        x, y = np.append(least, x[first + 1 :]), y[first:]
    dash = number % 4 if number < SERIES else 0
    return Line(name, x, y, tone(number), True, dash=dash, band=outline, key=number)


def _whole(name: str, number: int, curve: RocCounts) -> Line:
    """Straight between its points, as the area counts ties."""
    at = thinned(curve)
    at = np.append(0, at) if at[0] else at
    x, y = curve.fp[at] / curve.fp[-1], curve.tp[at] / curve.tp[-1]
    keep = np.unique(np.searchsorted(x, np.linspace(0, 1, 151), side="right") - 1)
    keep = np.unique(np.concatenate([keep, np.arange(len(x)) if len(x) < 300 else [0]]))
    dash = number % 4 if number < SERIES else 0
    return Line(name, x[keep], y[keep], tone(number), dash=dash, key=number)


def power_chart(rows: Sequence[dict[str, Any]], order: Sequence[str]) -> Chart:
    """What each attack gains from more shadow models, as `curve.curve` has measured it."""
    points = [r for r in rows if r["references"]]
    ends = [r["references"] for r in points] or [1]
    ticks = tuple((float(n), str(n)) for n in sorted(set(ends)))
    x = Axis("references of one target", min(ends) / 1.1, max(ends) * 1.1, True, ticks)
    rates = [a["tpr_at_fpr"]["0.001"] for r in points for a in r["attacks"].values()]
    low = 10.0 ** np.floor(np.log10(max(min([1e-3, *(v for v in rates if v)]), LEAST)))
    high = 10.0 ** np.ceil(np.log10(max([2e-3, *rates])))
    areas = [a["auc"] for r in points for a in r["attacks"].values()] or [0.5]
    bottom, top = min(0.5, *areas) - 0.01, max(0.6, *areas) + 0.01
    left: list[Mark] = [Rule("chance", y=1e-3)]
    right: list[Mark] = [Rule("chance", y=0.5)]
    names = [n for n in order if any(n in r["attacks"] for r in points)]
    for i, name in reversed(list(enumerate(names))):
        of = [(r["references"], r["attacks"][name]) for r in points if name in r["attacks"]]
        n = np.array([k for k, _ in of], float)
        style: dict[str, Any] = {
            "tone": tone(i), "dots": True, "key": order.index(name),
            "dash": i % 4 if i < SERIES else 0,
        }  # fmt: skip
        rate = np.array([a["tpr_at_fpr"]["0.001"] for _, a in of])
        left.append(Line(plain(name), n, rate, **style))
        right.append(Line(plain(name), n, np.array([a["auc"] for _, a in of]), **style))
    power = Axis("TPR at 0.1 % FPR", float(low), float(high), True, decades(low, high))
    area = Axis("AUC", bottom, top, False, even(bottom, top))
    return Chart(
        "curve",
        "What more shadow models buy",
        "True-positive rate at 0.1 % false positives, and AUC, against the number of reference "
        f"models from {min(ends)} to {max(ends)}.",
        (Panel(x, power, tuple(left), key="power"), Panel(x, area, tuple(right), key="power-auc")),
    )


def phi_chart(phi: Float[np.ndarray, "T N"], member: Bool[np.ndarray, "T N"]) -> Chart | None:
    """Histograms of phi over all targets: examples they were trained on, and others."""
    finite = np.isfinite(phi)
    if not finite.any():
        return None
    some = phi[finite]
    low, high = np.quantile(some, [0.0005, 0.9995]).astype(float)
    edges = np.linspace(low, high + 1e-9 + (high == low), 81)
    marks, highest = [], 0.0
    for side, kind, name in (
        (~member & finite, "out", "non-members"),
        (member & finite, "in", "members"),
    ):
        if side.any():
            count, _ = np.histogram(np.clip(phi[side], edges[0], edges[-1]), edges)
            density = count / side.sum() / np.diff(edges)
            highest = max(highest, float(density.max()))
            marks.append(Area(f"{name} ({side.sum():,})", edges, density, kind))
    x = Axis("φ, the logit of the true class's probability", edges[0], edges[-1], False,
             even(edges[0], edges[-1], 7))  # fmt: skip
    y = Axis("density", 0, highest * 1.05, False, even(0, highest, 4))
    return Chart(
        "phi",
        "What an attacker sees of an example",
        "Histograms of phi, the logit of the true class's probability, over all models: examples "
        "that a model was trained on, and others. Their overlap is what a global threshold faces.",
        (Panel(x, y, tuple(marks), width=720, height=300, key="phi"),),
    )
