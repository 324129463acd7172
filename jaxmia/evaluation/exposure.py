"""What attacks reach at the false-positive rates that an attacker may allow himself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.metrics import RULE_OF_THREE, Ranked, RocCounts, at_fpr, auc_of, clustered

LEVELS = tuple(float(f"{m}e{e}") for e in range(-5, -1) for m in (1, 2, 5)) + (0.1,)
DEFAULT = 1e-3  # what a page shows before anybody moves the slider
ABOUT_ONE = 0.5  # false alarms to be expected of pooled targets before there is an interval
GRID = tuple(10.0 ** (i / 10 - 5) for i in range(51))  # where the pointer reads a ROC


class Reach(NamedTuple):
    """TPR with its 95 % interval at each level, and the lowest threshold that keeps to it.

    The interval is NaN where there is none; the TPR then is that of no false alarm at all, if the
    target is one alone.
    """

    tpr: Float[np.ndarray, " F"]
    low: Float[np.ndarray, " F"]
    high: Float[np.ndarray, " F"]
    threshold: Float[np.ndarray, " F"]


class Exposure(NamedTuple):
    """In how many of the models that were trained on it each example is found, at one level.

    And in how many of the others, where that is a false alarm.
    """

    hits: Int[np.ndarray, " N"]
    models: Int[np.ndarray, " N"]
    strength: Float[np.ndarray, " N"]  # mean score as a member, which orders equals
    alarms: Int[np.ndarray, " N"]
    others: Int[np.ndarray, " N"]

    @property
    def share(self) -> Float[np.ndarray, " N"]:
        """Of an example's models; 0 for one that no model was trained on."""
        return self.hits / np.maximum(self.models, 1)

    @property
    def own_fpr(self) -> Float[np.ndarray, " N"]:
        """Each example's false-positive rate; NaN where every model was trained on it."""
        return np.where(self.others > 0, self.alarms / np.maximum(self.others, 1), np.nan)

    def order(self) -> Int[np.ndarray, " N"]:
        """The examples, the most exposed first."""
        place = np.arange(len(self.hits))
        return np.lexsort((place, -self.strength, -self.hits, -self.share))

    def half(self) -> float:
        """The share of all examples that half of all finds fall on."""
        finds = np.sort(self.hits)[::-1].cumsum()
        return float((np.searchsorted(finds, finds[-1] / 2) + 1) / len(finds)) if finds[-1] else 0.0


def count(
    ranked: Mapping[str, Ranked],
) -> dict[str, RocCounts]:
    """The curves of all attacks that have scored members and non-members, the strongest first."""
    return strongest_first({name: r.curve for name, r in ranked.items() if r.curve.both})


def strongest_first(curves: Mapping[str, RocCounts]) -> dict[str, RocCounts]:
    """Curves by their TPR at 0.1 % FPR, and among equals by their area."""

    def strength(item: tuple[str, RocCounts]) -> tuple[float, float]:
        return -float(reach(item[1], [DEFAULT]).tpr[0]), -auc_of(item[1])

    return dict(sorted(curves.items(), key=strength))


def level_key(fpr: float) -> str:
    """An FPR as `summary.json` has it for a name."""
    return f"{fpr:.5f}".rstrip("0")


def stated(fpr: float, non_members: int, alone: bool) -> bool:
    """Whether so many non-members can vouch for an FPR, of one target alone or of several pooled.

    What several pooled targets find depends on which examples there are more than on where the
    threshold lies, so that fewer false alarms suffice (tests/test_coverage.py).
    """
    return fpr * non_members >= (RULE_OF_THREE if alone else ABOUT_ONE)


def levels(non_members: int, alone: bool = False) -> list[float]:
    """The levels that differ: one that means "no false alarm at all", and those above it."""
    if alone:
        never = [v for v in LEVELS if not stated(v, non_members, alone)]
        first = DEFAULT if DEFAULT in never else max(never, default=None)
        return [v for v in LEVELS if v == first or v not in never]
    never = [v for v in LEVELS if v * non_members < 1]
    return [v for v in LEVELS if v * non_members >= 1 or v == max(never) or v == DEFAULT]


def reach(
    curve: RocCounts,
    at: Sequence[float] | np.ndarray,
    by_fpr: Mapping[str, Sequence[float] | None] | None = None,
    alone: bool = False,
) -> Reach:
    """The largest TPR whose FPR is at most each level, with its interval.

    `by_fpr` holds the intervals (`intervals.by_fpr` of a summary). Of one target `alone` it is the
    TPR at no false alarm where its non-members are too few to vouch for the level.
    """
    fpr = np.asarray(at, np.float64)
    sure = np.array([not alone or stated(v, int(curve.fp[-1]), alone) for v in fpr.tolist()])
    index = at_fpr(curve, np.where(sure, fpr, 0))
    none = (np.nan, np.nan)
    ends = np.array([(by_fpr or {}).get(level_key(float(v))) or none for v in fpr]).reshape(-1, 2)
    return Reach(curve.tp[index] / curve.tp[-1], ends[:, 0], ends[:, 1], curve.threshold[index])


