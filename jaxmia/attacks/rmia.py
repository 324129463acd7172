"""RMIA, the robust membership-inference attack (Zarifzadeh, Liu & Shokri 2024).

With p the probability of the true class, an example x is compared with population points z by

    ratio_x = p_target(x) / Pr(x),    score = share of z with ratio_x / ratio_z > gamma

where Pr(x) is the references' mean of p (online), or `((1 + a) mean_OUT p + 1 - a) / 2` (offline,
their section 3.1). Points of the population are in nobody's training set, so Pr(z) is always the
offline one. For one target and one query the score is a step function of ratio_x, whose own order
is BASE's. Examples beyond all steps tie, and stay tied: with a gamma of 2, which the authors' code
has for CIFAR-10 (ml_privacy_meter, research/2024_rmia, attack_configs/cifar10), few points are
beaten unless models overfit strongly; Privacy Meter itself counts with 1 (modules/mia/attacks).
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks.attacker import BLACK, BOTH, CHANCE, OUT, POPULATION
from jaxmia.attacks.by_example import Chunk, Inputs, arrays, every_model, one_target
from jaxmia.attacks.by_example import attack as by_example
from jaxmia.attacks.gaussians import side
from jaxmia.attacks.infinite import finite
from jaxmia.attacks.references import LeaveOut, leave_out
from jaxmia.types import Array, Attack, Attacker, Signals

GAMMA, A = 2.0, 0.3  # the authors' for CIFAR-10; a is 0.6 for CIFAR-100, 0.2 for Purchase-100
LEAST = 1e-15  # of Pr: where every reference all but excludes the class


def online(
    target: Float[Array, "N *Q"],
    reference: Float[Array, "R N *Q"],
    member: Bool[Array, "R N"],
    population_target: Float[Array, "Z *Q"] | None = None,
    population_reference: Float[Array, "R Z *Q"] | None = None,
    gamma: float = GAMMA,
    a: float = A,
) -> Float[np.ndarray, " N"]:
    """Pr(x) from IN and OUT references; all arrays hold phi, `member` is the references'.

    Several queries vote. Without a population the pool itself is z, each x left out of its own. NaN
    marks what cannot be scored. Raises `ValueError` for shapes or options that do not fit.
    """
    population = (population_target, population_reference)
    return _of_target("online", target, reference, member, population, gamma, a)


def offline(
    target: Float[Array, "N *Q"],
    reference: Float[Array, "R N *Q"],
    member: Bool[Array, "R N"],
    population_target: Float[Array, "Z *Q"] | None = None,
    population_reference: Float[Array, "R Z *Q"] | None = None,
    gamma: float = GAMMA,
    a: float = A,
) -> Float[np.ndarray, " N"]:
    """Pr(x) from OUT references alone; otherwise as `online`."""
    population = (population_target, population_reference)
    return _of_target("offline", target, reference, member, population, gamma, a)


def leave_one_out(
    phi: Float[Array, "M N *Q"],
    member: Bool[Array, "M N"],
    population: Float[Array, "M Z *Q"] | None = None,
    mode: str = "online",
    gamma: float = GAMMA,
    a: float = A,
    balance: str = "auto",
    pairs: Int[Array, " M"] | None = None,
) -> Float[np.ndarray, "M N"]:
    """Every model attacked in turn; what leaves with it is as in `lira.leave_one_out`."""
    phi, member = arrays(phi, member)
    return _of_every_model(
        phi, member, population, mode, gamma, a, leave_out(member, balance, pairs)
    )


def _of_every_model(phi, member, population, mode, gamma, a, leaves: LeaveOut) -> np.ndarray:
    if population is not None:
        phi, population = finite(phi, population)
    job, around = every_model(phi, member, leaves), None
    if population is not None:
        z = _population(population, job.reference.shape)
        around = Inputs(z, z, np.zeros(z.shape[:2], bool), leaves.of_models())
    return _scores(job, around, mode, gamma, a)


def _of_target(mode, target, reference, member, population, gamma, a) -> np.ndarray:
    if (population[0] is None) != (population[1] is None):
        raise ValueError("population_target and population_reference go together")
    if population[1] is not None:
        target, reference, *population = finite(target, reference, *population)
    job, around = one_target(target, reference, member), None
    if population[1] is not None:
        z = _population(population[1], job.reference.shape)
        around = one_target(population[0], z, np.zeros(z.shape[:2], bool))
    return _scores(job, around, mode, gamma, a)[0]


def _population(z: Array, like: tuple[int, ...]) -> np.ndarray:
    z = np.asarray(z)
    z = z.reshape(*z.shape[:2], -1) if z.ndim in (2, 3) else z
    if z.ndim != 3 or (z.shape[0], z.shape[2]) != (like[0], like[2]) or not z.shape[1]:
        raise ValueError(
            f"population: has shape {z.shape}, needs [M, Z, Q] with M={like[0]}, Q={like[2]}, Z > 0"
        )
    return z


def _scores(job: Inputs, around: Inputs | None, mode: str, gamma: float, a: float) -> np.ndarray:
    if mode not in ("online", "offline"):
        raise ValueError(f"mode={mode!r} is not one of ('online', 'offline')")
    if not gamma > 0 or not 0 <= a <= 1:
        raise ValueError(f"gamma={gamma} must be above 0, a={a} must be from 0 to 1")
    queries = job.target.shape[2]
    total = np.zeros(job.target.shape[:2])
    for q in range(queries):
        ratio = _of_query(job, q).scores(log_ratio(mode, a))
        if around is None:
            others = ratio
        else:
            others = _of_query(around, q).scores(log_ratio("offline", a))
        for t in range(len(total)):
            z = others[t] + np.log(gamma)
            total[t] += _beaten(ratio[t], z, around is None, gamma < 1)
    return total / queries


def _of_query(job: Inputs, q: int) -> Inputs:
    if job.target.shape[2] == 1:
        return job
    target = np.ascontiguousarray(job.target[..., q : q + 1])
    same = job.target is job.reference
    reference = target if same else np.ascontiguousarray(job.reference[..., q : q + 1])
    return job._replace(target=target, reference=reference)


def log_ratio(mode: str, a: float) -> Callable[[Chunk], Float[np.ndarray, "T n"]]:
    """`log p_target(x) - log Pr(x)`; NaN without a reference."""

    def ratio(chunk: Chunk) -> np.ndarray:
        own = -np.logaddexp(0, -chunk.target[..., 0])
        return own - log_mean(chunk, mode, a)

    return ratio


def log_mean(chunk: Chunk, mode: str, a: float) -> Float[np.ndarray, "T n"]:
    """`log Pr(x)`."""
    p = np.exp(-np.logaddexp(0, -chunk.reference))
    references = chunk.outside if mode == "offline" else chunk.inside | chunk.outside
    mean = side(p, references, chunk.leaving, "mean").centre[..., 0]
    if mode == "offline":
        mean = ((1 + a) * mean + 1 - a) / 2
    return np.log(np.maximum(mean, LEAST))


def _beaten(ratio: np.ndarray, z: np.ndarray, itself: bool, below_itself: bool) -> np.ndarray:
    """The share of z that lies below.

    `itself`: each x is among z, and does not count; `below_itself`: it lies below itself.
    """
    z = np.sort(z[np.isfinite(z)])
    if len(z) <= itself:
        return np.full(len(ratio), np.nan)
    below = np.maximum(np.searchsorted(z, ratio) - (itself and below_itself), 0)
    return np.where(np.isnan(ratio), np.nan, below / (len(z) - itself))


def attack(mode: str, gamma: float = GAMMA) -> Attack:
    """RMIA as a rung of the ladder, with the population where all were asked about one."""

    def on_target(target: Signals, reference: Signals, member: Bool[Array, "R N"]):
        both = target.population is not None and reference.population is not None
        population = (target.population, reference.population) if both else (None, None)
        return _of_target(mode, target.phi, reference.phi, member, population, gamma, A)

    def on_all(signals: Signals, member: Bool[Array, "M N"], leaves: LeaveOut):
        return _of_every_model(signals.phi, member, signals.population, mode, gamma, A, leaves)

    knows = f"{BOTH if mode == 'online' else OUT}{POPULATION}"
    paper = "Zarifzadeh, Liu & Shokri 2024"
    return Attack(on_target, on_all, Attacker(BLACK, CHANCE, knows), paper=paper)


# BASE (arXiv 2505.24089): log p_target(x) - log mean_r p_r(x), the mean over all references, IN and
# OUT, so that few of them are enough
BASE = by_example(log_ratio("online", 0.0), Attacker(BLACK, CHANCE, BOTH), "arXiv 2505.24089")
