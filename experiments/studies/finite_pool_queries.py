"""The same digits asked of networks that were trained on samples of pools of three sizes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

import jaxmia
from experiments import digits
from experiments.studies.finite_pool_draws import over_draws, performance
from jaxmia import Experiment, data, design
from jaxmia.attacks import lira
from jaxmia.evaluation.finite_pool import Sides, data_share, fresh_signals, inflation
from jaxmia.options import Options
from jaxmia.types import Data, Signals
from jaxmia.values import factory


@factory
def all_digits() -> Callable[[], Data]:
    """1617 digits in one random order, and 180 aside."""

    def load() -> Data:
        whole = data.digits()()
        x = np.concatenate([whole.x, whole.x_test])
        y = np.concatenate([whole.y, whole.y_test])
        order = np.random.default_rng(0).permutation(len(y))
        pool, aside = order[180:], order[:180]
        return replace(whole, x=x[pool], y=y[pool], x_test=x[aside], y_test=y[aside])

    return load


QUERIES, MEMBERS = 360, 180
# of each pool its records, and references for each on a side, so that every query has enough
POOLS = {"pool of 360": (360, 3.0), "pool of 720": (720, 6.0), "pool of 1617": (1617, 13.6)}
CORRECTED = "the first, corrected to the last"


class Size(NamedTuple):
    """Targets, references of each on a side, and epochs of every network."""

    models: int
    references: int
    epochs: int


def small_pools(size: Size, options: Callable[[str], Options]) -> list[dict[str, Any]]:
    """A row: the same queries asked of models of three pools, and the smallest one corrected."""
    cases: dict[str, dict[str, Any]] = {}
    variances: dict[str, list[float]] = {}
    share = Sides(1.0, 1.0)
    for name, (records, factor) in POOLS.items():
        first = records == QUERIES
        small = Experiment(
            name="pool",
            data=data.first(all_digits(), records),
            recipe=replace(digits.experiment.recipe, epochs=size.epochs),
            models=size.models + round(factor * size.references),
            design=design.fixed_size(MEMBERS),
            attacks=("global_threshold",),
            repeat_sets=min(64, size.models) if first else 0,
        )
        run = jaxmia.run(small, options(name.replace(" ", "_")))
        phi, member = np.asarray(run.signals.phi)[:, :QUERIES], run.member[:, :QUERIES]
        variances[name] = [_variance(phi, member), _variance(phi, ~member)]
        several = [(name, phi)]
        if first:
            assert run.repeats is not None
            again = np.asarray(run.repeats.signals.phi)
            share = data_share(phi[: len(again)], again, member[: len(again)])
            rho = inflation(share, MEMBERS / QUERIES, MEMBERS / 1617)
            corrected = np.asarray(fresh_signals(Signals(phi), member, rho).phi)
            several.append((CORRECTED, corrected))
        for case, of in several:
            scores = [attacked(of, member, size.models, size.references, seed) for seed in range(5)]
            cases[case] = over_draws([performance(*pair) for pair in scores])
    return [
        {"part": "small_pool", "queries": QUERIES, "members": MEMBERS, "targets": size.models,
         "references": 2 * [size.references], "draws": 5, "f_in": share.inside,
         "f_out": share.outside, "variance_in_out": variances, "cases": cases}
    ]  # fmt: skip


def _variance(phi: np.ndarray, side: np.ndarray) -> float:
    """The mean over queries of the variance of phi on one side."""
    n = side.sum(0)
    off = phi[..., 0] - phi[..., 0].sum(0, where=side) / np.maximum(n, 1)
    return float(((off**2).sum(0, where=side) / np.maximum(n - 1, 1)).mean())


def attacked(
    phi: np.ndarray, member: np.ndarray, targets: int, references: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and membership of so many targets, by equal numbers of IN and OUT references."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(phi))
    at, others = order[:targets], order[targets:]
    rank = rng.random((len(others), member.shape[1]))
    reference = []
    for side in (member[others], ~member[others]):
        places = np.argsort(np.where(side, rank, 2), axis=0)[:references]
        values = np.where(side, phi[others, :, 0], np.nan)  # NaN is no reference
        reference.append(np.take_along_axis(values, places, axis=0))
    inside = np.repeat([True, False], [len(side) for side in reference])
    both = np.concatenate(reference)
    inside = np.repeat(inside[:, None], both.shape[1], axis=1)
    scores = [lira.online(phi[target, :, 0], both, inside) for target in at]
    return np.stack(scores), member[at]
