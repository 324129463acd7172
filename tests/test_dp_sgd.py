"""DP-SGD: batches as the accountant assumes, gradients clipped one by one, noise, and epsilon."""

import dataclasses

import dp_accounting
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxmia import defences, privacy, recipes
from jaxmia.data import synthetic
from jaxmia.defences.dp_sgd import private_gradient
from jaxmia.models import cnn, mlp, nnx_module, resnet
from jaxmia.training import batches, trainer
from jaxmia.training.pool import normalised, pool
from jaxmia.types import StepContext
from tests.test_train import SOURCE, trained

KEY = jax.random.key(3, impl="threefry2x32")
PLAIN = recipes.sgd(mlp(8), epochs=3, batch_size=10, weight_decay=0.0)
QUIET_NOISE = 1e-6


def test_each_member_is_in_each_batch_with_the_rate_independently():
    member, rate, steps = np.arange(90) % 3 > 0, 0.2, 4000
    index, present = (
        np.asarray(a) for a in batches.poisson_batches(KEY, jnp.asarray(member), rate, steps, 60)
    )
    there = np.zeros((steps, 90), bool)
    for s in range(steps):
        batch = index[s][present[s]]
        assert len(set(batch)) == len(batch)
        there[s, batch] = True
    assert not there[:, ~member].any()
    sd = np.sqrt(rate * (1 - rate) / steps)
    assert np.abs(there[:, member].mean(0) - rate).max() < 4.5 * sd
    size = there.sum(1)  # Binomial(60, 0.2), so independent within a batch
    assert abs(size.var() / (60 * rate * (1 - rate)) - 1) < 0.12
    apart = np.corrcoef(there[:-1, member].ravel(), there[1:, member].ravel())[0, 1]
    assert abs(apart) < 0.01  # and from batch to batch


def test_of_too_many_a_random_part_is_kept():
    index, present = batches.poisson_batches(KEY, jnp.ones(40, bool), 1.0, 3000, 10)
    assert np.asarray(present).all()
    share = np.bincount(np.asarray(index).ravel(), minlength=40) / 3000
    assert np.abs(share - 0.25).max() < 4.5 * np.sqrt(0.25 * 0.75 / 3000)
    assert batches.slots(64, 1000, 10_000) == 64 + 8 * 9 and batches.slots(64, 1000, 100) == 100
    assert batches.slots(64, 64, 10_000) == 10_000  # of a full batch everybody


def gradient_of(noise, microbatch, present, clip=0.5, batch_size=10, key=KEY, decay=0.0):
    """One private gradient, and what it was made from."""
    recipe = dataclasses.replace(PLAIN, loss=recipes.cross_entropy(decay))
    model = recipe.model(SOURCE)
    params, _ = model.init(KEY)
    x, y = jnp.asarray(SOURCE.x[: len(present)]), jnp.asarray(SOURCE.y[: len(present)])
    at = StepContext(0, 3, 9, batch_size, 30, present=jnp.asarray(present))
    private = private_gradient(clip, noise, microbatch=microbatch)
    answer = jax.jit(lambda k: private(recipe.loss, model.apply, params, {}, x, y, k, at))(key)
    return answer, (recipe.loss, model, params, x, y)


