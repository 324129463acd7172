"""Whether phi is plausibly something else: losses, `[N, M]`, or on another scale than it should be.

By sums that add up over panels of examples, so that signals on disk are judged as those in memory.
Sound signals are doubted in fewer than one of a hundred runs: of 5000 that
tests/test_false_alarms.py draws (2 to 64 models, 4 to 1000 examples, hard ones, heavy tails), 3 by
these sentences, 25 by those on models, 2 by those on NaN.
"""

from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import fdtri

from jaxmia.attacks.infinite import is_finite
from jaxmia.storage.sources import panels

BYTES = 16 << 20  # of signals that are summed at once
ERRORS = 5  # standard errors by which members' losses must be lower
LEVEL = 1e-3  # of the test that rows differ more than columns do
BITS = 20  # of membership that are complements by accident once in a million
FEW = 50  # examples under which a target's own phi say little
RATIO, SHIFT = 4.0, 4.0  # deviations that differ by such a factor, means by so many deviations
AGAINST, SIGMAS = -0.2, 6  # a correlation below, and by so many of its standard errors


class Moments(NamedTuple):
    """Of phi (view 0) that is finite: count, sum, sum of squares and least, of each model.

    Members first, then the others; all are others where membership is not known.
    """

    count: Float[np.ndarray, "M 2"]
    total: Float[np.ndarray, "M 2"]
    squares: Float[np.ndarray, "M 2"]
    least: Float[np.ndarray, "M 2"]

    def __add__(self, other: "Moments") -> "Moments":  # type: ignore[override]
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            np.minimum(self.least, other.least),
        )

    def mean_and_deviation(self) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, " M"]]:
        """Of each model's phi; NaN where none is finite."""
        count, total, squares = (a.sum(1) for a in self[:3])
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / count
            return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


class Columns(NamedTuple):
    """Of examples' mean phi over models: count, sum and squares.

    And of the models' membership of examples 2i and 2i + 1: how often compared, and how often it is
    the same of both.
    """

    count: int
    total: float
    squares: float
    compared: int
    alike: int

    def __add__(self, other: "Columns") -> "Columns":  # type: ignore[override]
        return Columns(*(a + b for a, b in zip(self, other, strict=True)))


class Agreement(NamedTuple):
    """Of each target's phi x and that of references not trained on the example, y: sums.

    Columns are 1, x, y, x^2, y^2 and x y.
    """

    sums: Float[np.ndarray, "T 6"]

    def __add__(self, other: "Agreement") -> "Agreement":  # type: ignore[override]
        return Agreement(self.sums + other.sums)

    def correlation(self) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"]]:
        """Of each target, and its standard error; NaN where it is not defined."""
        n, x, y, xx, yy, xy = self.sums.T
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt((xx - x * x / n) * (yy - y * y / n))
            r = (xy - x * y / n) / np.where(spread > 0, spread, np.nan)
            return r, np.sqrt(np.maximum(1 - r * r, 1e-9) / np.maximum(n - 2, 1))


class Sums(NamedTuple):
    """All that is summed of the references, and of given targets."""

    reference: Moments
    columns: Columns
    target: Moments | None
    agreement: Agreement | None

    def __add__(self, other: "Sums") -> "Sums":  # type: ignore[override]
        target = self.target and other.target and self.target + other.target
        agreement = self.agreement and other.agreement and self.agreement + other.agreement
        return Sums(
            self.reference + other.reference, self.columns + other.columns, target, agreement
        )


def sums(
    phi: Float[np.ndarray, "M n"],
    member: Bool[np.ndarray, "M n"],
    target: Float[np.ndarray, "T n"] | None = None,
    truth: Bool[np.ndarray, "T n"] | None = None,
    first: int = 0,
) -> Sums:
    """Those of the examples `first`, `first + 1`, ...; those of all panels add up."""
    parts = []
    models = len(phi) + (0 if target is None else len(target))
    for at in panels(phi.shape[1], 8 * models, BYTES):
        own = None if target is None else target[:, at]
        side = None if truth is None else truth[:, at]
        parts.append(_of_panel(phi[:, at], member[:, at], own, side, first + at.start))
    return reduce(add, parts)


def _of_panel(phi, member, target, truth, first: int) -> Sums:
    phi, finite = _finite(phi)
    count = finite.sum(0)
    mean = np.where(finite, phi, 0).sum(0)[count > 0] / count[count > 0]
    left, right = member[:, first % 2 :: 2], member[:, first % 2 + 1 :: 2]
    alike = int((left[:, : right.shape[1]] == right).sum())
    columns = Columns(len(mean), float(mean.sum()), float((mean**2).sum()), right.size, alike)
    if target is None:
        return Sums(_moments(phi, finite, member), columns, None, None)
    own, there = _finite(target)
    outside = finite & ~member
    many = outside.sum(0)
    y = np.where(outside, phi, 0).sum(0) / np.maximum(many, 1)
    both = there & (many > 0)
    x, y = np.where(both, own, 0), np.where(both, y, 0)
    agreement = np.stack([s.sum(1) for s in (both, x, y, x * x, y * y, x * y)], 1)
    truth = np.zeros(target.shape, bool) if truth is None else truth
    return Sums(
        _moments(phi, finite, member), columns, _moments(own, there, truth),
        Agreement(agreement.astype(np.float64)),
    )  # fmt: skip


