"""A population of examples of which everything is known: intervals are checked against it.

An example's phi is Gaussian, with a mean and a deviation of its own on either side: hardly apart
for most, far apart for a few, as of the digits (AUC .63, 2.7 % found at 0.1 % false alarms).
"""

import numpy as np

from jaxmia import design
from jaxmia.attacks import lira

MODELS = 128


def sample(seed, examples):
    """LiRA's leave-one-out scores `[M, N]` of new examples and new models, with the membership."""
    rng = np.random.default_rng(seed)
    outside = rng.normal(8, 3, examples)
    s_out = 0.8 * np.exp(0.35 * rng.normal(size=examples))
    s_in = s_out * np.exp(-0.1 + 0.15 * rng.normal(size=examples))
    inside = outside + s_out * (0.1 + 0.12 * np.exp(1.4 * rng.normal(size=examples)))
    member = design.complementary_halves(seed, MODELS, examples)
    noise = rng.normal(size=member.shape)
    phi = np.where(member, inside + s_in * noise, outside + s_out * noise)
    return lira.leave_one_out(phi, member), member


def crowd(seed, persons, records=4, targets=16):
    """Scores `[T, N]` of records, whose persons share most; membership, and whose they are."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(persons), records)
    member = design.complementary_halves(seed, targets, persons)
    leak = 0.1 + 0.12 * np.exp(1.4 * rng.normal(size=persons))
    shared = rng.normal(size=persons) + 0.5 * rng.normal(size=member.shape) + leak * member
    score = shared[:, person] + 0.5 * rng.normal(size=(targets, len(person)))
    return score, member[:, person], person


def large(examples=200_000, seed=10**6):
    """The pooled scores of members and of non-members, each sorted, of so many examples."""
    sides = [], []
    for part in range(examples // 10_000):
        score, member = sample(seed + part, 10_000)
        for side, of in zip(sides, (member, ~member), strict=True):
            side.append(score[of].astype(np.float32))
    return [np.sort(np.concatenate(side)) for side in sides]
