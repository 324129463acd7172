"""Intervals of scores that stay on disk: `metrics.bootstrap` from counts by example, by panels.

The draws of examples are the same, and so is what each example says in a figure. Only the threshold
of a draw is looked for between `Cells`, of which every draw knows the false alarms and the hits:
each of the highest non-members has one of its own, and the ranks below are cut 5 % apart.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Num

from jaxmia import metrics
from jaxmia.evaluation import counted
from jaxmia.evaluation.exposure import Exposure
from jaxmia.metrics import RocCounts, draws
from jaxmia.metrics.roc import allowed, auc_of, best

DRAWS = 1000
CONFIDENCE = 0.95
HIGHEST = 50  # non-members that are told apart one by one
APART = 1.05  # from the rank at which a cell ends to that of the next

Rows = Iterable[tuple[Float32[np.ndarray, "t n"], Bool[np.ndarray, "t n"]]]


class Cells(NamedTuple):
    """A counted curve cut into cells; `edge` are places on it, from nobody called to all."""

    curve: RocCounts
    edge: Int[np.ndarray, " C+1"]
    level: Int[np.ndarray, " L"]  # the edges at which each FPR is kept to
    top: int  # the edge of the best balanced accuracy
    of_bin: Int[np.ndarray, " B"]  # the cell of each bin of the counts; C where nothing is
    say: Float[np.ndarray, " B"]  # of a score in each bin, in the AUC

    @classmethod
    def of(cls, curve: RocCounts, levels: Sequence[float]) -> "Cells":
        """The cells of a curve with members and non-members."""
        false, others = curve.fp[1:], int(curve.fp[-1])
        single = np.searchsorted(false, np.arange(1, min(HIGHEST, others) + 1))
        steps = 1 + int(np.log(max(others / HIGHEST, 1)) / np.log(APART))
        further = np.searchsorted(false, np.minimum(HIGHEST * APART ** np.arange(steps), others))
        at, (top, _) = metrics.at_fpr(curve, levels), best(curve)
        edge = np.unique([0, len(false), top, *single, *(single + 1), *further, *at])
        bins = counted.bins_of(curve)
        of_bin = np.full(counted.BINS, len(edge) - 1, np.int32)
        of_bin[bins] = of_bin[bins + 1] = np.repeat(np.arange(len(edge) - 1), np.diff(edge))
        places = np.searchsorted(edge, at), int(np.searchsorted(edge, top))
        return cls(curve, edge, *places, of_bin, _say_in_auc(curve, bins))

    @property
    def count(self) -> int:
        """How many."""
        return len(self.edge) - 1

    def targets(
        self, score: Float32[np.ndarray, "t n"], member: Bool[np.ndarray, "t n"]
    ) -> tuple[Int[np.ndarray, "n C 2"], Float[np.ndarray, " n"]]:
        """How many targets each example has in each cell, without it and with it; its say."""
        bin_, examples = counted.bin_of(score, member), score.shape[1]
        cell = np.arange(examples) * (self.count + 1) + self.of_bin[bin_]
        place = (cell * 2 + member).reshape(-1)
        count = np.bincount(place, minlength=examples * (self.count + 1) * 2)
        return count.reshape(examples, -1, 2)[:, :-1], self.say[bin_].sum(0)

    def say_in_rates(
        self,
        levels: Sequence[float],
        called: Int[np.ndarray, "n L 2"],
        total: Int[np.ndarray, "n 1 2"],
    ) -> Float[np.ndarray, "n L"]:
        """What examples have to say in the TPR at each level, as `metrics.pooled` has it."""
        at = self.edge[self.level]
        others, members = int(self.curve.fp[-1]), int(self.curve.tp[-1])
        excess = called[..., 1] - self.curve.tp[at] / members * total[..., 1]
        alarms = called[..., 0] - self.curve.fp[at] / others * total[..., 0]
        return excess - np.array([self._rise(level) for level in levels]) * alarms

    def _rise(self, level: float) -> float:
        """Members to a non-member where a level is kept to, over some ranks around."""
        others = int(self.curve.fp[-1])
        k = allowed(level, others)
        step = 1 + int(np.ceil(2 * np.sqrt(k)))
        around = np.array([max(k + 1 - step, 1), min(k + 1 + step, others)])
        above = self.curve.tp[np.searchsorted(self.curve.fp[1:], around)]
        return float(np.diff(above)[0] / max(1, np.diff(around)[0]))

    def rates(
        self, levels: Sequence[float], sums: Int[np.ndarray, "D C 2"]
    ) -> Float[np.ndarray, "L D"]:
        """The TPRs of draws that have so many non-members and members in each cell."""
        nothing = np.zeros_like(sums[:, :1])
        above = np.concatenate([nothing, np.cumsum(sums, axis=1)], axis=1)
        several, draw = np.append(np.diff(self.edge) > 1, False), np.arange(len(sums))
        false, true = np.moveaxis(np.concatenate([above, above[:, -1:]], axis=1), -1, 0)
        out = []
        for level in levels:
            limit = np.array([allowed(level, n) if n else 0 for n in false[:, -1].tolist()])
            at = (above[..., 0] <= limit[:, None]).sum(1) - 1
            rise = false[draw, at + 1] - false[draw, at]
            part = np.where(several[at], (limit - false[draw, at]) / np.maximum(rise, 1), 0)
            hits = true[draw, at] + part * (true[draw, at + 1] - true[draw, at])
            out.append(hits / np.maximum(true[:, -1], 1))
        return np.array(out)


def _say_in_auc(curve: RocCounts, bins: Int[np.ndarray, " P"]) -> Float[np.ndarray, " B"]:
    """Of a member: how many non-members it beats, less the mean of that; of these the reverse."""
    say, auc = np.zeros(counted.BINS), auc_of(curve)
    above_false, above_true = ((c[1:] + c[:-1]) / (2 * c[-1]) for c in (curve.fp, curve.tp))
    say[bins] = (above_true - auc) / curve.fp[-1]
    say[bins + 1] = (1 - above_false - auc) / curve.tp[-1]
    return say


class Tally:
    """One attack's figures in every draw of examples, added up over panels of them."""

    def __init__(self, curve: RocCounts, levels: Sequence[float], examples: int) -> None:
        """Of nothing yet; `levels` are the FPRs."""
        self.cells, self.levels = Cells.of(curve, levels), levels
        self._sums = np.zeros((DRAWS, self.cells.count, 2), np.int64)
        self._moves = np.zeros((DRAWS, 2))
        self._says = np.zeros((2, examples))  # in AUC and balanced accuracy
        self._powers = np.zeros((2, len(levels)))  # sums of squares and cubes of those in rates
        self._called = np.zeros((len(levels), 2, examples), np.int32)
        self._targets = np.zeros((2, examples), np.int32)
        self._strength = np.zeros(examples)

    def add(self, at: slice, weight: Num[np.ndarray, "D n"], rows: Rows) -> None:
        """Counts a panel of examples: its scores and membership, some targets after the others."""
        cells, size = self.cells, at.stop - at.start
        count = np.zeros((size, cells.count, 2), np.int32)
        for score, member in rows:
            targets, say = cells.targets(score, member)
            count += targets.astype(np.int32)
            self._says[0, at] += say
            inside = np.where(member, np.clip(np.nan_to_num(score), -1e30, 1e30), 0)
            self._strength[at] += inside.sum(0, dtype=np.float64)
        above = np.zeros((size, cells.count + 1, 2), np.int32)
        np.cumsum(count, axis=1, out=above[:, 1:])
        total, called = above[:, -1:], above[:, cells.level]
        self._targets[:, at], self._called[:, :, at] = total[:, 0].T, called.transpose(1, 2, 0)
        share = above[:, cells.top] / _sizes(cells.curve) - total[:, 0] * self._best
        self._says[1, at] = (share[:, 1] - share[:, 0]) / 2
        say = cells.say_in_rates(self.levels, called, total)
        self._powers += np.stack([(say**2).sum(0), (say**3).sum(0)])
        most = float(weight.sum(1).max()) * float(total.sum(-1).max())
        kind = np.float32 if most < 1 << 24 else np.float64  # whole numbers, exact
        self._sums += draws.total(weight, count.reshape(size, -1), kind).reshape(self._sums.shape)
        self._moves += draws.moved(weight, self._says[:, at].T)

    @property
    def _best(self) -> Float[np.ndarray, " 2"]:
        """FPR and TPR of the best balanced accuracy, each by one score of its kind."""
        curve, top = self.cells.curve, self.cells.edge[self.cells.top]
        return np.array([curve.fp[top], curve.tp[top]]) / _sizes(curve) ** 2

    def intervals(self) -> metrics.Intervals:
        """The ends of every figure: BCa, as `metrics.bootstrap` has them of the pooled scores."""
        own = np.array(metrics.figures_of(self.cells.curve, ())[:2])
        moves = np.clip(own + self._moves, 0, 1).T
        says = [draws.acceleration(say) for say in self._says]
        spans = [_bca(*one) for one in zip(moves, own.tolist(), says, strict=True)]
        squares, cubes = self._powers
        says = np.divide(cubes, 6 * squares**1.5, out=np.zeros_like(cubes), where=squares > 0)
        curve, at = self.cells.curve, self.cells.edge[self.cells.level]
        estimates = (curve.tp[at] / curve.tp[-1]).tolist()
        rates = self.cells.rates(self.levels, self._sums)
        ends = [_bca(*one) for one in zip(rates, estimates, says.tolist(), strict=True)]
        return metrics.Intervals(spans[0], spans[1], np.array(ends).reshape(-1, 2))

    def exposures(self) -> list[Exposure]:
        """By level, in how many targets each example is called a member."""
        strength = self._strength / np.maximum(self._targets[1], 1)
        return [
            Exposure(hits, self._targets[1], strength, alarms, self._targets[0])
            for alarms, hits in self._called
        ]

    @property
    def examples(self) -> tuple[int, int]:
        """How many are some target's scored members, and how many some target's non-members."""
        others, members = np.count_nonzero(self._targets, axis=1).tolist()
        return members, others


def _sizes(curve: RocCounts) -> Int[np.ndarray, " 2"]:
    return np.array([curve.fp[-1], curve.tp[-1]])


def _bca(replicates: np.ndarray, estimate: float, acceleration: float) -> np.ndarray:
    return draws.ends(replicates, estimate, acceleration, "bca", CONFIDENCE)
