"""An audit of a promised epsilon by canary scores: lower bounds, a verdict, what could have shown.

Every bound is one-sided at the confidence by itself. One of them decides, by what is assumed of the
mechanism and not by what it shows: to pick the largest would err more often than each.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import bdtr, ndtr

from jaxmia.metrics import auc_interval
from jaxmia.privacy.area import mu_from_auc
from jaxmia.privacy.bounds import check, gaussian_epsilon, gaussian_mu
from jaxmia.privacy.events import Event, epsilon_lower_bound, epsilon_of_event
from jaxmia.privacy.joint import mu_joint
from jaxmia.privacy.one_run import correct_of_ideal, epsilon_one_run, guessed, mu_one_run
from jaxmia.privacy.pilots import one_each, pilot
from jaxmia.types import Array

ASSUMPTIONS = {
    "any": "any mechanism",
    "gaussian": "Gaussian privacy: full batches, or many steps",
    "independent": "Gaussian privacy, and noise of each canary's own",
}
SURE = 0.999  # how sure a doubt is before it is said
UNFAIR = 1e-6  # a chance of fair coins below which they are not


class LowerBound(NamedTuple):
    """A lower bound of epsilon, and the most that counts like these could have shown.

    `epsilon` is None where no bound can be given, `most` where there is no such limit.
    """

    name: str
    epsilon: float | None
    mu: float | None
    assumes: str
    exact: bool
    most: float | None


class DpAudit(NamedTuple):
    """What an audit shows of a promise at delta; `refuted` is None where none was made.

    `decided_by` names the bound that decides. `ideal` is what it would show, typically, of a
    mechanism that keeps the promise and no more, under the best attack with counts like these.
    """

    design: str
    delta: float
    confidence: float
    promised_epsilon: float | None
    members: int
    non_members: int
    unknown: int
    bounds: tuple[LowerBound, ...]
    decided_by: str
    refuted: bool | None
    ideal: float | None
    warnings: tuple[str, ...]

    @property
    def deciding(self) -> LowerBound:
        """The bound that decides."""
        return next(bound for bound in self.bounds if bound.name == self.decided_by)


def audit_trials(
    score: Float[Array, " N"],
    member: Bool[Array, " N"],
    delta: float,
    promised_epsilon: float | None = None,
    assume: str = "gaussian",
    confidence: float = 0.95,
    seed: int = 0,
) -> DpAudit:
    """An audit from N independent training runs, one canary's score from each.

    `member` says in which runs the canary was; a higher score must mean that it was. With
    `assume="gaussian"` the joint exact test decides (`pilot`, `mu_joint`), with "any" a bound of
    whatever mechanism (`epsilon_lower_bound`). A score that is NaN is never called a member's.
    Raises `ValueError` for fewer than two runs with or without the canary, and for what is no
    delta, epsilon, confidence or assumption.
    """
    _check(delta, promised_epsilon, confidence, assume, ("gaussian", "any"))
    score, truth, unknown = _scores(score, member)
    score = np.where(np.isnan(score), -np.inf, score)
    event = pilot(score, truth, seed=seed).event
    half = [int(side.sum()) - int(side.sum()) // 2 for side in (truth, ~truth)]

    def joint(e: Event) -> tuple[float, float]:
        mu = mu_joint(e, confidence)
        return gaussian_epsilon(delta, mu), mu

    perfect = Event(event.positives, event.positives, 0, event.negatives)
    area = mu_from_auc(score, truth, confidence)
    bounds = (
        LowerBound("joint", *joint(event), ASSUMPTIONS["gaussian"], True, joint(perfect)[0]),
        LowerBound("auc", *_of_area(area, delta), ASSUMPTIONS["gaussian"], False, None),
        LowerBound(
            "any",
            epsilon_lower_bound(score, truth, delta, confidence, seed),
            None,
            ASSUMPTIONS["any"],
            True,
            float(epsilon_of_event(Event(half[0], half[0], 0, half[1]), delta, confidence)),
        ),
    )
    ideal = None
    if promised_epsilon is not None and assume == "gaussian":
        hit = ndtr(gaussian_mu(promised_epsilon, delta) / 2)  # midway between the two worlds
        tp, fp = round(event.positives * hit), round(event.negatives * (1 - hit))
        ideal = joint(Event(tp, event.positives, fp, event.negatives))[0]
    return _decided(
        DpAudit(
            "trials", delta, confidence, promised_epsilon, int(truth.sum()), int((~truth).sum()),
            unknown, bounds, "joint" if assume == "gaussian" else "any", None, ideal,
            _doubts(score, truth, unknown),
        )
    )  # fmt: skip


def audit_one_run(
    score: Float[Array, " N"],
    member: Bool[Array, " N"],
    delta: float,
    promised_epsilon: float | None = None,
    assume: str = "gaussian",
    confidence: float = 0.95,
    guesses: int | None = None,
    seed: int = 0,
) -> DpAudit:
    """An audit from one training run with N canaries, each in by a fair coin of its own.

    Of the surest canaries `guesses` are guessed, half of them to be in; a fifth of all if None. Fix
    the number beforehand. What decides is `mu_one_run` with `assume="gaussian"`, the same with
    independent channels with "independent", `epsilon_one_run` with "any". A canary whose score is
    NaN is abstained from. Raises `ValueError` for coins that are not fair, more guesses than
    scores, and for what is no delta, epsilon, confidence or assumption.
    """
    _check(delta, promised_epsilon, confidence, assume, tuple(ASSUMPTIONS))
    score, truth, unknown = _scores(score, member)
    _check_coins(truth)
    guesses = max(2, len(score) // 5) if guesses is None else guesses
    run = guessed(score, truth, (guesses + 1) // 2, guesses // 2, seed)

    def channels(of: str) -> Callable[[int], tuple[float, float]]:
        def bound(correct: int) -> tuple[float, float]:
            mu = mu_one_run(run.canaries, guesses, correct, confidence, of)
            return gaussian_epsilon(delta, mu), mu

        return bound

    def pure(correct: int) -> tuple[float, None]:
        return epsilon_one_run(run.canaries, guesses, correct, delta, confidence), None

    of: dict[str, Callable[[int], tuple[float, float | None]]]
    of = {"any": pure, "gaussian": channels("any")}
    if assume == "independent":  # the caller vouches for it
        of["independent"] = channels("independent")
    bounds = tuple(
        LowerBound(name, *bound(run.correct), ASSUMPTIONS[name], True, bound(guesses)[0])
        for name, bound in of.items()
    )
    ideal = None
    if promised_epsilon is not None:
        mu = gaussian_mu(promised_epsilon, delta)
        ideal = of[assume](correct_of_ideal(run.canaries, guesses, mu))[0]
    doubts = _doubts(score[~np.isnan(score)], truth[~np.isnan(score)], unknown)
    return _decided(
        DpAudit(
            "one-run", delta, confidence, promised_epsilon, int(truth.sum()), int((~truth).sum()),
            unknown, bounds, assume, None, ideal, doubts,
        )
    )  # fmt: skip


def _decided(audit: DpAudit) -> DpAudit:
    """The verdict, and what is to be said of it."""
    promised, bound = audit.promised_epsilon, audit.deciding
    if promised is None:
        return audit
    doubts = list(audit.warnings)
    if bound.most is not None and bound.most <= promised:
        doubts.append(
            f"no outcome could refute epsilon = {promised:g}: counts like these show at most "
            f"{bound.most:.2f}; take more canary scores"
        )
    refuted = bound.epsilon is not None and bound.epsilon > promised
    for other in audit.bounds:
        if not refuted and other.epsilon is not None and other.epsilon > promised:
            doubts.append(f"the bound {other.name!r} is above the promise, and does not decide")
    return audit._replace(refuted=refuted, warnings=tuple(doubts))


def _doubts(score: np.ndarray, truth: np.ndarray, unknown: int) -> tuple[str, ...]:
    """What casts doubt on scores, before any bound."""
    out = []
    if unknown:
        out.append(f"{unknown} scores are NaN: they count as not called")
    if score.min() == score.max():
        out.append("all scores are the same: they tell nothing, and every bound is 0")
    elif auc_interval(score, truth, SURE)[1] < 0.5:
        out.append(
            "members have lower scores than non-members: a higher score must mean a member, so "
            "that every bound is too low; turn the sign and audit other trials by it"
        )
    return tuple(out)


def _of_area(mu: float, delta: float) -> tuple[float | None, float | None]:
    return (None, None) if np.isnan(mu) else (gaussian_epsilon(delta, mu), mu)


def _scores(score: Array, member: Array) -> tuple[np.ndarray, np.ndarray, int]:
    """Scores, membership, and how many scores are NaN."""
    score, truth = one_each(score, member)
    if not truth.any() or truth.all():
        which = "non-members" if truth.any() else "members"
        raise ValueError(f"member: there are no {which} among the {len(truth)} scores")
    unknown = int(np.isnan(score).sum())
    if unknown == len(score):
        raise ValueError(f"score: all {unknown} scores are NaN")
    return score, truth, unknown


def _check_coins(truth: np.ndarray) -> None:
    """Raises `ValueError` for a share of members that fair coins hardly ever have."""
    fewer = min(int(truth.sum()), int((~truth).sum()))
    if 2 * bdtr(fewer, len(truth), 0.5) < UNFAIR:
        raise ValueError(
            f"member: {int(truth.sum())} of {len(truth)} canaries are in; the bounds of one run "
            "need a fair coin for each canary"
        )


def _check(
    delta: float,
    promised_epsilon: float | None,
    confidence: float,
    assume: str,
    allowed: tuple[str, ...],
) -> None:
    if assume not in allowed:
        raise ValueError(f"assume={assume!r} is not one of {allowed}")
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta} must be above 0 and below 1")
    if not 0 < confidence < 0.999:
        raise ValueError(f"confidence={confidence} must be above 0 and below 0.999")
    if promised_epsilon is not None:
        check(promised_epsilon, delta)
        if np.isinf(promised_epsilon):
            raise ValueError(f"epsilon={promised_epsilon} must be finite: it promises nothing")
