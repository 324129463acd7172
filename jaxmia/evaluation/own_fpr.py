"""What is found where no example may be accused wrongly more often than so: p-values, not scores.

A threshold on scores errs so often on an average over examples, and those that it finds may bear
nearly all of its false alarms. A p-value at most a (`attacks.p_values`) errs on each of them about
as often as a. How often it really does is measured beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks import ATTACKS
from jaxmia.attacks.by_example import Inputs, every_model
from jaxmia.attacks.infinite import finite
from jaxmia.attacks.p_values import LEAST, by_chunk, references, totals
from jaxmia.attacks.references import LeaveOut
from jaxmia.evaluation.adversary import AVERAGE
from jaxmia.evaluation.figures import Figure
from jaxmia.metrics import clopper_pearson, draws
from jaxmia.types import Array, Attack

NOMINAL = tuple(10.0 ** (i / 5 - 3) for i in range(16))  # p-values at which alarms are counted
LEVELS = {"0.01": 1e-2, "0.001": 1e-3}
AT = [NOMINAL.index(level) for level in LEVELS.values()]
DRAWS = 1000
TOLERATED = 2  # times its promise that a p-value may err: beyond, its law does not fit
OWN = "the false-positive rate is that of each record alone"


def _figure(level: str) -> Figure:
    fpr = LEVELS[level]
    return Figure(
        "tpr_at_own_fpr",
        None,
        f"TPR {{}} if every example's own FPR is to be {fpr:g}",
        "{:.2%}",
        f"TPR at {fpr * 100:g} % FPR of every example's own",
        f"own@{fpr * 100:g}%",
        level,
    )


FIGURES = tuple(map(_figure, LEVELS))


class CountsByExample(NamedTuple):
    """Of each example the targets trained without it and with it: all, and those called members.

    `called` has them for each nominal p-value of `NOMINAL`.
    """

    targets: Int[np.ndarray, "2 N"]
    called: Int[np.ndarray, "L 2 N"]

    def rate(self, side: int) -> Float[np.ndarray, " L"]:
        """The share that is called, of those without the example (0) or with it (1)."""
        return self.called[:, side].sum(-1) / max(1, int(self.targets[side].sum()))


def counts(
    job: Inputs,
    truth: Bool[np.ndarray, "T N"],
    kinds: Sequence[str],
    of_all: list[np.ndarray] | None = None,
) -> dict[str, CountsByExample]:
    """The targets whose p-values are at most each of `NOMINAL`, by kind."""

    def of_chunk(at: slice, p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {kind: _binned(values, truth[:, at]) for kind, values in p.items()}

    parts = by_chunk(job, kinds, of_chunk, of_all)
    out = {}
    for kind in kinds:
        every = np.concatenate([part[kind] for part in parts], axis=-1)
        out[kind] = CountsByExample(every[-1], every)
    return out


def _binned(p: Float[np.ndarray, "T n"], truth: Bool[np.ndarray, "T n"]) -> np.ndarray:
    """How many p-values are at most each nominal one: `[L, 2, n]`; NaN are none."""
    bins, examples = len(NOMINAL) + 1, p.shape[1]
    bin_ = np.searchsorted(NOMINAL, p).astype(np.int32)
    place = (bin_ * 2 + truth) * np.int32(examples) + np.arange(examples, dtype=np.int32)
    count = np.bincount(place.reshape(-1), minlength=2 * bins * examples)
    return np.cumsum(count.reshape(bins, 2, examples)[:-1], axis=0).astype(np.int32)


def kinds_of(names: Sequence[str], attacks: Mapping[str, Attack] = ATTACKS) -> dict[str, str]:
    """Which p-value goes with each of the attacks that have one."""
    return {n: attacks[n].p_value for n in names if n in attacks and attacks[n].p_value}


def of_every_model(
    phi: Float[Array, "M N *Q"],
    member: Bool[Array, "M N"],
    names: Sequence[str],
    leaves: LeaveOut,
) -> dict[str, CountsByExample]:
    """By attack, where every model is the target in turn; empty with fewer than 6 references."""
    return _of_job(every_model(phi, member, leaves), np.asarray(member, bool), names)


def of_targets(
    target: Float[Array, "T N *Q"],
    truth: Bool[Array, "T N"],
    reference: Float[Array, "R N *Q"],
    member: Bool[Array, "R N"],
    names: Sequence[str],
) -> dict[str, CountsByExample]:
    """By attack, of given targets."""
    target, reference = finite(target, reference)
    views = (*reference.shape[:2], -1)
    job = Inputs(
        target.reshape(len(target), *views[1:]),
        reference.reshape(views),
        np.asarray(member, bool),
        None,
    )
    return _of_job(job, np.asarray(truth, bool), names)


def totals_of_panel(job: Inputs, names: Sequence[str]) -> list[np.ndarray]:
    """What `of_panel` takes of all examples, from one panel of them; it adds up."""
    return totals(job, _kinds(job, names)) if _kinds(job, names) else []


def of_panel(
    job: Inputs, truth: Bool[np.ndarray, "T n"], names: Sequence[str], of_all: list[np.ndarray]
) -> dict[str, CountsByExample]:
    """By attack, of one panel of examples, whose p-values take `of_all` of all of them."""
    return _of_job(job, truth, names, of_all)


def joined(panels: Sequence[Mapping[str, CountsByExample]]) -> dict[str, CountsByExample]:
    """By attack, of all examples, from their panels in order."""
    by_kind: dict[int, CountsByExample] = {}  # attacks of one kind of p-value share the counts
    out = {}
    for name, first in (panels[0] if panels else {}).items():
        if id(first) not in by_kind:
            parts = [panel[name] for panel in panels]
            by_kind[id(first)] = CountsByExample(
                *(np.concatenate(side, axis=-1) for side in zip(*parts, strict=True))
            )
        out[name] = by_kind[id(first)]
    return out


def _of_job(
    job: Inputs, truth: np.ndarray, names: Sequence[str], of_all: list[np.ndarray] | None = None
) -> dict[str, CountsByExample]:
    kinds = _kinds(job, names)
    of_kinds = counts(job, truth, kinds, of_all) if kinds else {}
    return {name: of_kinds[kind] for name, kind in kinds_of(names).items() if kind in of_kinds}


def _kinds(job: Inputs, names: Sequence[str]) -> list[str]:
    """The p-values that there are; none with fewer than 6 references."""
    return sorted(set(kinds_of(names).values())) if references(job) >= LEAST else []


def measured(
    by_attack: Mapping[str, CountsByExample], person: Int[np.ndarray, " N"] | None = None
) -> dict[str, dict[str, Any]]:
    """For each attack `tpr_at_own_fpr`, its `interval`, and `p_values`: what becomes of them.

    Those are the `fpr` that p-values really have at the levels, its `interval`, and the
    `calibration`: `real` rates at the `nominal` ones, with the `low` and `high` ends. Where
    records belong to persons, the intervals are of draws of persons.
    """
    distinct = {id(of): of for of in by_attack.values()}
    sides = [side for of in distinct.values() for side in _sides(_by_person(of, person))]
    if not sides:
        return {}
    ends = intervals(sides)
    pairs = zip(distinct, distinct.values(), ends[::2], ends[1::2], strict=True)
    entries = {key: _entry(of, out, inside) for key, of, out, inside in pairs}
    return {name: entries[id(of)] for name, of in by_attack.items()}


def _by_person(of: CountsByExample, person: Int[np.ndarray, " N"] | None) -> CountsByExample:
    """The counts of all records of a person together."""
    if person is None:
        return of
    unit = np.unique(np.asarray(person), return_inverse=True)[1].reshape(-1)
    order = np.argsort(unit, kind="stable")
    first = np.searchsorted(unit[order], np.arange(int(unit.max()) + 1))
    return CountsByExample(*(np.add.reduceat(c[..., order], first, axis=-1) for c in of))


class Side(NamedTuple):
    """Targets of one kind, and how many of each example are called, in several ways."""

    targets: Int[np.ndarray, " N"]
    called: Int[np.ndarray, "K N"]


def _sides(of: CountsByExample) -> tuple[Side, Side]:
    """Without the example, at every nominal p-value; and with it, at the levels alone."""
    return Side(of.targets[0], of.called[:, 0]), Side(of.targets[1], of.called[AT, 1])


def _entry(of: CountsByExample, out: np.ndarray, inside: np.ndarray) -> dict[str, Any]:
    tpr, false = of.rate(1)[AT], of.rate(0)
    low, high = out.T.tolist()
    return {
        "tpr_at_own_fpr": dict(zip(LEVELS, tpr.tolist(), strict=True)),
        "interval": dict(zip(LEVELS, inside.tolist(), strict=True)),
        "p_values": {
            "fpr": dict(zip(LEVELS, false[AT].tolist(), strict=True)),
            "interval": dict(zip(LEVELS, out[AT].tolist(), strict=True)),
            "calibration": {
                "nominal": list(NOMINAL),
                "real": false.tolist(),
                "low": low,
                "high": high,
            },
        },
    }


def of_attack(fields: dict[str, Any], entry: dict[str, Any] | None) -> dict[str, Any]:
    """What `measured` has for an attack, as its fields in the summary; None without p-values."""
    if entry is None or fields["auc"] is None:
        return {"tpr_at_own_fpr": None}
    spans = fields["intervals"] | {"tpr_at_own_fpr": entry["interval"]}
    return {k: entry[k] for k in ("tpr_at_own_fpr", "p_values")} | {"intervals": spans}


def statements(fields: dict[str, Any], who: str) -> dict[str, Any]:
    """What each of the figures means, as the summary's `states` have it."""
    if not fields.get("tpr_at_own_fpr"):
        return {}
    out = {}
    for figure in FIGURES:
        value = figure.words.format(figure.text(figure.at(fields)))
        low, high = (figure.text(end) for end in figure.at(fields["intervals"]))
        real = figure.text(fields["p_values"]["fpr"][figure.level])
        units = fields["intervals"].get("drawn", "examples")
        out[figure.level] = (
            f"{value} (95 %: {low} to {high}, BCa bootstrap over {units}); such p-values really "
            f"err on {real} of non-members. {who.replace(AVERAGE, OWN)}"
        )
    return {"tpr_at_own_fpr": out}


