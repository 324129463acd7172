"""Whether the attacked models, and what was given of them, are any evidence: what is said first."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import bdtr

from jaxmia.attacks.references import partners
from jaxmia.evaluation.plausible import some

FAR, SIGMAS = 0.1, 6  # an accuracy off the median by this much, and by so many deviations
APART = 4  # deviations by which the commonest class must fall short of all members
OTHERS = 10  # examples that are all wrong, and alike, by no accident
LITTLE = 1e-6  # of the variance: a regression that explains less has learnt nothing
LEVEL = 1e-3  # of what each sentence says of sound models, at most


class Answers(NamedTuple):
    """What models answer of their own members, counted; those of more models add up."""

    many: Int[np.ndarray, " T"]
    """Members of each with a finite margin."""
    right: Int[np.ndarray, " T"]
    """Of these, how many it is right on."""
    common: Int[np.ndarray, " T"]
    """How many its commonest class has."""
    alike: Bool[np.ndarray, " T"]
    """Whether it answers every record alike."""
    someones: Bool[np.ndarray, " N"]
    """Examples that are counted of some model."""
    right_of_class: Int[np.ndarray, " C"]
    """How often all are right, by class."""

    def __add__(self, other: "Answers") -> "Answers":  # type: ignore[override]
        many, right, common, alike = (
            np.concatenate(both) for both in zip(self[:4], other[:4], strict=True)
        )
        someones, by_class = self.someones | other.someones, self.right_of_class
        return Answers(many, right, common, alike, someones, by_class + other.right_of_class)


def answers(
    margin: Float[np.ndarray, "T N"], member: Bool[np.ndarray, "T N"], y: Int[np.ndarray, " N"]
) -> Answers:
    """Those of models by their margins; one without a finite margin has diverged, and has none."""
    inside, classes = ~np.isnan(margin) & member, int(y.max()) + 1
    right = inside & (margin > 0)
    return Answers(
        inside.sum(1),
        right.sum(1),
        np.array([np.bincount(y[row], minlength=classes).max() for row in inside]),
        _alike(margin, y),
        inside.any(0),
        np.bincount(y, right.sum(0), classes).astype(np.int64),
    )


def of_models(
    margin: Float[np.ndarray, "T N"],
    member: Bool[np.ndarray, "T N"],
    y: Int[np.ndarray, " N"],
    whose: str = "models",
) -> list[str]:
    """Sentences that say why models are no evidence, from their margins on their own members.

    A model without a finite margin has diverged and is not judged. Models that learned something
    are doubted in fewer than one of a hundred runs (tests/test_false_alarms.py).
    """
    return of_answers(answers(margin, member, y), y, whose)


def of_answers(of: Answers, y: Int[np.ndarray, " N"], whose: str = "models") -> list[str]:
    """The same of what was counted of the margins."""
    judged = np.flatnonzero(of.many)
    if not len(judged):
        return []
    many, right, common, alike = (rows[judged] for rows in of[:4])
    weak = judged[_weak(many, right, common)]
    out = []
    if len(weak):
        out.append(
            f"The {whose} are no evidence: {len(weak)} of {len(judged)} ({some(weak)}) are no "
            "better on their own training data than naming its commonest class."
        )
    elif alike.all():
        return [
            f"The {whose} are no evidence: all {len(judged)} answer every record alike. They "
            "learnt nothing of any, which is no sign that what learns is safe."
        ]
    never, classes = _never(of, y)
    if len(never) and len(weak) < len(judged):
        out.append(
            f"The {whose} are no evidence for every class: none is ever right on its own training "
            f"data of {len(never)} of {classes} classes ({some(never)})."
        )
    rate = right / many
    off = judged[_off(rate, many)]
    if len(off):
        out.append(
            f"The {whose} are no evidence as a whole: {len(off)} of {len(judged)} ({some(off)}) "
            f"differ in training accuracy from the median {np.median(rate):.2f} by far more than "
            f"chance (lowest {rate.min():.2f}, highest {rate.max():.2f})."
        )
    return out


def _alike(margin: Float[np.ndarray, "T N"], y: Int[np.ndarray, " N"]) -> Bool[np.ndarray, " T"]:
    """Models whose margin is one number for all examples of a class, and above 0 for one at most.

    So it is if all answers are the same. Models that are sure and right of every class are none;
    nor are any where fewer than `OTHERS` examples are not of the commonest class.
    """
    order = np.argsort(y, kind="stable")
    first = np.flatnonzero(np.diff(y[order], prepend=-1))
    if len(y) - np.bincount(y).max() < OTHERS:
        return np.zeros(len(margin), bool)
    low, high = (np.minimum.reduceat(m[:, order], first, axis=1) for m in (margin, -margin))
    return (low == -high).all(1) & ((low > 0).sum(1) <= 1) & (low >= 0).any(1)


def of_regressions(
    phi: Float[np.ndarray, "T N"], member: Bool[np.ndarray, "T N"], y: Float[np.ndarray, "N ..."]
) -> list[str]:
    """A sentence if regressions learnt nothing: their errors are those of naming the mean.

    phi is the negative logarithm of the squared error, summed over what is predicted.
    """
    target = np.asarray(y, np.float64).reshape(len(y), -1)
    numeric = member & ~np.isnan(phi)
    judged = np.flatnonzero(numeric.any(1))
    errors = np.exp(-phi.astype(np.float64))
    weak = [
        t
        for t in judged.tolist()
        if errors[t, numeric[t]].mean() > (1 - LITTLE) * target[numeric[t]].var(0).sum()
    ]
    if not weak:
        return []
    return [
        f"The models are no evidence: {len(weak)} of {len(judged)} ({some(np.array(weak))}) are no "
        "better on their own training data than naming its mean."
    ]


def _weak(
    many: Int[np.ndarray, " T"], right: Int[np.ndarray, " T"], common: Int[np.ndarray, " T"]
) -> Bool[np.ndarray, " T"]:
    """Models that are right on no more of their members than their commonest class has.

    Within two binomial deviations, if this holds of all of them together; else of those that are
    less often right than all together by more than chance. None where even models that are always
    right would hardly stand out.
    """
    spread = common * (1 - common / many)
    weak = (right <= common + 2 * np.sqrt(spread)) & (right < many)
    weak &= many - common > APART * np.sqrt(spread)
    if right.sum() <= common.sum():
        return weak
    below = bdtr(right, many, right.sum() / many.sum()) < LEVEL / len(many)
    return weak & below


def _never(of: Answers, y: Int[np.ndarray, " N"]) -> tuple[Int[np.ndarray, " c"], int]:
    """Classes that no model is ever right on, and how many classes there are.

    Of so many examples that this is no accident, as often as models are right on others.
    """
    examples = np.bincount(y[of.someones])
    labels = np.flatnonzero(examples)
    wrong = 1 - min(of.right.sum() / of.many.sum(), 0.9)
    no_accident = wrong ** examples[labels] < LEVEL / len(labels)
    return labels[(of.right_of_class[labels] == 0) & no_accident], len(labels)


def _off(rate: Float[np.ndarray, " T"], many: Int[np.ndarray, " T"]) -> Bool[np.ndarray, " T"]:
    """Accuracies that are far off the median: by chance, and by how much most of them differ."""
    middle = float(np.median(rate))
    spread = np.sqrt(max(middle * (1 - middle), 1 / 4 / many.min()) / many)
    away = np.abs(rate - middle)
    usual = 1.4826 * float(np.median(away)) if len(rate) > 4 else 0.0
    return away > np.maximum(FAR, SIGMAS * np.maximum(spread, usual))


def of_pairs(pairs: Int[np.ndarray, " M"], panels: Iterable[Bool[np.ndarray, "M _"]]) -> list[str]:
    """A sentence if models of one number are no complements of each other.

    The membership comes in `panels` of examples.
    """
    partner = partners(pairs, len(pairs))
    first = np.flatnonzero(partner > np.arange(len(pairs)))
    alike = np.zeros(len(first), bool)
    for member in panels:
        alike |= (member[first] == member[partner[first]]).any(1)
    if not alike.any():
        return []
    one = first[alike][0]
    return [
        f"--pairs: models {one} and {partner[one]} have number {pairs[one]}, but are not "
        "trained on complementary halves: figures may be off where no one leaks."
    ]
