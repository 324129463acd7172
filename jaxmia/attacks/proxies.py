"""Proxy attacks: of a record that no shadow model was trained on, others stand in for the IN law.

The attacker cannot train for the query, and has shadow models that were trained on other records.
These tell the OUT law of the query itself; its IN law is that of proxies, records whose IN models
there are:

    global    all other records, all their IN references together
    class     those of the query's label
    instance  the one of the same label that is nearest to it, by the cosine of features, among
              those of which the target has two IN references; what other targets have, and so
              whether this one was trained on them, has no say
    score = mean_q [ log N(phi; median_in, s_in) - log N(phi; median_out, s_out) ]

Medians are robust, s are standard deviations about the mean (of n, not n - 1). The query's own IN
references have no say. `global` and `class` spread as examples differ from each other, far wider
than the models of one example do, and so find less than a regression from the query's OUT law
(`imputation`). NaN with fewer than two references of a side.

Medians without a target's references and without the query's own need no sorting of the rest: all
values are sorted once, and a rank moves on past whoever is left out before it.

Du et al. 2026 (NDSS), the non-adaptive attack.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks.attacker import BLACK, CHANCE, IMPUTED
from jaxmia.attacks.by_example import Chunk, Inputs, every_model, one_target
from jaxmia.attacks.gaussians import side
from jaxmia.attacks.references import LeaveOut
from jaxmia.attacks.student import FLOOR, least_variance
from jaxmia.machine import cores
from jaxmia.types import Array, Attack, Attacker, Signals

ROWS = 1024  # examples whose cosines are computed at once
SEVERAL = 3  # sets of proxies from which on the nearest are sorted out for all of them
NEAR = 8  # of the nearest, among which a proxy is looked for first


class Normals(NamedTuple):
    """A normal law of phi for each target, example and view; NaN where there is none."""

    centre: Float[np.ndarray, "T n Q"]
    variance: Float[np.ndarray, "T n Q"]

    def log_density(self, phi: Float[np.ndarray, "T n Q"]) -> Float[np.ndarray, "T n Q"]:
        """Of the targets' phi, but for a constant."""
        return -0.5 * ((phi - self.centre) ** 2 / self.variance + np.log(self.variance))


def _own(chunk: Chunk, weight: Bool[np.ndarray, "M n"]) -> Normals:
    """The median and variance of each example's own references of one side; NaN below two."""
    fit = side(chunk.reference, weight, chunk.leaving, "median")
    variance = np.maximum(fit.squares / fit.n, least_variance(fit))
    return Normals(fit.centre, np.where(fit.n > 1, variance, np.nan))


def _pooled(job: Inputs, groups: Int[np.ndarray, " N"]) -> Normals:
    """The median and variance of the IN references of all other examples of each one's group."""
    chunk = job.chunk(slice(0, job.reference.shape[1]))
    targets, (_, examples, queries) = len(chunk.target), chunk.reference.shape
    out = Normals(*np.full((2, targets, examples, queries), np.nan))
    for group in np.unique(groups):
        at = np.flatnonzero(groups == group)
        inside = chunk.inside[:, at]
        leaving = [np.broadcast_to(m, (targets, examples))[:, at] for m in chunk.leaving]
        for q in range(queries):
            phi = np.where(inside, chunk.reference[:, at, q], np.inf)
            order = np.argsort(phi, axis=None, kind="stable")[: int(inside.sum())]

            def of_target(t: int, phi=phi, order=order, inside=inside, leaving=leaving):
                return _without_each(phi, order, _staying(inside, [m[t] for m in leaving]))

            with ThreadPoolExecutor(cores()) as pool:
                laws = list(pool.map(of_target, range(targets)))
            for values, law in zip(out, zip(*laws, strict=True), strict=True):
                values[:, at, q] = np.stack(law)
    return out


def _staying(
    inside: Bool[np.ndarray, "M n"], leaving: list[Int[np.ndarray, " n"]]
) -> Bool[np.ndarray, "M n"]:
    """The IN references of one target."""
    stays = inside.copy()
    for model in leaving:
        away = np.flatnonzero(model >= 0)
        stays[model[away], away] = False
    return stays