def read(curve: RocCounts, alone: bool) -> Float[np.ndarray, " G"]:
    """The TPR at each of `GRID`; NaN where the non-members of one target `alone` are too few."""
    others = int(curve.fp[-1])
    sure = [not alone or stated(v, others, alone) for v in GRID]
    return np.where(sure, reach(curve, GRID).tpr, np.nan)


def exposures(ranked: Ranked, thresholds: Sequence[float] | np.ndarray) -> list[Exposure]:
    """Counts, for each threshold, the targets in which an example's score reaches it."""
    examples = ranked.score.shape[1]
    models, others = np.zeros((2, examples), np.int64)
    total = np.zeros(examples)
    for own, inside in zip(ranked.score, ranked.member, strict=True):
        scorable = ~np.isnan(own)
        inside = inside & scorable
        models += inside
        others += scorable & ~inside
        total += np.where(inside, np.clip(np.nan_to_num(own), -1e30, 1e30), 0)
    strength = total / np.maximum(models, 1)
    curve, truth = ranked.curve, ranked.member.reshape(-1)
    # as many scores, the highest first, are called at the last of the curve's thresholds above
    last = np.searchsorted(-curve.threshold, -np.asarray(thresholds), side="right") - 1
    out = []
    for called in (curve.tp + curve.fp)[last]:
        at = ranked.order[:called]
        hits, alarms = (
            np.bincount(at[truth[at] == side] % examples, minlength=examples)
            for side in (True, False)
        )
        out.append(Exposure(hits, models, strength, alarms, others))
    return out


def exposures_of_rows(
    score: Iterable[Float[np.ndarray, " N"]],
    member: Iterable[Bool[np.ndarray, " N"]],
    thresholds: Sequence[float] | np.ndarray,
) -> list[Exposure]:
    """The same of targets' rows of scores and membership that come from disk, one by one."""
    models = others = hits = alarms = total = np.zeros(0)
    with np.errstate(invalid="ignore"):
        for own, inside in zip(score, member, strict=True):
            if not len(total):
                models, others = np.zeros((2, len(own)), np.int64)
                total = np.zeros(len(own))
                hits, alarms = np.zeros((2, len(thresholds), len(own)), np.int64)
            scorable = ~np.isnan(own)
            inside = inside & scorable
            models += inside
            others += scorable & ~inside
            total += np.where(inside, np.clip(np.nan_to_num(own), -1e30, 1e30), 0)
            for i, threshold in enumerate(thresholds):
                called = own >= threshold
                hits[i] += called & inside
                alarms[i] += called & scorable & ~inside
    strength = total / np.maximum(models, 1)
    pairs = zip(hits, alarms, strict=True)
    return [Exposure(hit, models, strength, alarm, others) for hit, alarm in pairs]


class Majority(NamedTuple):
    """The examples that are found in more than half of their models, at one level."""

    examples: int
    share_of_finds: float
    own_fpr: float | None  # their mean; None where none of them is a non-member of any target


def majority(exposed: Exposure) -> Majority:
    """How much falls on them, and how often the attacker is wrong of them."""
    most = exposed.share > 0.5
    share = exposed.hits[most].sum() / max(1, int(exposed.hits.sum()))
    own = exposed.own_fpr[most & (exposed.others > 0)]
    return Majority(int(most.sum()), float(share), float(own.mean()) if len(own) else None)


class Classes(NamedTuple):
    """Members found, by class, with the 95 % interval of the share at the threshold, had the
    examples, or the persons, been others.
    """

    label: Int[np.ndarray, " C"]
    hits: Int[np.ndarray, " C"]
    members: Int[np.ndarray, " C"]
    low: Float[np.ndarray, " C"]
    high: Float[np.ndarray, " C"]


def by_class(
    exposed: Exposure, y: Int[np.ndarray, " N"], person: Int[np.ndarray, " N"] | None = None
) -> Classes:
    """Sums exposure over the examples of each class that has members.

    Examples of one `person` stand or fall together.
    """
    y = np.asarray(y)
    hits = np.bincount(y, exposed.hits).astype(np.int64)
    members = np.bincount(y, exposed.models).astype(np.int64)
    label = np.flatnonzero(members)
    low, high = clustered(exposed.hits, exposed.models, y, person=person)
    return Classes(label, hits[label], members[label], low[label], high[label])


BINS = np.append(0, np.linspace(0, 1, 11))  # none, up to a tenth of the models, ... up to all


def histogram(exposed: Exposure) -> Int[np.ndarray, " 11"]:
    """How many examples are found in none of their models, in up to 10 %, ..., in up to 100 %."""
    share = exposed.share[exposed.models > 0]
    bin_ = np.ceil(share * 10 - 1e-9).astype(np.int64)
    return np.bincount(bin_, minlength=11)
