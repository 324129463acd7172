"""The charts of a run: ROC, power against cost, phi, Gaussians, exposure, training."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia import privacy
from jaxmia.metrics.roc import Counted
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
)  # fmt: skip
from jaxmia.report.reach import Classes, reach

LEAST = 1e-5
HEAD, GRID = 400, 500  # steps of a curve's very tail that are all kept, and points beyond
BAND = np.geomspace(LEAST, 1, 121)  # FPRs between which a band is straight
EPSILONS = (1.0, 2.0, 4.0, 8.0)
CLASSES = 24  # that are drawn, the most exposed
SHADOWS = 64  # whose training is drawn one by one


def tone(number: int) -> str:
    """The colour of the so-and-so-strongest attack."""
    return f"s{number}" if number < SERIES else "rest"


def roc_chart(curves: dict[str, Counted], intervals: Mapping[str, Any]) -> Chart:
    """TPR against FPR of the pooled scores: both logarithmic from 1e-5 on, and linear.

    `intervals` are those that the summary has of each attack's TPR, by level.
    """
    rate = Axis("false-positive rate", LEAST, 1, True, decades(LEAST, 1))
    found = Axis("true-positive rate", LEAST, 1, True, decades(LEAST, 1))
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
        tail.append(_tail(plain(name), i, curve, intervals.get(name)))
        whole.append(_whole(plain(name), i, curve))
    for i, (name, curve) in reversed(list(enumerate(curves.items()))):
        at = reach(curve, [LEAST, 1e-3])
        if i < SERIES:
            tail.append(Dots(plain(name), np.array([LEAST, 1e-3]), at.tpr, tone(i), 3.5))
    linear = (Axis(rate.label, 0, 1, False, fractions), Axis(found.label, 0, 1, False, fractions))
    return Chart(
        "roc",
        "Members found against false alarms",
        "True-positive rate against false-positive rate of every attack, on logarithmic axes from "
        "0.001 % on and on linear axes; the figures stand in the table of all attacks. "
        + _ranking(curves),
        (
            Panel(rate, found, tuple(tail), width=560, height=430, key="roc"),
            Panel(*linear, tuple(whole), width=400, height=430, key="roc-linear"),
        ),
    )


def _ranking(curves: dict[str, Counted]) -> str:
    told = [f"{plain(n)} {reach(c, [1e-3]).tpr[0]:.2%}" for n, c in list(curves.items())[:3]]
    return "At 0.1 % false positives: " + ", ".join(told) + "." if told else ""


def thinned(curve: Counted) -> Int[np.ndarray, " p"]:
    """Which points of a curve are drawn: every step of the far tail, then evenly in log FPR.

    Each kept point has the largest TPR at its FPR, so nothing is smoothed.
    """
    last = np.flatnonzero(np.append(curve.false[1:] != curve.false[:-1], True))
    if len(last) <= HEAD + GRID:
        return last
    fpr = curve.false[last] / curve.false[-1]
    wanted = np.concatenate([np.geomspace(fpr[HEAD - 1], 1, GRID), np.linspace(0, 1, 101)])
    at = np.searchsorted(fpr, wanted, side="right") - 1
    return last[np.unique(np.concatenate([np.arange(HEAD), at, [len(last) - 1]]))]


def band(curve: Counted, tabulated: Any) -> tuple[np.ndarray, np.ndarray]:
    """The outline of the TPR's intervals at each FPR from 1e-5 on."""
    at = np.unique(np.append(BAND, [1e-5, 1e-3, 1e-2]))
    found = reach(curve, at, tabulated)
    at = at[found.tpr > 0]  # nobody found: there is no curve to be uncertain about
    found = reach(curve, at, tabulated)
    return np.concatenate([at, at[::-1]]), np.concatenate([found.high, found.low[::-1]])


def _tail(name: str, number: int, curve: Counted, intervals: Any) -> Line:
    at = thinned(curve)
    x, y = curve.false[at] / curve.false[-1], curve.true[at] / curve.true[-1]
    dash = number % 4 if number < SERIES else 0
    outline = band(curve, intervals)
    return Line(name, x, y, tone(number), True, dash=dash, band=outline, key=number)


def _whole(name: str, number: int, curve: Counted) -> Line:
    """Straight between its points, as the area counts ties."""
    at = thinned(curve)
    at = np.append(0, at) if at[0] else at
    x, y = curve.false[at] / curve.false[-1], curve.true[at] / curve.true[-1]
    keep = np.unique(np.searchsorted(x, np.linspace(0, 1, 151), side="right") - 1)
    keep = np.unique(np.concatenate([keep, np.arange(len(x)) if len(x) < 300 else [0]]))
    dash = number % 4 if number < SERIES else 0
    return Line(name, x[keep], y[keep], tone(number), dash=dash, key=number)


