"""A toy whose truth can be computed: fresh data beside samples of a pool, and their correction."""

from typing import Any, NamedTuple

import numpy as np

from experiments.studies.finite_pool_draws import over_draws, performance
from jaxmia import design
from jaxmia.attacks import attack_every_model
from jaxmia.evaluation.finite_pool import data_share, fresh_signals, inflation
from jaxmia.types import Signals

ATTACK = "lira_online"


class Toy(NamedTuple):
    """phi `[M, N, 1]` of models with fresh data, of samples of a pool, and of these once more."""

    truth: np.ndarray
    pool: np.ndarray
    again: np.ndarray
    member: np.ndarray


def toy(seed: int, noise: float, models: int = 128, examples: int = 1440, size: int = 300) -> Toy:
    """Models that are the mean of half of the vectors; phi is the product with an example.

    Directions are uniform, the logarithms of norms normal with a deviation of 0.5. `noise` is the
    variance of the training's noise over that of the mean of fresh vectors.
    """
    rng, half = np.random.default_rng(seed), examples // 2

    def vectors(count: int) -> np.ndarray:
        directions = rng.standard_normal((count, size))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return directions * np.exp(0.5 * rng.standard_normal((count, 1)))

    def trained(sums: np.ndarray) -> np.ndarray:
        spread = np.sqrt(noise * np.exp(2 * 0.5**2) * half / size)
        return sums + spread * rng.standard_normal(sums.shape)

    x = vectors(examples)
    member = design.complementary_halves(seed, models, examples)
    sums = member.astype(np.float64) @ x
    others = np.stack([vectors(half - 1).sum(0) for _ in range(models)])
    last = vectors(models)  # in the place of an example that is out
    fresh = trained(others) @ x.T + np.where(member, (x * x).sum(1), last @ x.T)
    return Toy(fresh[..., None], (trained(sums) @ x.T)[..., None], (trained(sums) @ x.T)[..., None],
               member)  # fmt: skip


def figures(phi: np.ndarray, member: np.ndarray) -> list[float]:
    """AUC, and TPR at each level, every model attacked in turn."""
    score = attack_every_model(Signals(phi), member, [ATTACK])[ATTACK]
    return performance(score, member)


def toys(draws: int, models: int) -> list[dict[str, Any]]:
    """A row for each noise: the truth, samples of a pool, and these corrected."""
    lines = []
    for noise in (0.0, 1.0):
        cases: dict[str, list[list[float]]] = {"fresh": [], "pool": [], "corrected": []}
        shares = []
        for seed in range(draws):
            one = toy(seed, noise, models)
            shares.append(data_share(one.pool, one.again, one.member))
            rho = inflation(shares[-1], 0.5)
            corrected = fresh_signals(Signals(one.pool), one.member, rho, seed)
            for name, phi in zip(cases, (one.truth, one.pool, corrected.phi), strict=True):
                cases[name].append(figures(np.asarray(phi), one.member))
        f_in, f_out = np.mean(shares, 0).tolist()
        lines.append(
            {"part": "toy", "noise": noise, "draws": draws, "models": models,
             "f_in": f_in, "f_out": f_out, "cases": {k: over_draws(v) for k, v in cases.items()}}
        )  # fmt: skip
    return lines
