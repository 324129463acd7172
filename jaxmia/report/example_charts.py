"""The charts of examples: memory, exposure, Gaussians, reliability of posteriors."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.evaluation.exposure import Classes
from jaxmia.report.chart import (
    Area,
    Axis,
    Chart,
    Dots,
    Line,
    Mark,
    Panel,
    Rule,
    decades,
    even,
    plain,
    tone,
)

CLASSES = 24  # that are drawn, the most exposed


class MeanPhi(NamedTuple):
    """Mean phi of every example over the models trained on it, and the others; NaN of none."""

    inside: Float[np.ndarray, " N"]
    outside: Float[np.ndarray, " N"]


def mean_phi(phi: Float[np.ndarray, "R N"], member: Bool[np.ndarray, "R N"]) -> MeanPhi:
    """Mean finite phi of each example over the models trained on it, and over the others."""
    finite = np.isfinite(phi)
    means = []
    for side in (member & finite, ~member & finite):
        count = side.sum(0)
        total = np.where(side, phi, 0).sum(0, dtype=np.float64)
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return MeanPhi(*means)


def chances(low: Any, high: Any) -> tuple[tuple[float, str], ...]:
    """Probabilities as ticks of an axis of logits, a few that lie apart."""
    words = ("0.0001 %", "0.01 %", "1 %", "10 %", "50 %", "90 %", "99 %", "99.99 %", "99.9999 %")
    values = [float(w.removesuffix(" %")) / 100 for w in words]
    logits = [float(np.log(p) - np.log1p(-p)) for p in values]
    room = (high - low) / 7
    ticks: list[tuple[float, str]] = []
    for place in (4, 6, 2, 7, 1, 8, 0, 5, 3):  # 50 %, 99 %, 1 %, ...: the most telling first
        at = logits[place]
        if low <= at <= high and all(abs(at - other) > room for other, _ in ticks):
            ticks.append((at, words[place]))
    return tuple(sorted(ticks))


def memory_chart(
    means: MeanPhi, shares: Float[np.ndarray, " N"], examples: Int[np.ndarray, " P"]
) -> Chart | None:
    """Every example: what models say of it that were trained on it, against those that were not."""
    x, y = means.outside[examples], means.inside[examples]
    fine = np.isfinite(x) & np.isfinite(y)
    if not fine.any():
        return None
    both = np.concatenate([x[fine], y[fine]])
    low, high = float(both.min()), float(both.max())
    low, high = low - 0.03 * (high - low) - 0.1, high + 0.03 * (high - low) + 0.1
    marks: list[Mark] = [Line("", np.array([low, high]), np.array([low, high]), "soft", dash=2)]
    share = shares[examples]
    for kind, name, group in (
        ("cold", "never found", share == 0),
        ("warm", "found in some of its models", (share > 0) & (share < 0.5)),
        ("hot", "found in half of its models or more", share >= 0.5),
    ):
        at = np.flatnonzero(group & fine)
        marks.append(Dots(name, x[at], y[at], kind, 2.2 if kind == "cold" else 3, ids=examples[at]))
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
    share = classes.hits / np.maximum(classes.members, 1)
    return np.lexsort((classes.label, -share))[:CLASSES]


def _class_panel(classes: Classes, names: Any) -> Panel:
    at = shown_classes(classes)
    share = classes.hits[at] / np.maximum(classes.members[at], 1)
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
    densities, highest = [], 0.0
    for kind, name, phi in (("out", "OUT", case.outside), ("in", "IN", case.inside)):
        sd = max(float(phi.std()), at[1] - at[0])  # narrower, it would fall between two points
        density = np.exp(-0.5 * ((at - phi.mean()) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
        highest = max(highest, float(density.max()))
        densities.append((kind, name, phi, density))
    marks: list[Mark] = []
    for i, (kind, name, phi, density) in enumerate(densities):
        edges = np.append(at - (at[1] - at[0]) / 2, at[-1] + (at[1] - at[0]) / 2)
        marks.append(Area(f"{name} references", edges, density, kind))
        rug = np.full(len(phi), -highest * (0.07 + 0.09 * i))
        marks.append(Dots("", phi, rug, kind, 1.8))
    marks.append(Rule("target", x=case.target, kind="target"))
    x = Axis("φ", low, high, False, even(low, high, 4))
    y = Axis("", -0.24 * highest, highest * 1.15, False, ((0.0, ""),))
    return Panel(x, y, tuple(marks), case.title, 320, 214, "gaussian")


def reliability_chart(posteriors: Mapping[str, Any], order: Sequence[str]) -> Chart:
    """How often a stated probability of membership came true, by bins of what was stated."""
    axis = Axis("stated probability of membership", 0, 1, False,
                tuple((v / 4, f"{25 * v} %") for v in range(5)))  # fmt: skip
    marks: list[Mark] = [Line("as stated", np.array([0, 1]), np.array([0, 1]), "soft", dash=2)]
    for name in reversed([n for n in order if n in posteriors][:3]):
        bins, key = posteriors[name]["reliability"], order.index(name)
        x, y = np.asarray(bins["stated"]), np.asarray(bins["true"])
        ends = np.asarray(bins["low"]), np.asarray(bins["high"])
        marks.append(Line(plain(name), x, y, tone(key), key=key))
        marks.append(Dots(plain(name), x, y, tone(key), 3, ends))
    return Chart(
        "reliability",
        "Whether the posteriors can be believed",
        "How often what was stated as a probability of membership came true, with 95 % intervals: "
        "on the diagonal the statement is right.",
        (Panel(axis, axis._replace(label="came true"), tuple(marks), key="reliability"),),
    )
