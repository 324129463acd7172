"""Exposure by group: how many of a sex, a region, a diagnosis are found, and who bears the most."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxmia import metrics
from jaxmia.evaluation import exposure
from jaxmia.evaluation.exposure import Exposure
from jaxmia.evaluation.figures import LEVELS
from jaxmia.evaluation.intervals import trials
from jaxmia.metrics import Ranked

CONFIDENCE = 0.95  # of all intervals of one column together
RATES = ("0.01", "0.001")  # FPRs of the pooled threshold


def of_groups(
    ranked: Mapping[str, Ranked],
    groups: Mapping[str, np.ndarray],
    person: Int[np.ndarray, " N"] | None = None,
) -> dict[str, Any]:
    """Under each column's name what the strongest attack finds of each of its groups.

    At the one threshold that all records have: the TPR and FPR of a group are the shares of its
    members and of its non-members above it. Intervals are those of `metrics.clustered`, the AUC's
    of a bootstrap over records, each at 1 - 0.05 / G, so that all G of a column hold together with
    a probability of 95 % (Bonferroni). Where records belong to persons, these stand in their place.
    Of one target alone there are rates only at FPRs that its non-members can vouch for.
    """
    lead = next(iter(exposure.count(ranked)), None)
    if lead is None:
        return {}
    of = ranked[lead]
    cuts = exposure.reach(of.curve, [LEVELS[level] for level in RATES]).threshold
    exposed = dict(zip(RATES, exposure.exposures(of, cuts), strict=True))
    others = trials(~of.member & ~np.isnan(of.score), person)
    stated = [v for v in RATES if len(of.score) > 1 or exposure.stated(LEVELS[v], others, True)]
    about = {level: exposed[level] if level in stated else None for level in RATES}
    return {name: _column(name, lead, of, about, v, person) for name, v in groups.items()}


def _column(
    name: str,
    attack: str,
    of: Ranked,
    exposed: Mapping[str, Exposure | None],
    values: np.ndarray,
    person: np.ndarray | None,
) -> dict[str, Any]:
    names, index = np.unique(values, return_inverse=True)
    index = index.reshape(-1)
    each = 1 - (1 - CONFIDENCE) / len(names)
    rates = {level: _rates(e, index, each, person) for level, e in exposed.items() if e}
    nothing = dict.fromkeys(("tpr", "tpr_interval", "fpr", "fpr_interval"))
    rows = []
    for g, value in enumerate(names.tolist()):
        at = {level: nothing for level in exposed}
        at |= {level: {k: v[g] for k, v in of.items()} for level, of in rates.items()}
        auc, ends = _auc(of, index == g, each, person)
        records = int((index == g).sum())
        rows.append(
            {"group": value, "records": records, "auc": auc, "auc_interval": ends, "at": at}
        )
    worst = max(rows, key=lambda row: [row["at"][v]["tpr"] or 0 for v in reversed(RATES)])
    out = {"attack": attack, "confidence": CONFIDENCE, "groups": rows}
    out["worst"] = worst["group"] if rates else None
    return out | {"states": _states(name, worst, rows, list(rates))}


def _rates(
    exposed: Exposure, index: np.ndarray, confidence: float, person: np.ndarray | None
) -> dict[str, list[Any]]:
    """TPR and FPR of every group, with their intervals; None where there are no such scores."""
    out: dict[str, list[Any]] = {}
    sides = {"tpr": (exposed.hits, exposed.models), "fpr": (exposed.alarms, exposed.others)}
    for name, (hits, tried) in sides.items():
        size = int(index.max()) + 1
        total, above = (np.bincount(index, v, size) for v in (tried, hits))
        ends = [np.full(size, np.nan) for _ in range(2)]
        spans = metrics.clustered(hits, tried, index, confidence, person)
        for end, values in zip(ends, spans, strict=True):
            end[: len(values)] = values
        out[name] = [
            h / n if n else None for h, n in zip(above.tolist(), total.tolist(), strict=True)
        ]
        pairs = zip(total.tolist(), *(e.tolist() for e in ends), strict=True)
        out[f"{name}_interval"] = [[low, high] if n else None for n, low, high in pairs]
    return out


def _auc(
    of: Ranked, inside: np.ndarray, confidence: float, person: np.ndarray | None
) -> tuple[Any, Any]:
    """The AUC among a group's own scores, and its interval; None where one side has none."""
    part = metrics.rank(of.score[:, inside], of.member[:, inside])
    if not part.curve.both:
        return None, None
    whose = None if person is None else person[inside]
    spans = metrics.bootstrap_of(part, (), person=whose, confidence=confidence)
    return float(metrics.auc_of(part.curve)), [float(v) for v in spans.auc]


def _states(name: str, worst: dict[str, Any], rows: list[dict[str, Any]], levels: list[str]) -> str:
    """Who is found most, and whether the intervals tell it apart from the least exposed."""
    if not levels:
        return f"{name}: non-members are too few for rates; the AUC tells groups apart"
    level = levels[-1]
    at = worst["at"][level]
    if at["tpr"] is None:
        return f"{name}: no group has members"
    low, high = at["tpr_interval"]
    who = f"{name}: most exposed is {worst['group']!r} ({worst['records']:,} records)"
    share = f"{at['tpr']:.2%} of its members found at {LEVELS[level] * 100:g} % FPR "
    share += f"({low:.2%} to {high:.2%})"
    others = [r["at"][level]["tpr_interval"] for r in rows if r is not worst]
    apart = [ends for ends in others if ends is not None and ends[1] < low]
    if not others:
        return f"{who}: {share}; there is no other group"
    if not apart:
        return f"{who}: {share}; no group is surely less exposed"
    return f"{who}: {share}; surely more than {len(apart)} of the {len(others)} others"