def _without_each(
    phi: Float[np.ndarray, "M n"], order: Int[np.ndarray, " K"], stays: Bool[np.ndarray, "M n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Median and variance of all values that stay but those of one column, for each column.

    `order` are the places of all values, from the smallest on.
    """
    there = stays.ravel()[order]
    values = phi.ravel()[order[there]]
    rank = np.full(stays.size, len(values) + len(stays))
    rank[order[there]] = np.arange(len(values))
    own = np.sort(rank.reshape(stays.shape), axis=0) - np.arange(len(stays))[:, None]
    rest = len(values) - stays.sum(0)
    enough = rest > 1

    def value(place: np.ndarray) -> np.ndarray:
        """What stands at a place among the rest: the column's own before it are passed."""
        return values[np.where(enough, place + (own <= place).sum(0), 0)]

    if not enough.any():
        return np.full(len(rest), np.nan), np.full(len(rest), np.nan)
    median = np.where(enough, (value((rest - 1) // 2) + value(rest // 2)) / 2, np.nan)
    apart = np.where(stays, phi - values[len(values) // 2], 0.0)  # so squares keep their digits
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, square = (_others(a.sum(0)) / rest for a in (apart, apart * apart))
        variance = np.maximum(square - mean**2, (FLOOR * (1 + np.abs(median))) ** 2)
    return median, np.where(enough, variance, np.nan)


def _others(a: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The sum of all entries but each; nothing is added that is taken away again."""
    before, after = np.cumsum(a), np.cumsum(a[::-1])[::-1]
    return np.append(0.0, before[:-1]) + np.append(after[1:], 0.0)


def _scores(job: Inputs, inside: Normals) -> Float[np.ndarray, "T N"]:
    """The mean log-ratio over the views."""

    def work(at: slice) -> np.ndarray:
        chunk = job.chunk(at)
        law = Normals(*(a[:, at] for a in inside))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            out = _own(chunk, chunk.outside)
            return (law.log_density(chunk.target) - out.log_density(chunk.target)).mean(-1)

    return np.concatenate(job.map(work), axis=1)


def _attack(law: Callable[[Inputs, Signals], Normals], needs: tuple[str, ...]) -> Attack:
    """A rung of the ladder by what the proxies' IN law is."""

    def on_target(target: Signals, reference: Signals, member: Bool[Array, "R N"]):
        job = one_target(target.phi, reference.phi, member)
        return _scores(job, law(job, reference))[0]

    def on_all(signals: Signals, member: Bool[Array, "M N"], leaves: LeaveOut):
        job = every_model(signals.phi, member, leaves)
        return _scores(job, law(job, signals))

    attacker = Attacker(BLACK, CHANCE, IMPUTED)
    return Attack(on_target, on_all, attacker, needs, log_ratio=True, paper="Du et al. 2026")


def _of_all(job: Inputs, signals: Signals) -> Normals:
    return _pooled(job, np.zeros(job.reference.shape[1], int))


def _of_class(job: Inputs, signals: Signals) -> Normals:
    return _pooled(job, np.asarray(signals.y))


def _of_nearest(job: Inputs, signals: Signals) -> Normals:
    parts = zip(*job.map(lambda at: _inside(job, at)), strict=True)
    inside = Normals(*(np.concatenate(part, axis=1) for part in parts))
    features, y = np.asarray(signals.features), np.asarray(signals.y)
    several = np.asarray(np.isfinite(inside.variance).all(-1))  # [T, N], mostly alike for all
    kinds, which = np.unique(several, axis=0, return_inverse=True)
    near = nearest(features, y, kinds)[which.reshape(-1), :, None]
    return Normals(
        *(np.where(near >= 0, np.take_along_axis(law, np.maximum(near, 0), 1), np.nan)
          for law in inside)
    )  # fmt: skip


def _inside(job: Inputs, at: slice) -> Normals:
    chunk = job.chunk(at)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _own(chunk, chunk.inside)


def nearest(
    features: Float[np.ndarray, "N F"], y: Int[np.ndarray, " N"], proxies: Bool[np.ndarray, "K N"]
) -> Int[np.ndarray, "K N"]:
    """Of each example the other proxy of its label with the largest cosine; -1 if there is none.

    For each of several sets of proxies. The first of several that are as near.
    """
    out = np.full(proxies.shape, -1)
    for label in np.unique(y[proxies.any(0)]):
        at = np.flatnonzero(y == label)
        x = np.asarray(features[at], np.float64)
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        for start in range(0, len(at), ROWS):
            rows = np.arange(start, min(start + ROWS, len(at)))
            cosine = x[rows] @ x.T
            cosine[np.arange(len(rows)), rows] = -np.inf
            best = _nearest_of_each(cosine, proxies[:, at])
            out[:, at[rows]] = np.where(best >= 0, at[best], -1)
    return out


def _nearest_of_each(
    cosine: Float[np.ndarray, "r n"], proxies: Bool[np.ndarray, "K n"]
) -> Int[np.ndarray, "K r"]:
    """Each row's largest cosine among each of the sets of proxies: its place, -1 for none.

    Of several sets, which differ in few examples, the few that are nearest whatever is a proxy
    settle nearly all rows.
    """
    if len(proxies) < SEVERAL:
        return np.stack([_nearest_among(cosine, kind) for kind in proxies])
    few = min(NEAR, cosine.shape[1])
    near = np.sort(np.argpartition(cosine, -few, axis=1)[:, -few:], axis=1)  # first ones first
    of_near = np.take_along_axis(cosine, near, 1)
    out = np.empty((len(proxies), len(cosine)), int)
    for best, kind in zip(out, proxies, strict=True):
        there = np.where(kind[near], of_near, -np.inf)
        best[:] = np.take_along_axis(near, there.argmax(1)[:, None], 1)[:, 0]
        # others might be as near as the last of the few
        unsettled = np.flatnonzero(there.max(1) <= of_near.min(1))
        best[unsettled] = _nearest_among(cosine[unsettled], kind)
    return out


def _nearest_among(
    cosine: Float[np.ndarray, "r n"], proxies: Bool[np.ndarray, " n"]
) -> Int[np.ndarray, " r"]:
    there = np.where(proxies, cosine, -np.inf)
    best = there.argmax(1)
    return np.where(there[np.arange(len(best)), best] > -np.inf, best, -1)


PROXY_GLOBAL = _attack(_of_all, ("phi",))
PROXY_CLASS = _attack(_of_class, ("phi", "y"))
PROXY_INSTANCE = _attack(_of_nearest, ("phi", "y", "features"))