def nearest(attacks: Mapping[str, Any], level: str = "0.001") -> str | None:
    """Of a summary's attacks the one whose p-values err most nearly as often as they promise.

    None where no attack has p-values.
    """
    have = [n for n, a in attacks.items() if a.get("p_values")]

    def off(name: str) -> tuple[float, float]:
        a = attacks[name]
        return abs(a["p_values"]["fpr"][level] - LEVELS[level]), -a["tpr_at_own_fpr"][level]

    return min(have, key=off) if have else None


def hold(attack: Mapping[str, Any], level: str = "0.001") -> bool:
    """Whether an attack's p-values err no more than `TOLERATED` times as often as they promise."""
    return attack["p_values"]["fpr"][level] <= TOLERATED * LEVELS[level]


def intervals(
    sides: Sequence[Side], count: int = DRAWS, seed: int = 0
) -> list[Float[np.ndarray, "_ 2"]]:
    """95 % intervals of the shares that are called, by draws of examples with all their targets.

    BCa (Efron 1987). Where nobody is called a draw would say 0: there the upper end is
    Clopper-Pearson's, had each example one target, since its targets may be all alike.
    """
    columns = [c for s in sides for c in (s.targets, *s.called)]
    total = np.zeros((count, len(columns)), np.int64)
    for at, weight in draws.weights_of_panels(len(columns[0]), count, seed):
        total += draws.total(weight, np.stack([c[at] for c in columns], axis=1))
    last = np.cumsum([1 + len(s.called) for s in sides])[:-1]
    sums = np.split(total, last, axis=1)
    return [_ends(side, of[:, 0], of[:, 1:]) for side, of in zip(sides, sums, strict=True)]


def _ends(
    side: Side, size: Int[np.ndarray, " D"], sums: Int[np.ndarray, "D K"]
) -> Float[np.ndarray, "K 2"]:
    """From how many targets, and how many called ones, each draw has."""
    total = side.called.sum(1)
    rate = total / max(1, int(side.targets.sum()))
    replicates = sums / np.maximum(size, 1)[:, None]
    out = np.empty((len(total), 2))
    for i, hits in enumerate(side.called):
        say = draws.acceleration(hits - rate[i] * side.targets)
        out[i] = draws.ends(replicates[:, i], float(rate[i]), say, "bca", 0.95)
    none = np.stack(clopper_pearson(0, np.count_nonzero(side.targets)))
    return np.where((total == 0)[:, None], none, out)
