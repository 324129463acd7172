"""A population of examples of which everything is known: intervals are checked against it."""

import numpy as np

from jaxmia import design
from jaxmia.attacks import lira


def drawn(seed, examples, models=128):
    """LiRA's leave-one-out scores `[M, N]` of new examples and new models, with the membership.

    An example's phi is Gaussian, of its own mean and deviation on either side: alike for most and
    far apart for a few, as digits are.
    """
    rng = np.random.default_rng(seed)
    outside = rng.normal(8, 3, examples)
    s_out = 0.8 * np.exp(0.35 * rng.normal(size=examples))
    s_in = s_out * np.exp(-0.15 + 0.15 * rng.normal(size=examples))
    apart = 0.15 + 0.35 * np.exp(1.0 * rng.normal(size=examples))
    inside = outside + apart * s_out
    member = design.complementary_halves(seed, models, examples)
    noise = rng.normal(size=member.shape)
    phi = np.where(member, inside + s_in * noise, outside + s_out * noise)
    return lira.leave_one_out(phi, member), member
