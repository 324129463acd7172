"""Lower bounds of epsilon from an audit's trials, and what they are of an ideal attack."""

import math
from functools import cache

import numpy as np
from jaxtyping import Bool, Float

from jaxmia import privacy

PILOT = 0.2  # of the trials, on which the threshold is chosen
CONFIDENCE = 0.95
NOISES = (0.2, 50.0)  # noise multipliers among which a sub-sampled mechanism is looked for


def of_scores(
    score: Float[np.ndarray, " M"], member: Bool[np.ndarray, " M"], delta: float, seed: int
) -> dict[str, float | None]:
    """Three lower bounds of epsilon under Gaussian privacy; the AUC's is asymptotic.

    None where the sides do not overlap, so that the AUC's deviation cannot be estimated.
    """
    event = privacy.pilot(score, member, PILOT, seed).event
    area = privacy.mu_from_auc(score, member, CONFIDENCE)
    return {
        "clopper_pearson": at(delta, float(privacy.mu_of_event(event, CONFIDENCE))),
        "joint": at(delta, privacy.mu_joint(event, CONFIDENCE)),
        "auc": None if math.isnan(area) else at(delta, area),
    }


def at(delta: float, mu: float) -> float:
    """The epsilon that Gaussian privacy has at a delta."""
    return privacy.gaussian_epsilon(delta, mu) if mu > 0 else 0.0


def ideal(mu: float, runs: int, delta: float, repetitions: int = 25) -> dict[str, float]:
    """The same bounds, median, of an attack that sees the mechanism's own Gaussian number."""
    rng, out = np.random.default_rng([runs, round(1e6 * mu)]), []
    for seed in range(repetitions):
        member = rng.random(runs) < 0.5
        out.append(of_scores(rng.normal(size=runs) + mu * member, member, delta, seed))
    return {name: median([o[name] for o in out]) for name in out[0]}


def median(values: list[float | None]) -> float:
    """Of bounds, an absent one counted as above all others."""
    return float(np.median([np.inf if v is None else v for v in values]))


def of_sampled(
    score: Float[np.ndarray, " M"],
    member: Bool[np.ndarray, " M"],
    rate: float,
    steps: int,
    delta: float,
    seed: int,
) -> dict[str, float]:
    """Bounds for sub-sampled DP-SGD: by the accountant's profile inverted, and of any mechanism.

    The first is the epsilon of the smallest noise that the joint test refutes, all else being as
    promised: it holds for Poisson batches with this rate and so many steps. The other one holds for
    whatever was trained.
    """
    event = privacy.pilot(score, member, PILOT, seed).event
    return {
        "profile": _by_profile(event, rate, steps, delta),
        "any": privacy.epsilon_joint(event, delta, CONFIDENCE),
    }


def _by_profile(event: privacy.Event, rate: float, steps: int, delta: float) -> float:
    def refuted(noise: float) -> bool:
        allowed = _profile(noise, rate, steps).tpr_bound
        return privacy.joint_p_value(event, allowed) < 1 - CONFIDENCE

    low, high = map(math.log, NOISES)
    if not refuted(NOISES[1]):
        return 0.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if not refuted(math.exp(middle)) else (low, middle)
    profile = _profile(math.exp(high), rate, steps)
    return float(profile.epsilon[profile.delta > delta].max(initial=0.0))  # the grid's below it


@cache
def _profile(noise: float, rate: float, steps: int) -> privacy.Profile:
    return privacy.dp_sgd_profile(noise, rate, steps)