def power_chart(rows: Sequence[dict[str, Any]], order: Sequence[str]) -> Chart:
    """What each attack gains from more shadow models, as `curve.curve` has measured it."""
    seen = [r for r in rows if r["references"]]
    ends = [r["references"] for r in seen] or [1]
    named = tuple((float(n), str(n)) for n in sorted(set(ends)))
    x = Axis("references of one target", min(ends) / 1.1, max(ends) * 1.1, True, named)
    rates = [a["tpr_at_fpr"]["0.001"] for r in seen for a in r["attacks"].values()]
    low = 10.0 ** np.floor(np.log10(max(min([1e-3, *(v for v in rates if v)]), LEAST)))
    high = 10.0 ** np.ceil(np.log10(max([2e-3, *rates])))
    areas = [a["auc"] for r in seen for a in r["attacks"].values()] or [0.5]
    bottom, top = min(0.5, *areas) - 0.01, max(0.6, *areas) + 0.01
    left: list[Mark] = [Rule("chance", y=1e-3)]
    right: list[Mark] = [Rule("chance", y=0.5)]
    known = [n for n in order if any(n in r["attacks"] for r in seen)]
    for i, name in reversed(list(enumerate(known))):
        of = [(r["references"], r["attacks"][name]) for r in seen if name in r["attacks"]]
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
    seen = np.isfinite(phi)
    if not seen.any():
        return None
    some = phi[seen]
    low, high = np.quantile(some, [0.0005, 0.9995]).astype(float)
    edges = np.linspace(low, high + 1e-9 + (high == low), 81)
    marks, highest = [], 0.0
    for chosen, kind, name in (
        (~member & seen, "out", "non-members"),
        (member & seen, "in", "members"),
    ):
        if chosen.any():
            count, _ = np.histogram(np.clip(phi[chosen], edges[0], edges[-1]), edges)
            density = count / chosen.sum() / np.diff(edges)
            highest = max(highest, float(density.max()))
            marks.append(Area(f"{name} ({chosen.sum():,})", edges, density, kind))
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


class Known(NamedTuple):
    """What the references say of every example, and the example's name for people."""

    inside: Float[np.ndarray, " N"]
    outside: Float[np.ndarray, " N"]


def known(phi: Float[np.ndarray, "R N"], member: Bool[np.ndarray, "R N"]) -> Known:
    """Mean phi of the models that were trained on each example, and of the others."""
    seen = np.isfinite(phi)
    means = []
    for side in (member & seen, ~member & seen):
        count = side.sum(0)
        total = np.where(side, phi, 0).sum(0, dtype=np.float64)
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return Known(*means)


def chances(low: Any, high: Any) -> tuple[tuple[float, str], ...]:
    """Probabilities as ticks of an axis of logits, a few that lie apart."""
    words = ("0.0001 %", "0.01 %", "1 %", "10 %", "50 %", "90 %", "99 %", "99.99 %", "99.9999 %")
    values = [float(w.removesuffix(" %")) / 100 for w in words]
    logits = [float(np.log(p) - np.log1p(-p)) for p in values]
    room = (high - low) / 7
    told: list[tuple[float, str]] = []
    for wanted in (4, 6, 2, 7, 1, 8, 0, 5, 3):  # 50 %, 99 %, 1 %, ...: the most telling first
        at = logits[wanted]
        if low <= at <= high and all(abs(at - other) > room for other, _ in told):
            told.append((at, words[wanted]))
    return tuple(sorted(told))


def memory_chart(
    known: Known, shares: Float[np.ndarray, " N"], drawn: Int[np.ndarray, " P"]
) -> Chart | None:
    """Every example: what models say of it that were trained on it, against those that were not."""
    x, y = known.outside[drawn], known.inside[drawn]
    fine = np.isfinite(x) & np.isfinite(y)
    if not fine.any():
        return None
    both = np.concatenate([x[fine], y[fine]])
    low, high = float(both.min()), float(both.max())
    low, high = low - 0.03 * (high - low) - 0.1, high + 0.03 * (high - low) + 0.1
    marks: list[Mark] = [Line("", np.array([low, high]), np.array([low, high]), "soft", dash=2)]
    share = shares[drawn]
    for kind, name, chosen in (
        ("cold", "never found", share == 0),
        ("warm", "found in some of its models", (share > 0) & (share < 0.5)),
        ("hot", "found in half of its models or more", share >= 0.5),
    ):
        at = np.flatnonzero(chosen & fine)
        marks.append(Dots(name, x[at], y[at], kind, 2.2 if kind == "cold" else 3, ids=drawn[at]))
    ticks = chances(low, high)
    return Chart(
        "memory",
        "What training on an example changes",
        "Every example by the probability that models give its label: of those not trained on it "
        "(across) and of those trained on it (up). Above the diagonal the models remember it.",
        (
            Panel(
                Axis("probability of its label, without it", low, high, False, ticks),
                Axis("probability of its label, trained on it", low, high, False, ticks),
                tuple(marks),
                width=560,
                height=440,
                key="memory",
            ),
        ),
    )


