"""Sound populations are doubted in fewer than one of a hundred runs, whatever their size."""

from collections import Counter

import numpy as np
import pytest

from jaxmia import design
from jaxmia.attacks.infinite import Extremes
from jaxmia.evaluation import evidence, plausible
from jaxmia.evaluation.unknown import notes, unknown

DESIGNS = (design.complementary_halves, design.poisson(0.5), design.balanced_columns(0.5))


def signals(rng):
    """phi and membership: examples differ in hardness, models a little, tails may be heavy."""
    models, examples = 2 * rng.choice([1, 2, 4, 8, 32]), rng.choice([4, 10, 20, 60, 200, 1000])
    drawing = DESIGNS[rng.integers(3)]
    member = np.asarray(drawing(int(rng.integers(1 << 20)), int(models), int(examples)), bool)
    law = (rng.standard_normal, lambda size: rng.standard_t(3, size))
    hard, noise = (law[rng.integers(2)](size) for size in (member.shape[1], member.shape))
    phi = rng.choice([0.3, 1, 3]) * hard + rng.choice([0.3, 1]) * noise
    phi += rng.choice([0, 0.3, 2]) * member + rng.choice([0, 2, 6])
    phi += rng.choice([0, 0.2]) * rng.standard_normal((len(member), 1))
    return np.abs(phi) if rng.random() < 0.2 else phi, member


def margins(rng, shape):
    """Labels, and margins of models that are right a quarter more often than the commonest class.

    Classes are of any balance, examples and models differ in how often they are right.
    """
    classes = rng.choice([2, 4, 10, 100])
    y = rng.choice(classes, shape[1], p=rng.dirichlet(np.ones(classes) * rng.choice([1, 10, 100])))
    least = max(0.7, np.bincount(y).max() / len(y) + 0.25)
    right = rng.uniform(min(0.99, least), 1) + rng.choice([0, 0.15]) * rng.standard_normal(shape[1])
    right = np.clip(right, 0, 1) + 0.02 * rng.standard_normal((shape[0], 1))
    return np.where(rng.random(shape) < right, 1.0, -1.0), y


def doubts(rng):
    """The beginnings of all that is said of one sound run, half of them with given targets."""
    phi, member = signals(rng)
    margin, y = margins(rng, phi.shape)
    own = truth = None
    out = evidence.of_models(margin, member, y)
    if rng.random() < 0.5 and len(phi) > 4:  # a network of its own: a little surer, or less
        targets = int(rng.integers(1, 3))
        own = rng.uniform(0.7, 1.4) * phi[:targets] + 0.5 * rng.standard_normal() * phi.std()
        truth = member[:targets] if rng.random() < 0.5 else None
        phi, member = phi[targets:], member[targets:]
    out += plausible.doubts(plausible.sums(phi, member, own, truth))
    phi[rng.random(phi.shape) < 0.02] = np.nan
    return [line[:34] for line in out + notes(Extremes(), unknown(phi[..., None], member))]


def check(runs, seed):
    rng = np.random.default_rng(seed)
    lines = Counter(line for _ in range(runs) for line in doubts(rng))
    assert sum(lines.values()) <= 0.01 * runs, lines


def test_sound_populations_are_not_doubted():
    check(500, 0)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_thousands_of_sound_populations_are_not_doubted(seed):
    check(5000, seed)
