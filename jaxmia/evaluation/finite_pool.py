"""What is left for an attacker without the pool: phi as fresh data would have spread it.

All models draw their n members from one pool of N. Drawn without replacement, the other records
move an example's phi less than as many fresh ones would: that part of its variance has the factor
1 - n/N (Cochran 1977, section 2.6). So figures are right for an attacker who holds the pool, and
too high for one who has other data of the same distribution (cf. arXiv 2605.25819). Sets that are
trained twice tell how large that part is, on each side (IN, OUT):

    f    = between / (within + between)             of the variance of phi
    rho  = 1 + f (n/N) / (1 - n/N)
    phi' = phi + sqrt((rho - 1) v) z                z standard normal, v the variance of phi

and the attacks are then made on phi'. What is missing is the move of the pool's own mean from one
pool to the next, which is independent of the sample and nearly normal; hence the noise. To stretch
phi about its mean by sqrt(rho) would give the same variances, but leave the references' mean as
sure as before, and with it an AUC below 1/2 where nobody leaks (0.47 with 128 models).
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import digamma, polygamma

from jaxmia.types import Array, Signals

ALIKE = 6  # standard deviations within which examples are members equally often


class Sides(NamedTuple):
    """What holds for models trained with an example, and what for those trained without."""

    inside: float
    outside: float


def sampling_fraction(member: Bool[Array, "M N"]) -> float | None:
    """The share n/N of the pool that a model is trained on.

    None where examples are not members equally often (canaries, a chance of each its own): such
    models are no samples of one pool.
    """
    member = np.asarray(member, bool)
    models, examples = member.shape
    p = float(member.mean())
    if not 0 < p < 1:
        return None
    spread = ((member.sum(0) - models * p) ** 2).sum() / (models * p * (1 - p))
    return p if spread <= examples + ALIKE * np.sqrt(2 * examples) else None


def data_share(
    phi: Float[Array, "K N Q"], again: Float[Array, "K N Q"], member: Bool[Array, "K N"]
) -> Sides:
    """f: the share of the variance of phi that is due to who else is a member.

    `again` is phi of models with the same members, trained with other seeds. Per example and side
    the variance within a set is that of its two models, the variance between sets that of their
    means less half of it (one-way random effects; Searle, Casella & McCulloch 1992, section 3.6);
    f is a ratio of sums over examples and views. NaN where no example has two sets of a side; what
    is not finite is left out.
    """
    member = np.asarray(member, bool)
    first, second = np.asarray(phi, np.float64), np.asarray(again, np.float64)
    both = np.isfinite(first) & np.isfinite(second)
    gap, mean = np.where(both, first - second, 0.0), np.where(both, (first + second) / 2, 0.0)
    share = []
    for side in (member, ~member):
        finite = both & side[..., None]
        n = finite.sum(0)
        some = n >= 2
        within = (gap**2).sum(0, where=finite)[some] / 2 / n[some]
        off = mean - mean.sum(0, where=finite) / np.maximum(n, 1)
        between = (off**2).sum(0, where=finite)[some] / (n[some] - 1) - within / 2
        whole = float(within.sum() + between.sum())
        share.append(float(np.clip(between.sum() / whole, 0, 1)) if whole > 0 else np.nan)
    return Sides(*share)


def inflation(share: Sides, fraction: float, wider: float = 0.0) -> Sides:
    """rho: how much larger the variance of phi is with fresh data than with samples of the pool.

    `fraction` is n/N of the pool; `wider` that of a larger pool, in place of fresh data. Raises
    `ValueError` unless 0 <= wider <= fraction < 1.
    """
    if not 0 <= wider <= fraction < 1:
        raise ValueError(f"fraction={fraction}, wider={wider}: must be 0 <= wider <= fraction < 1")
    return Sides(*(1 + f * ((1 - wider) / (1 - fraction) - 1) for f in share))


def fresh_signals(
    signals: Signals, member: Bool[Array, "M N"], rho: Sides, seed: int = 0
) -> Signals:
    """phi' with its labels, and a population, which is in nobody's training set, the same way.

    Signals other than these are dropped. Raises `ValueError` for a rho below 1.
    """
    if min(rho) < 1:
        raise ValueError(f"rho={tuple(rho)} must be 1 or more")
    rng = np.random.default_rng([seed, 0x706F6F6C])
    phi, member = np.asarray(signals.phi), np.asarray(member, bool)
    inside, outside = _variances(phi, member)
    scale = np.where(
        member[..., None],
        np.sqrt((rho.inside - 1) * inside),
        np.sqrt((rho.outside - 1) * outside),
    )
    around = None if signals.population is None else np.asarray(signals.population)
    if around is not None:
        _, alone = _variances(around, np.zeros(around.shape[:2], bool))
        around = _moved(around, np.sqrt((rho.outside - 1) * alone)[None], rng)
    return replace(Signals(_moved(phi, scale, rng)), y=signals.y, population=around)


def _moved(phi: np.ndarray, scale: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An example's views move together, since all see the same other records."""
    moved = phi + scale * rng.standard_normal((*phi.shape[:2], 1))
    largest = np.finfo(phi.dtype).max
    return np.clip(moved, -largest, largest).astype(phi.dtype)


def _variances(phi: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The variance `[N, Q]` of each example's phi IN and OUT: both sides' together, times a ratio.

    The log-ratio of the two sides is drawn towards its mean over examples as far as their number
    makes it uncertain (empirical Bayes by moments; Smyth 2004), for sides that differ by chance
    alone would tell members apart by their noise.
    """
    free, squares = [], []
    for side in (member, ~member):
        finite = np.isfinite(phi) & side[..., None]
        n = finite.sum(0)
        mean = phi.sum(0, dtype=np.float64, where=finite) / np.maximum(n, 1)
        off = np.subtract(phi, mean, out=np.zeros(phi.shape), where=finite)
        squares.append((off * off).sum(0))
        free.append(np.maximum(n - 1, 0))
    ratio = _ratio(free, squares)
    together = squares[0] + squares[1]
    outside = together / np.maximum(free[0] * ratio + free[1], 1)
    return outside * ratio, outside


def _ratio(free: list[np.ndarray], squares: list[np.ndarray]) -> np.ndarray:
    """The variance IN over the variance OUT of each example, by degrees of freedom and squares."""
    some = (np.minimum(*free) > 0) & (np.minimum(*squares) > 0)
    if not some.any():
        return np.ones(some.shape)
    half = [f[some] / 2 for f in free]
    logs = [
        np.log(s[some] / (2 * h)) - digamma(h) + np.log(h)
        for s, h in zip(squares, half, strict=True)
    ]
    difference, noise = logs[0] - logs[1], polygamma(1, half[0]) + polygamma(1, half[1])
    mean = difference.mean()
    true = max(float(difference.var() - noise.mean()), 0.0)
    out = np.full(some.shape, np.exp(mean))
    out[some] = np.exp(mean + true / (true + noise) * (difference - mean))
    return out