def exposure_chart(count: Int[np.ndarray, " 11"], classes: Classes | None, names: Any) -> Chart:
    """The distribution of vulnerability over examples, and over classes."""
    high = 10.0 ** np.ceil(np.log10(max(10, int(count.sum()))))
    ticks = tuple((10.0**e, f"{10**e:,}") for e in range(int(np.log10(high)) + 1))
    edges = np.append(-0.1, np.linspace(0, 1, 11))
    shares = ((-0.05, "none"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (1.0, "100 %"))
    x = Axis("share of its models in which an example is found", -0.1, 1, False, shares)
    y = Axis("examples", 0.7, high, True, ticks)
    panels = [Panel(x, y, (Area("examples", edges, count, "hot"),), key="exposure")]
    if classes is not None and len(classes.label):
        panels.append(_class_panel(classes, names))
    return Chart(
        "exposure",
        "How unevenly it falls",
        "Left, how many examples are found in none of their models, in up to 10 %, and so on. "
        "Right, the share of members found in each class, with 95 % intervals.",
        tuple(panels),
    )


def shown_classes(classes: Classes) -> Int[np.ndarray, " c"]:
    """The places of the classes that are drawn: the most exposed, in their order."""
    share = classes.found / np.maximum(classes.members, 1)
    return np.lexsort((classes.label, -share))[:CLASSES]


def _class_panel(classes: Classes, names: Any) -> Panel:
    at = shown_classes(classes)
    share = classes.found[at] / np.maximum(classes.members[at], 1)
    row = np.arange(len(at), dtype=float)[::-1]
    called = tuple(
        (float(r), plain(str(names[c]) if c < len(names) else str(c), 9))
        for r, c in zip(row, classes.label[at], strict=True)
    )
    dots = Dots("classes", share, row, "in", 3.5, (classes.low[at], classes.high[at]), "x")
    low = 1e-4
    x = Axis("members found", low, 1, True, decades(low, 1))
    y = Axis("class", -0.7, len(at) - 0.3, False, called)
    return Panel(x, y, (dots,), height=max(360, 60 + 20 * len(at)), key="classes")


class Case(NamedTuple):
    """A chosen example: why, its references' phi, and the target's."""

    title: str
    inside: Float[np.ndarray, " a"]
    outside: Float[np.ndarray, " b"]
    target: float
    was_in: bool


def gaussian_chart(cases: Sequence[Case]) -> Chart | None:
    """The Gaussians of chosen examples, IN against OUT, with the target's phi marked."""
    panels = [_gaussian(case) for case in cases if len(case.inside) > 1 and len(case.outside) > 1]
    if not panels:
        return None
    return Chart(
        "gaussians",
        "What the attacker compares",
        "For chosen examples: the Gaussians of phi over reference models that were trained on the "
        "example (IN) and that were not (OUT), each reference as a point, and the target's phi.",
        tuple(panels),
    )


def _gaussian(case: Case) -> Panel:
    both = np.append(np.concatenate([case.inside, case.outside]), case.target)
    low, high = float(both.min()), float(both.max())
    room = 0.15 * (high - low) + 1e-3
    low, high = low - room, high + room
    at = np.linspace(low, high, 160)
    marks, highest = [], 0.0
    for kind, name, phi in (("out", "OUT", case.outside), ("in", "IN", case.inside)):
        sd = max(float(phi.std()), 1e-6)
        density = np.exp(-0.5 * ((at - phi.mean()) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
        highest = max(highest, float(density.max()))
        marks.append((kind, name, phi, density))
    drawn: list[Mark] = []
    for i, (kind, name, phi, density) in enumerate(marks):
        edges = np.append(at - (at[1] - at[0]) / 2, at[-1] + (at[1] - at[0]) / 2)
        drawn.append(Area(f"{name} references", edges, density, kind))
        rug = np.full(len(phi), -highest * (0.07 + 0.09 * i))
        drawn.append(Dots("", phi, rug, kind, 1.8))
    drawn.append(Rule("target", x=case.target, kind="target"))
    x = Axis("φ", low, high, False, even(low, high, 4))
    y = Axis("", -0.24 * highest, highest * 1.15, False, ((0.0, ""),))
    return Panel(x, y, tuple(drawn), case.title, 320, 214, "gaussian")


def reliability_chart(told: Mapping[str, Any], order: Sequence[str]) -> Chart:
    """How often a stated probability of membership came true, by bins of what was stated."""
    axis = Axis("stated probability of membership", 0, 1, False,
                tuple((v / 4, f"{25 * v} %") for v in range(5)))  # fmt: skip
    marks: list[Mark] = [Line("as stated", np.array([0, 1]), np.array([0, 1]), "soft", dash=2)]
    for name in reversed([n for n in order if n in told][:3]):
        found, key = told[name]["reliability"], order.index(name)
        x, y = np.asarray(found["stated"]), np.asarray(found["true"])
        ends = np.asarray(found["low"]), np.asarray(found["high"])
        marks.append(Line(plain(name), x, y, tone(key), key=key))
        marks.append(Dots(plain(name), x, y, tone(key), 3, ends))
    return Chart(
        "reliability",
        "Whether the posteriors can be believed",
        "How often what was stated as a probability of membership came true, with 95 % intervals: "
        "on the diagonal the statement is right.",
        (Panel(axis, axis._replace(label="came true"), tuple(marks), key="reliability"),),
    )


class Training(NamedTuple):
    """What was recorded of the shadow models' training: by model and epoch, NaN where unknown."""

    loss: Float[np.ndarray, "M E"]
    accuracy: Float[np.ndarray, "M E"]
    test_accuracy: float | None = None
    diverged: tuple[int, ...] = ()


def training_chart(training: Training) -> Chart | None:
    """Loss and accuracy on its own members, of every shadow model by epoch."""
    models, epochs = training.loss.shape
    if not epochs or not np.isfinite(training.loss).any():
        return None
    chosen = np.unique(np.linspace(0, models - 1, min(models, SHADOWS)).astype(int))
    chosen = np.union1d(chosen, [m for m in training.diverged if m < models]).astype(int)
    when = np.arange(1, epochs + 1, dtype=float)
    x = Axis("epoch", 1, max(2, epochs), False, even(0, max(2, epochs), 5)[1:])
    loss, accuracy = _curves(training.loss, chosen, when), None
    lows = training.loss[np.isfinite(training.loss) & (training.loss > 0)]
    low, high = (float(lows.min()), float(lows.max())) if lows.size else (0.1, 1.0)
    low = max(10.0 ** np.floor(np.log10(low)), 1e-6)
    high = max(10.0 ** np.ceil(np.log10(high)), low * 10)
    powers = range(round(np.log10(low)), round(np.log10(high)) + 1)
    ticks = tuple((10.0**e, f"{10.0**e:g}") for e in powers)
    panels = [Panel(x, Axis("loss", low, high, True, ticks), loss, key="loss")]
    if np.isfinite(training.accuracy).any():
        accuracy = list(_curves(training.accuracy, chosen, when))
        least = float(np.nanmin(training.accuracy))
        if training.test_accuracy is not None:
            least = min(least, training.test_accuracy)
            told = f"test accuracy {training.test_accuracy:.3f}"
            accuracy.append(Rule(told, y=training.test_accuracy, kind="target"))
        least = np.floor(least * 10) / 10
        axis = Axis("accuracy", least, 1.005, False, even(least, 1, 5))
        panels.append(Panel(x, axis, tuple(accuracy), key="accuracy"))
    return Chart(
        "training",
        "How the shadow models were trained",
        f"Training loss and accuracy of {models} shadow models over {epochs} epochs, with their "
        "medians; what diverged is marked.",
        tuple(panels),
    )


def _curves(values: np.ndarray, chosen: np.ndarray, when: np.ndarray) -> tuple[Mark, ...]:
    lines: list[Mark] = []
    for m in chosen:
        fine = np.isfinite(values[m])
        if fine.any():
            lines.append(Line("one shadow model", when[fine], values[m][fine], "faint"))
    known = np.isfinite(values).any(0)
    if known.any():
        lines.append(Line("median", when[known], np.nanmedian(values[:, known], 0), "s0"))
    return tuple(lines)