def _finite(phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return phi.astype(np.float64), is_finite(phi)


def _moments(phi: np.ndarray, finite: np.ndarray, member: np.ndarray) -> Moments:
    sides = [finite & side for side in (member, ~member)]
    values = np.where(finite, phi, 0)
    return Moments(
        np.stack([s.sum(1).astype(np.float64) for s in sides], 1),
        np.stack([values.sum(1, where=s) for s in sides], 1),
        np.stack([(values * values).sum(1, where=s) for s in sides], 1),
        np.stack([values.min(1, where=s, initial=np.inf) for s in sides], 1),
    )


def doubts(of: Sums) -> list[str]:
    """Sentences on signals that are plausibly something else."""
    out = _turned(of) + _losses(of.reference, "signals")
    if of.target is not None and of.agreement is not None:
        out += _losses(of.target, "targets' signals") or _against(of.agreement)
        out += _scale(of.target, of.reference)
    return out


def _turned(of: Sums) -> list[str]:
    """`[N, M]`: neighbouring columns are complements, or rows differ more than columns do."""
    models, examples = len(of.reference.count), of.columns.count
    if models <= examples or examples < 2:
        return []
    rows, _ = of.reference.mean_and_deviation()
    rows = rows[~np.isnan(rows)]
    columns = max(of.columns.squares / examples - (of.columns.total / examples) ** 2, 0)
    between_rows = examples * rows.var() * len(rows) / max(len(rows) - 1, 1)
    between_columns = models * columns * examples / (examples - 1)
    more = between_rows > between_columns * fdtri(max(len(rows) - 1, 1), examples - 1, 1 - LEVEL)
    complements = of.columns.compared >= BITS and not of.columns.alike
    if not (complements or more):
        return []
    return [
        f"The signals have more models ({models}) than examples ({examples}), and look like "
        "[N, M]: transpose signals and membership."
    ]


def _losses(of: Moments, whose: str) -> list[str]:
    count, total, squares = (a.sum(0) for a in of[:3])
    if count.min() < 2 or of.least.min() < 0:
        return []
    mean = total / count
    error = np.sqrt((np.maximum(squares / count - mean**2, 0) / count).sum())
    if not mean[0] < mean[1] - ERRORS * error:
        return []
    return [
        f"The {whose} look like losses: none is negative, and members' are lower. phi is "
        "log(p / (1 - p)), higher for members: of a loss l it is -log(expm1(l))."
    ]


def _against(of: Agreement) -> list[str]:
    r, error = of.correlation()
    off = np.flatnonzero((r < AGAINST) & (r < -SIGMAS * error) & (of.sums[:, 0] >= FEW))
    if not len(off):
        return []
    return [
        f"The target's signals fall where the references' rise (targets {some(off)}, correlation "
        f"{r[off].min():.2f}): losses? phi is log(p / (1 - p)), higher where a model is surer."
    ]


def _scale(of: Moments, beside: Moments) -> list[str]:
    """Means or deviations that no reference comes near to."""
    mean, deviation = of.mean_and_deviation()
    means, deviations = (a[~np.isnan(a)] for a in beside.mean_and_deviation())
    if not len(means) or of.count.sum(1).max() < FEW or np.median(deviations) == 0:
        return []
    centre, width = np.median(means), np.median(deviations)
    with np.errstate(divide="ignore"):
        ratio = np.abs(np.log(deviation / width))
        usual = max(np.log(RATIO), 2 * np.abs(np.log(deviations / width)).max())
    far = np.abs(mean - centre) > max(SHIFT * width, 2 * np.abs(means - centre).max())
    off = np.flatnonzero((of.count.sum(1) >= FEW) & (far | (ratio > usual)))
    if not len(off):
        return []
    t = off[0]
    return [
        f"The target's signals are on another scale than the references' (target {t}: mean "
        f"{mean[t]:.3g}, deviation {deviation[t]:.3g}; references: {centre:.3g} and {width:.3g}): "
        "both must be phi, log(p / (1 - p)), of models trained the same way."
    ]


def some(numbers: np.ndarray) -> str:
    """The first few of them, for a sentence."""
    return ", ".join(map(str, numbers[:5].tolist())) + (", ..." if len(numbers) > 5 else "")