@pytest.mark.parametrize("microbatch", [None, 1, 4, 7, 32])
def test_the_gradient_is_that_of_a_loop_that_clips_one_by_one(microbatch):
    present = np.arange(13) % 4 > 0
    answer, (loss, model, params, x, y) = gradient_of(QUIET_NOISE, microbatch, present, decay=0.1)
    total, values, norms = [np.zeros(a.shape) for a in jax.tree.leaves(params)], [], []
    for i in np.flatnonzero(present):
        one = jax.value_and_grad(lambda p, i=i: loss(model.apply, p, {}, x[i : i + 1], y[i : i + 1],
                                                     KEY)[0])  # fmt: skip
        value, grads = one(params)
        leaves = [np.asarray(g, np.float64) for g in jax.tree.leaves(grads)]
        norms.append(np.sqrt(sum((g**2).sum() for g in leaves)))
        total = [t + g * min(1, 0.5 / norms[-1]) for t, g in zip(total, leaves, strict=True)]
        values.append(float(value))
    assert min(norms) < 0.5 < max(norms) or max(norms) > 0.5
    for ours, want in zip(jax.tree.leaves(answer[0]), total, strict=True):
        np.testing.assert_allclose(ours, want / 10, rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(answer[1], np.mean(values), rtol=1e-5)
    logits, _ = model.apply(params, {}, x, KEY, False)
    np.testing.assert_allclose(answer[3][present], logits[present], rtol=1e-4, atol=1e-5)


def test_the_noise_has_its_size_and_each_model_has_its_own():
    def flat(grads):
        return np.concatenate([np.ravel(a) for a in jax.tree.leaves(grads)])

    present = np.ones(10, bool)
    clean = flat(gradient_of(QUIET_NOISE, 5, present)[0][0])
    noise = [
        flat(gradient_of(3.0, 5, present, key=jax.random.fold_in(KEY, m))[0][0]) - clean
        for m in range(8)
    ]
    every = np.concatenate(noise)
    assert abs(every.std() / (3.0 * 0.5 / 10) - 1) < 4 / np.sqrt(2 * len(every))
    assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.25


def test_an_empty_batch_still_gets_its_noise():
    answer, _ = gradient_of(1.0, 4, np.zeros(8, bool))
    assert all(np.abs(a).min() > 0 for a in jax.tree.leaves(answer[0]))
    assert answer[1] == 0


def accountants(noise, rate, steps, delta):
    """Epsilon by composing the events oneself."""
    accountant = dp_accounting.pld.PLDAccountant()
    event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    return accountant.compose(event, steps).get_epsilon(delta)


def test_epsilon_is_the_accountants():
    guarantee = defences.guarantee(defences.dp_sgd(PLAIN, 1.3, delta=1e-4), 100)
    assert guarantee is not None
    assert (guarantee.rate, guarantee.steps, guarantee.relation) == (0.1, 30, "add/remove")
    np.testing.assert_allclose(guarantee.epsilon, accountants(1.3, 0.1, 30, 1e-4), rtol=1e-3)
    assert defences.guarantee(PLAIN, 100) is None


def test_a_full_batch_is_gaussian_privacy_of_root_steps_over_noise():
    full = defences.dp_sgd(recipes.full_batch(mlp(8), epochs=20), 4.84)
    guarantee = defences.guarantee(full, 100)
    assert guarantee is not None
    assert (guarantee.rate, guarantee.steps) == (1.0, 20)
    want = privacy.gaussian_epsilon(1e-5, np.sqrt(20) / 4.84)
    assert abs(guarantee.epsilon / want - 1) < 0.01 and abs(want - 4) < 0.01


def test_of_a_full_batch_the_private_sum_has_everybody_however_many_they_are():
    recipe = recipes.full_batch(mlp(8), epochs=1, rate=1.0)
    recipe = defences.dp_sgd(recipe, QUIET_NOISE, clip=0.5, microbatch=7)
    one, key = trainer.trainer(recipe, SOURCE, members=4), trainer.model_key(0, 1)
    examples, before = pool(SOURCE, SOURCE.x, SOURCE.y), one.init(key)
    epoch = jax.jit(one.epoch)
    everybody = np.ones(len(SOURCE.y), bool)
    x = normalised(examples, SOURCE.x)
    each = jax.vmap(jax.grad(lambda p, xi, yi: recipe.loss(
        one.model.apply, p, {}, xi[None], yi[None], key)[0]), (None, 0, 0))(before.params, x,
        SOURCE.y)  # fmt: skip
    leaves = [np.asarray(g, np.float64).reshape(len(x), -1) for g in jax.tree.leaves(each)]
    scale = np.minimum(1, 0.5 / np.sqrt(sum((g**2).sum(1) for g in leaves)))
    for member in (np.arange(len(SOURCE.y)) < 4, everybody):
        after, _ = epoch(examples, member, key, 0, before)
        step = jax.tree.map(lambda a, b: np.ravel(b - a), after.params, before.params)
        for ours, own in zip(jax.tree.leaves(step), leaves, strict=True):
            want = (own * (scale * member)[:, None]).sum(0)
            np.testing.assert_allclose(ours, want, rtol=1e-4, atol=1e-4)


def test_noise_is_calibrated_to_epsilon():
    one = dataclasses.replace(PLAIN, epochs=1)
    guarantee = defences.guarantee(defences.dp_sgd(one, epsilon=2.0), 100)
    assert guarantee is not None
    assert 1.95 < guarantee.epsilon <= 2.0
    assert accountants(guarantee.noise_multiplier, 0.1, 10, 1e-5) < 2.001


def test_trains_the_same_at_every_width(tmp_path):
    recipe = dataclasses.replace(defences.dp_sgd(PLAIN, 1.0, microbatch=4), epochs=1)
    settings = {"recipe": recipe, "models": range(2), "size": 2, "devices": 1}
    want = trained(tmp_path, **settings)[1]
    wide = trained(tmp_path, width=2, **settings)[1]
    np.testing.assert_allclose(wide.arrays["phi"], want.arrays["phi"], rtol=1e-3, atol=1e-3)
    assert np.isfinite(want.arrays["phi"]).all()
    assert not np.allclose(want.arrays["phi"][0], want.arrays["phi"][1], atol=0.1)


def test_a_network_that_convolves_trains_too(tmp_path):
    images = synthetic(40, 48, 3, test=10, shape=(4, 4, 3))()
    recipe = recipes.sgd(cnn(8, norm="group"), epochs=1, batch_size=8)
    result = trained(
        tmp_path, recipe=defences.dp_sgd(recipe, 0.5), source=images, devices=2, models=range(2),
        size=2, M=2,
    )[1]  # fmt: skip
    assert np.isfinite(result.arrays["phi"]).all()


class Own(nnx.Module):
    def __init__(self, rngs):
        self.norm, self.head = nnx.BatchNorm(8, rngs=rngs), nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        return self.head(self.norm(x))


def own(data, rngs):
    return Own(rngs)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: defences.dp_sgd(recipes.sgd(resnet(8)), 1.0), "take norm='group'"),
        (lambda: trainer.trainer(defences.dp_sgd(recipes.sgd(nnx_module(own)), 1.0), SOURCE, 30),
         "DP-SGD needs norm='group'"),
        (lambda: defences.dp_sgd(PLAIN), "give either noise_multiplier or epsilon"),
        (lambda: defences.dp_sgd(PLAIN, 1.0, epsilon=3.0), "give either"),
        (lambda: defences.dp_sgd(PLAIN, -1.0), r"noise_multiplier=-1\.0 must be above 0"),
        (lambda: defences.dp_sgd(PLAIN, 1.0, clip=0.0), r"clip=0\.0 must be above 0"),
        (lambda: defences.dp_sgd(PLAIN, 1.0, microbatch=0), "microbatch=0 must be 1 or more"),
        (lambda: defences.dp_sgd(defences.dp_sgd(PLAIN, 1.0), 1.0), "do not see each other"),
    ],
)  # fmt: skip
def test_refuses(make, words, as_users_run):
    with pytest.raises(ValueError, match=words):
        make()
