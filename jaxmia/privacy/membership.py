"""Membership privacy (Li et al. 2013): posteriors and gamma, by what an attacker holds possible.

A family is a set of distributions of the training set. A mechanism gives gamma of positive
membership privacy when posterior <= gamma p and 1 - posterior >= (1 - p) / gamma for each record's
prior p, and of negative membership privacy when posterior >= p / gamma and 1 - posterior <= gamma
(1 - p). An epsilon of the family's relation bounds the likelihood ratio of IN over OUT by e^eps on
both sides, from which all of it follows.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit, logit

from jaxmia import design as designs
from jaxmia.privacy.accounting import check_relation, converted
from jaxmia.privacy.bounds import check, checked_prior
from jaxmia.privacy.events import Event, gamma_of_event
from jaxmia.types import Array
from jaxmia.values import Value


class Family(NamedTuple):
    """`priors` are those that a record may have, () any; `relation` is that of its epsilon."""

    name: str
    relation: str
    priors: tuple[float, ...] = ()


def independent() -> Family:
    """Every record in or out by itself, with any prior: unbounded differential privacy."""
    return Family("mutually independent records, any prior", "add/remove")


def half() -> Family:
    """Every record in or out by a fair coin."""
    return Family("mutually independent records, prior 1/2", "add/remove", (0.5,))


def sampled(beta: float) -> Family:
    """Priors 0 or beta: differential privacy under sampling."""
    checked_prior(beta)
    return Family(f"mutually independent records, prior 0 or {beta:g}", "add/remove", (0.0, beta))


def identifiable(candidates: int) -> Family:
    """Priors 1 or 1/m, mutually independent: differential identifiability."""
    return Family(
        f"mutually independent records, prior 1 or 1/{candidates}",
        "add/remove",
        (1.0, 1 / _candidates(candidates)),
    )


def bounded() -> Family:
    """Independent records given how many they are, any prior: bounded differential privacy."""
    return Family("a known number of records, any prior", "replace-one")


def fixed_size(members: int, examples: int) -> Family:
    """A known number of the records, every such set equally likely."""
    if not 1 <= members <= examples:
        raise ValueError(f"members={members} must be between 1 and the {examples} examples")
    share = members / examples
    return Family(f"{members} of {examples} records", "replace-one", (share,))


def one_unknown(candidates: int) -> Family:
    """Everyone is in but m candidates, of whom exactly one is (Lee & Clifton 2012)."""
    m = _candidates(candidates)
    return Family(f"one of {m} candidates, all others in", "replace-one", (1.0, 1 / m))


def _candidates(candidates: int) -> int:
    if candidates < 2:
        raise ValueError(f"candidates={candidates} must be 2 or more")
    return candidates


def family_of(design: Callable, examples: int) -> Family:
    """The family that a membership design samples.

    Raises `ValueError` for a design that is not one of jaxmia's.
    """
    if design is designs.complementary_halves:
        return fixed_size(examples // 2, examples)
    if not isinstance(design, Value):
        raise ValueError(f"design={design!r} samples no family that is known here")
    set_to = design.arguments
    name = design.factory.__name__
    if name == "fixed_size":
        return fixed_size(set_to["k"], examples)
    if name == "one_unknown":
        return one_unknown(len(set_to["candidates"]))
    if name == "canaries":
        return Family("canaries by fair coins, all others in", "add/remove", (0.5, 1.0))
    if name in ("poisson", "balanced_columns", "official_lira"):
        priors = tuple(sorted(set(np.atleast_1d(np.asarray(set_to["p"], float)).tolist())))
        words = ", ".join(f"{p:g}" for p in priors[:4]) + (", ..." if len(priors) > 4 else "")
        return Family(f"mutually independent records, prior {words}", "add/remove", priors)
    raise ValueError(f"design={design!r} samples no family that is known here")


def relation_of(design: Callable | None, member: Bool[Array, "M N"]) -> str:
    """The relation that goes with a design; with none that is known, with the membership drawn.

    All models of one size are a sample of a family whose number of records is known.
    """
    relation = None if design is None else relation_of_design(design, np.shape(member)[1])
    return relation or relation_of_sizes(np.asarray(member, bool).sum(1))


def relation_of_design(design: Callable, examples: int) -> str | None:
    """The relation that goes with a design; None for one that is not jaxmia's."""
    try:
        return family_of(design, examples).relation
    except ValueError:
        return None


def relation_of_sizes(sizes: Int[Array, " M"]) -> str:
    """The relation that goes with a membership of which only each model's size is known."""
    sizes = np.asarray(sizes)
    same = len(sizes) > 1 and sizes.max() - sizes.min() <= 1
    return "replace-one" if same else "add/remove"


class Membership(NamedTuple):
    """What an epsilon allows of each record, or at the worst: posteriors, and both gammas."""

    prior: Float[np.ndarray, "*N"]
    posterior_most: Float[np.ndarray, "*N"]
    posterior_least: Float[np.ndarray, "*N"]
    positive: Float[np.ndarray, "*N"]
    negative: Float[np.ndarray, "*N"]


def membership_privacy(epsilon: float, prior: Float[Array, "*N"] | float) -> Membership:
    """Bounds for records of these priors, where epsilon is of the relation of their family.

    `posterior_most = e^eps p / (1 - p + e^eps p)`, `posterior_least` with -eps. What is known, a
    prior of 0 or 1, stays so, with gammas of 1.
    """
    check(epsilon, 0.0)
    p = np.asarray(prior, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"prior={prior} must be from 0 to 1")
    e = np.exp(min(epsilon, 700.0))
    up, down = 1 - p + p * e, p + (1 - p) * e  # the evidence's weight, for and against
    certain = (p == 0) | (p == 1)
    positive = np.where(certain, 1.0, np.maximum(e / up, up))
    negative = np.where(certain, 1.0, np.maximum(e / down, down))
    return Membership(p, p * e / up, p / down, positive, negative)


