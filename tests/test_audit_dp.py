"""DP-SGD held against its promise, from inside and from outside; what is done wrong is refuted."""

import functools
import itertools

import jax
import numpy as np
import pytest

from experiments.studies import audit_dp_bounds as bounds
from experiments.studies import audit_dp_canaries as canaries
from experiments.studies import audit_dp_parts as parts
from experiments.studies import audit_dp_white as white
from experiments.studies.audit_dp_trials import trials
from experiments.studies.audit_dp_wrong import MISTAKES
from jaxmia import defences, privacy, recipes
from jaxmia.models import mlp
from jaxmia.training.trainer import model_key

pytest.importorskip("jax_privacy")
NOISE, CLIP, STEPS = 3.0, 0.5, 3
DELTA = 1e-5


def inside():
    """What each step of 8 models released of 600 unused coordinates, and who had the canary."""
    plain = recipes.full_batch(mlp(), epochs=STEPS)
    recipe = white.white_box(plain, 0.01, coordinates=600)
    recipe = defences.dp_sgd(recipe, NOISE, clip=CLIP, microbatch=None)
    (one,) = trials(recipe, white.marked(1, 12)(), (0,), runs=8, seed=5)
    return white.releases(one), one.member[:, 0]


releases_of_eight = functools.cache(inside)


def test_the_noise_has_its_size_and_each_model_and_step_has_its_own():
    releases, member = releases_of_eight()
    assert 0 < member.sum() < len(member)
    rest = releases[..., 1:]
    assert abs(rest.std() / (NOISE * CLIP) - 1) < 5 / np.sqrt(2 * rest.size)
    across = np.corrcoef(rest.reshape(-1, 599)) - np.eye(rest.shape[0] * STEPS)
    assert np.abs(across).max() < 5.5 / np.sqrt(599)


def test_a_step_replayed_from_the_seed_is_the_clip_where_the_canary_is_and_its_keys_noise():
    """Tight by construction: the canary pushes a coordinate that nothing else uses, by 100."""
    from jax_privacy import noise_addition

    releases, member = releases_of_eight()
    network = white.with_unused(mlp(), 600)(white.marked(1, 12)())
    shapes = jax.eval_shape(network.init, model_key(0, 0))[0]
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), shapes)
    for m, step in itertools.product(range(8), range(STEPS)):
        key = jax.random.fold_in(jax.random.fold_in(model_key(5, m), 2), step)  # 2: steps' stream
        key = jax.random.split(jax.random.fold_in(key, 0))[1]  # the first batch of the epoch
        privatizer = noise_addition.gaussian_privatizer(
            stddev=NOISE * CLIP, prng_key=jax.random.split(key)[1]
        )
        noise, _ = privatizer.update(zeros, privatizer.init(zeros))
        want = np.asarray(noise["unused"], np.float64)
        want[0] += CLIP * member[m]
        np.testing.assert_allclose(releases[m, step], want, atol=1e-4)


def test_the_same_seed_gives_the_same_bits():
    np.testing.assert_array_equal(inside()[0], releases_of_eight()[0])


def setting(tmp_path, **changes):
    usual = parts.Setting(DELTA, 1.0, 4, 8, 800, 1, 3, tmp_path)
    return usual._replace(**changes)


@pytest.mark.soak
def test_from_inside_half_the_noise_falls_in_a_small_audit(tmp_path):
    row = parts.from_inside(setting(tmp_path), "noise × 0.5", "sum of the steps", 4.0)
    assert 4.5 < row["bounds"]["joint"][0] < 9.1 and row["refuted"] == 1  # half of it is 9.1


CASES = [(view, name) for view, how in parts.VIEWS.items() for name in how.mistakes]


def test_every_mistake_is_looked_for_from_inside():
    assert {name for _, name in CASES} == set(MISTAKES)


@pytest.mark.soak
@pytest.mark.parametrize(("view", "name"), CASES)
def test_from_inside_every_mistake_is_refuted(view, name, tmp_path):
    row = parts.from_inside(setting(tmp_path, steps=20, others=100, runs=2000), name, view, 4.0)
    assert row["refuted"] == (name != "none"), row["bounds"]


@pytest.mark.soak
def test_from_outside_the_bound_is_near_the_promise_and_not_above(tmp_path):
    own = setting(tmp_path, steps=20, others=100, runs=2000, repetitions=2)
    row = parts.bound(own, parts.HEAD, "blank", parts.SMALL, 4.0)
    assert all(2.6 < bound < 4 for bound in row["bounds"]["joint"])
    loud = parts.from_outside(own, "noise × 0.5", "blank", 4.0)
    assert loud["refuted"] == 2


@pytest.mark.soak
def test_of_a_mechanism_that_tells_nothing_few_audits_show_anything():
    recipe = recipes.full_batch(mlp(), epochs=2)
    recipe = defences.dp_sgd(recipe, 1e4, microbatch=None)
    data = canaries.second_half("blank", 3, 10)()
    joint = [
        bounds.of_scores(one.phi[:, 0], one.member[:, 0], DELTA, number)["joint"]
        for number, one in enumerate(trials(recipe, data, (0,), 200, 200, seed=11))
    ]
    assert np.mean(np.array(joint) > 0) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.soak
def test_noise_that_is_larger_than_promised_is_refuted_by_the_profile_alone():
    """Sub-sampled scores of a mechanism that is simulated: the bound is below its epsilon."""
    rng, noise, rate, steps = np.random.default_rng(0), 1.2, 0.1, 20
    member = rng.random(4000) < 0.5
    there = (rng.random((4000, steps)) < rate) & member[:, None]
    z = there + noise * rng.normal(size=there.shape)
    weight = np.log1p(rate * np.expm1((z - 0.5) / noise**2)).sum(1)
    lower = bounds.of_sampled(weight, member, rate, steps, DELTA, 0)
    true = privacy.dp_sgd_profile(noise, rate, steps).epsilon_at(DELTA)
    assert lower["any"] < lower["profile"] < true
    assert lower["profile"] > 0.25 * true
