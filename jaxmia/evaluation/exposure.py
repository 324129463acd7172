"""What attacks reach at the false-positive rates that an attacker may allow himself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit, logit

from jaxmia.metrics import Ranked, RocCounts, at_fpr, auc_of, clopper_pearson

LEVELS = tuple(float(f"{m}e{e}") for e in range(-5, -1) for m in (1, 2, 5)) + (0.1,)
DEFAULT = 1e-3  # what a page shows before anybody moves the slider
GRID = tuple(10.0 ** (i / 10 - 5) for i in range(51))  # where the pointer reads a ROC


class Reach(NamedTuple):
    """TPR with its 95 % interval at each level, and the lowest threshold that keeps to it."""

    tpr: Float[np.ndarray, " F"]
    low: Float[np.ndarray, " F"]
    high: Float[np.ndarray, " F"]
    threshold: Float[np.ndarray, " F"]


class Exposure(NamedTuple):
    """In how many of the models that were trained on it each example is found, at one level."""

    hits: Int[np.ndarray, " N"]
    models: Int[np.ndarray, " N"]
    strength: Float[np.ndarray, " N"]  # mean score as a member, which orders equals

    @property
    def share(self) -> Float[np.ndarray, " N"]:
        """Of an example's models; 0 for one that no model was trained on."""
        return self.hits / np.maximum(self.models, 1)

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


def levels(non_members: int) -> list[float]:
    """The levels that differ: one that means "no false positive at all", and those above it."""
    never = [v for v in LEVELS if v * non_members < 1]
    return [v for v in LEVELS if v * non_members >= 1 or v == max(never) or v == DEFAULT]


def reach(
    curve: RocCounts,
    at: Sequence[float] | np.ndarray,
    tabulated: Mapping[str, Sequence[float]] | None = None,
) -> Reach:
    """The largest TPR whose FPR is at most each level, with its interval.

    Clopper-Pearson at a fixed threshold takes scores as independent. `tabulated` holds wider
    intervals at some levels (`intervals.tpr_at_fpr` of a summary); these are taken as they are, and
    between them Clopper-Pearson's is widened by as much, on the scale of log odds.
    """
    fpr = np.asarray(at, np.float64)
    index = at_fpr(curve, fpr)
    hits, members = curve.tp[index], curve.tp[-1]
    tpr, ends = hits / members, np.stack(clopper_pearson(hits, members))
    if tabulated and curve.fp[-1]:
        ends = _widened(curve, fpr, tpr, ends, tabulated)
    return Reach(tpr, ends[0], ends[1], curve.threshold[index])


def _widened(
    curve: RocCounts, fpr: np.ndarray, tpr: np.ndarray, ends: np.ndarray, tabulated: Mapping
) -> np.ndarray:
    rows = sorted((float(level), *span) for level, span in tabulated.items())
    place = np.array([k[0] for k in rows])
    plain = reach(curve, place)
    out = ends.copy()
    for side in (0, 1):
        wide = np.array([k[1 + side] for k in rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            own = logit(wide) - logit(plain.tpr)
            factor = np.abs(own / (logit((plain.low, plain.high)[side]) - logit(plain.tpr)))
            factor = np.where(np.isfinite(factor) & (factor > 0), factor, 1.0)
            log_factor = np.interp(np.log(fpr), np.log(place), np.log(factor))
            moved = logit(tpr) + np.exp(log_factor) * (logit(ends[side]) - logit(tpr))
        out[side] = np.where(np.isfinite(moved), expit(moved), ends[side])
        for level, value in zip(place, wide, strict=True):
            out[side] = np.where(np.isclose(fpr, level, rtol=1e-9), value, out[side])
    return out


def exposures(
    score: Iterable[Float[np.ndarray, " N"]],
    member: Iterable[Bool[np.ndarray, " N"]],
    thresholds: Sequence[float] | np.ndarray,
) -> list[Exposure]:
    """Counts, for each threshold, the targets in which a member's score reaches it.

    `score [T, N]` and `member [T, N]` are taken row by row, and may come from disk.
    """
    models = hits = total = np.zeros(0)
    with np.errstate(invalid="ignore"):
        for own, inside in zip(score, member, strict=True):
            if not len(total):
                examples = len(own)
                models, total = np.zeros(examples, np.int64), np.zeros(examples)
                hits = np.zeros((len(thresholds), examples), np.int64)
            inside = inside & ~np.isnan(own)
            models += inside
            total += np.where(inside, np.clip(np.nan_to_num(own), -1e30, 1e30), 0)
            for row, threshold in zip(hits, thresholds, strict=True):
                row += (own >= threshold) & inside
    strength = total / np.maximum(models, 1)
    return [Exposure(row, models, strength) for row in hits]


class Classes(NamedTuple):
    """Members found, by class, with the 95 % interval of the share."""

    label: Int[np.ndarray, " C"]
    hits: Int[np.ndarray, " C"]
    members: Int[np.ndarray, " C"]
    low: Float[np.ndarray, " C"]
    high: Float[np.ndarray, " C"]


def by_class(exposed: Exposure, y: Int[np.ndarray, " N"]) -> Classes:
    """Sums exposure over the examples of each class that has members."""
    y = np.asarray(y)
    hits = np.bincount(y, exposed.hits).astype(np.int64)
    members = np.bincount(y, exposed.models).astype(np.int64)
    label = np.flatnonzero(members)
    low, high = clopper_pearson(hits[label], members[label])
    return Classes(label, hits[label], members[label], low, high)


BINS = np.append(0, np.linspace(0, 1, 11))  # none, up to a tenth of the models, ... up to all


def histogram(exposed: Exposure) -> Int[np.ndarray, " 11"]:
    """How many examples are found in none of their models, in up to 10 %, ..., in up to 100 %."""
    share = exposed.share[exposed.models > 0]
    bin_ = np.ceil(share * 10 - 1e-9).astype(np.int64)
    return np.bincount(bin_, minlength=11)