def membership_gamma(
    epsilon: float, prior: Float[Array, "*P"] | float
) -> Float[np.ndarray, "*P"] | float:
    """The gamma of positive membership privacy that an epsilon gives at a prior within (0, 1).

    Li et al. 2013, definition 3.1. Over all priors it is e^eps.
    """
    checked_prior(prior)
    return membership_privacy(epsilon, prior).positive


def worst_case(
    family: Family, epsilon: float, delta: float = 0.0, relation: str | None = None
) -> Membership:
    """The worst that an epsilon allows over all records and distributions of a family.

    `relation` is the epsilon's, the family's own by default; an add/remove epsilon is doubled where
    the family wants replace-one (`accounting.converted`). With a delta no gamma is finite: rare
    events tell all. Raises `ValueError` for a delta above 0, or a relation that gives no bound.
    """
    if relation is not None:
        check_relation(relation)
        epsilon, delta = converted(epsilon, delta, relation, family.relation)
    if delta:
        raise ValueError(
            f"delta={delta} must be 0: no gamma is finite with one; `posterior_bound_of_event` "
            "bounds events of a given FPR"
        )
    if family.priors:
        each = membership_privacy(epsilon, np.array(family.priors))
        at = int(np.argmax(np.maximum(each.positive, each.negative)))
        most = [np.max(gamma) for gamma in (each.positive, each.negative)]
        return Membership(*(np.asarray(v) for v in (*(x[at] for x in each[:3]), *most)))
    e, unknown = np.exp(min(epsilon, 700.0)), np.float64("nan")
    return Membership(*map(np.asarray, (unknown, unknown, unknown, e, e)))


def posterior_allowed(gamma: float, prior: float) -> float:
    """The largest posterior that positive membership privacy at gamma allows."""
    if gamma < 1:
        raise ValueError(f"gamma={gamma} must be 1 or more")
    p = float(checked_prior(prior))
    return min(gamma * p, 1 - (1 - p) / gamma)


class ExampleGamma(NamedTuple):
    """Lower bounds of gamma: of each example by itself, and of the one that leaks most."""

    each: Float[np.ndarray, " N"]
    worst: float
    example: int


def gamma_of_examples(
    score: Float[Array, "T N"],
    member: Bool[Array, "T N"],
    threshold: Float[Array, " N"] | float,
    prior: float = 0.5,
    confidence: float = 0.95,
) -> ExampleGamma:
    """What an attack shows of every example's gamma over independent targets, and at the worst.

    The event is {score >= threshold}, thresholds fixed beforehand, targets disjoint from their
    references. `each` holds for any one example that was named beforehand; `worst` is the largest
    after all N were looked at, each at a confidence of 1 - (1 - confidence) / N.
    """
    score, member = np.asarray(score, np.float64), np.asarray(member, bool)
    scored = ~np.isnan(score)
    with np.errstate(invalid="ignore"):
        called = (score >= np.asarray(threshold)) & scored
    event = Event(
        (called & member).sum(0),
        (member & scored).sum(0),
        (called & ~member).sum(0),
        (~member & scored).sum(0),
    )
    some = np.asarray(event.positives) * np.asarray(event.negatives) > 0
    counts = Event(*(np.where(some, n, 1) for n in event))  # what is nobody's is replaced below
    out = []
    for level in (confidence, 1 - (1 - confidence) / score.shape[1]):
        out.append(np.where(some, gamma_of_event(counts, prior, level), 1.0))
    at = int(np.argmax(out[1]))
    return ExampleGamma(out[0], float(out[1][at]), at)


def fixed_size_posterior(ratio: Float[Array, " N"], members: int) -> Float[np.ndarray, " N"]:
    """Posteriors from log-likelihood ratios where exactly `members` of the records are in.

    The law of independent records given their number, of which `one_unknown` is the case of one
    member among the candidates (a softmax). By the characteristic function of the number, about
    the odds that expect so many. Raises `ValueError` for a number that does not fit.
    """
    ratio = np.asarray(ratio, np.float64)
    N = len(ratio)
    if not 1 <= members <= N or not np.isfinite(ratio).all():
        raise ValueError(f"members={members} must be 1 to {N}, and all ratios finite")
    if members == N:
        return np.ones(N)
    chance = expit(ratio + _tilt(ratio, members))
    points = N + 1 + N % 2  # odd, so that no factor is zero at a frequency of pi
    step = 2 * np.pi / points
    spread = float((chance * (1 - chance)).sum())
    few = int(np.ceil(np.arccos(max(-1.0, 1 - 40 / max(spread, 1e-9))) / step)) + 1
    whole = 0.0
    joint = np.zeros(N)
    for i in range(min(few, points // 2) + 1):
        turn = np.exp(1j * step * i)
        factor = 1 - chance + chance * turn
        product = np.exp(np.log(factor).sum())
        weight = (1 if i == 0 else 2) * product * turn ** (-float(members))
        whole += weight.real
        joint += (weight * turn / factor).real
    return np.clip(chance * joint / whole, 0, 1)


def _tilt(ratio: np.ndarray, members: int) -> float:
    """The logit to add so that as many members are expected."""
    low, high = -ratio.max() - 50 + logit(0.5), -ratio.min() + 50
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(ratio + middle).sum() < members else (low, middle)
    return (low + high) / 2
