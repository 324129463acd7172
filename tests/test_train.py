"""Model m depends on (seed, m) alone: not on width, block, devices, neighbours or interruptions."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmia import augment, data, design, recipes
from jaxmia.data import held_out
from jaxmia.models import cnn, mlp
from jaxmia.storage.local import LocalFolder
from jaxmia.training import batches, parallel, trainer
from jaxmia.training.block import Block, programs
from jaxmia.training.interrupt import Interrupt
from jaxmia.training.pool import normalised
from jaxmia.training.pool import pool as pooled
from jaxmia.training.progress import Progress

SOURCE = data.synthetic(60, 8, 4, test=20)()
IMAGES = data.synthetic(40, 48, 3, test=10, shape=(4, 4, 3))()
RECIPE = recipes.sgd(mlp(8), epochs=3, batch_size=10)
QUIET = Progress(quiet=True)
HALF = design.poisson(0.5)


def block(tmp_path, recipe=RECIPE, source=SOURCE, models=range(8), width=1, devices=4, size=8,
          make=HALF, M=16):  # fmt: skip
    member = make(0, M, len(source.y))[list(models)]
    mesh = parallel.mesh(jax.devices()[:devices])
    compiled = programs(
        recipe, source, augment.itself, members=design.expected_members(make, 0, len(source.y)),
        width=width, mesh=mesh, convolution="canonical",
    )  # fmt: skip
    return Block(compiled, 0, list(models), member, size, LocalFolder(tmp_path / "0000"))


def trained(*args, **kwargs):
    one = block(*args, **kwargs)
    one.train(one_epochs(kwargs), 1e9, QUIET, Interrupt())
    return one, one.query(held_out(kwargs.get("source", SOURCE)))


def one_epochs(kwargs):
    return kwargs.get("recipe", RECIPE).epochs


def by_hand(m, source=SOURCE, recipe=RECIPE, make=HALF, M=16):
    """One model by a Python loop over its steps."""
    member = make(0, M, len(source.y))[m]
    one = trainer.trainer(recipe, source, design.expected_members(make, 0, len(source.y)))
    key = trainer.model_key(0, m)
    shadow = one.init(key)
    optimizer = recipe.optimizer(one.steps * recipe.epochs)
    params, opt = shadow.params, shadow.optimizer
    pool = pooled(source, source.x, source.y)
    for number in range(recipe.epochs):
        order_key = jax.random.fold_in(jax.random.fold_in(key, 1), number)
        order = np.asarray(batches.epoch_order(order_key, member, one.steps * 10)).reshape(-1, 10)
        for index in order:
            assert member[index].all()
            x, y = normalised(pool, source.x[index]), source.y[index]

            def loss(p, x=x, y=y):
                z, _ = one.model.apply(p, {}, x, key, True)
                decay = sum((w**2).sum() for w in jax.tree.leaves(p) if w.ndim > 1)
                return optax.softmax_cross_entropy_with_integer_labels(z, y).mean() + 2.5e-4 * decay

            updates, opt = optimizer.update(jax.grad(loss)(params), opt, params)
            params = optax.apply_updates(params, updates)
    z, _ = one.model.apply(params, {}, normalised(pool, source.x), key, False)
    p = jax.nn.softmax(z)[np.arange(len(z)), source.y]
    return np.log(p) - np.log1p(-p)


def test_equals_a_loop_over_models_and_steps(tmp_path):
    _, result = trained(tmp_path)
    for m in (0, 7):
        np.testing.assert_allclose(result.arrays["phi"][m, :, 0], by_hand(m), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("width", "devices"), [(1, 1), (2, 4), (3, 1), (8, 1)])
def test_does_not_hang_on_width_or_devices(tmp_path, width, devices):
    want = trained(tmp_path)[1].arrays["phi"]
    phi = trained(tmp_path, width=width, devices=devices)[1].arrays["phi"]
    if width == 1:
        np.testing.assert_array_equal(phi, want)
    np.testing.assert_allclose(phi, want, rtol=1e-3, atol=1e-3)


def test_does_not_hang_on_neighbours_or_padding(tmp_path):
    want = trained(tmp_path)[1].arrays["phi"]
    other = trained(tmp_path, models=[2, 11, 5])[1].arrays["phi"]
    np.testing.assert_array_equal(other[0], want[2])
    np.testing.assert_array_equal(other[2], want[5])
    later = trained(tmp_path, models=range(4, 12))[1].arrays["phi"]
    np.testing.assert_array_equal(later[:4], want[4:])


def test_images_with_augmentation_too(tmp_path):
    recipe = recipes.sgd(
        cnn(4, norm="batch"), epochs=2, batch_size=8, augment=augment.flip_and_shift(1)
    )
    settings = {"recipe": recipe, "source": IMAGES}
    want = trained(tmp_path, **settings)[1].arrays["phi"]
    phi = trained(tmp_path, width=2, devices=2, **settings)[1].arrays["phi"]
    np.testing.assert_allclose(phi, want, rtol=1e-3, atol=1e-3)


def test_goes_on_after_an_interruption_bit_by_bit(tmp_path):
    want = trained(tmp_path)[1]
    first = block(tmp_path)
    first.train(1, 1e9, QUIET, Interrupt())
    first._save(1)
    again = block(tmp_path)
    again.train(RECIPE.epochs, 1e9, QUIET, Interrupt())
    result = again.query(held_out(SOURCE))
    for name, rows in want.arrays.items():
        np.testing.assert_array_equal(result.arrays[name], rows)
    assert result.facts == want.facts


def test_no_collective_no_transfer_and_one_compilation(tmp_path):
    one = block(tmp_path)
    p = one.programs
    member = parallel.spread(one.member, p.mesh)
    state = p.init(None, one.keys)
    number = parallel.shared(jnp.int32(0), p.mesh)
    text = p.epoch.lower((p.pool, number), member, one.keys, state).compile().as_text()
    assert not re.search(r"all-gather|all-reduce|all-to-all|collective-permute", text)
    state, _ = p.epoch((p.pool, number), member, one.keys, state)
    with jax.transfer_guard("disallow"):
        for _ in range(3):
            state, _ = p.epoch((p.pool, number), member, one.keys, state)
    assert p.epoch._cache_size() == 1


def test_epochs_are_permutations_of_the_members():
    member = np.arange(50) % 3 != 0
    keys = jax.random.split(jax.random.key(0), 300)
    orders = np.asarray(jax.vmap(lambda k: batches.epoch_order(k, member, 33))(keys))
    assert all(sorted(o) == list(np.flatnonzero(member)) for o in orders)
    first = np.bincount(orders[:, 0], minlength=50)[member]
    assert first.max() < 30  # nobody is always first
    twice = np.asarray(batches.epoch_order(keys[0], member, 66))
    np.testing.assert_array_equal(twice[:33], twice[33:])
    large = np.arange(2**16 + 9) % 2 == 0
    order = np.asarray(batches.epoch_order(keys[0], large, int(large.sum())))
    assert sorted(order) == list(np.flatnonzero(large))


def test_rows_of_unequal_size_train_in_one_program(tmp_path):
    make = design.poisson(np.where(np.arange(60) < 30, 0.1, 0.9))
    _, result = trained(tmp_path, make=make)
    assert np.isfinite(result.arrays["phi"]).all()


def test_the_official_schedule():
    from jaxmia.recipes import momentum_sgd

    update = momentum_sgd(0.1, 0.0, schedule="official_lira")(1000)
    params = jnp.zeros(())
    state, rates = update.init(params), []
    for _ in range(1000):
        step, state = update.update(jnp.ones(()), state, params)
        rates.append(-float(step))
    t = np.arange(1000) / 1000
    want = 0.1 * np.cos(7 * np.pi / 16 * t) * np.minimum(1, 100 * t)
    np.testing.assert_allclose(rates, want, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: recipes.momentum_sgd(0.0), r"rate=0\.0"),
        (lambda: recipes.momentum_sgd(0.1, schedule="step"), "schedule='step'"),
        (lambda: recipes.cross_entropy(-1.0), r"weight_decay=-1\.0"),
        (lambda: trainer.in_dtype(None, "float16"), "recipe.dtype='float16'"),
    ],
)
def test_refuses(make, words, as_users_run):
    with pytest.raises(ValueError, match=words):
        make()
