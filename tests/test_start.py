"""Models start from the parameters of a file or a run, known by their digest, or not at all."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxmia
from jaxmia import data, design, experiment, recipes
from jaxmia.models import cnn, mlp
from jaxmia.options import Options
from jaxmia.training import start, trainer
from jaxmia.training.pool import normalised, pool
from jaxmia.training.progress import Progress

SOURCE = data.synthetic(40, 6, 3, test=10)
RECIPE = recipes.sgd(mlp(5), epochs=2, batch_size=10)


def file_of(path, recipe=RECIPE, seed=7, source=SOURCE):
    """A file of parameters, and what is in it."""
    params, state = recipe.model(source()).init(trainer.model_key(seed, 0))
    start.save(path, params, state)
    return path, params, state


def starting(recipe, source=SOURCE, m=0):
    return trainer.trainer(recipe, source(), 20).init(trainer.model_key(0, m))


def same(tree, other):
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def run_of(folder, recipe=RECIPE, **options):
    setup = jaxmia.Experiment("one", SOURCE, recipe, models=4, attacks=("global_threshold",))
    progress = Progress(quiet=True)
    return jaxmia.run(setup, Options(folder, width=1, block=4, progress=progress, **options))


def test_every_model_starts_from_the_files_parameters_and_state(tmp_path):
    images = data.synthetic(40, 48, 3, test=10, shape=(4, 4, 3))
    recipe = recipes.sgd(cnn(4, norm="batch"), init_from=tmp_path / "start.npz")
    _, params, state = file_of(tmp_path / "start.npz", recipe, source=images)
    state = jax.tree.map(lambda a: a + 1, state)
    start.save(tmp_path / "start.npz", params, state)
    for m in (0, 3):
        shadow = starting(recipe, images, m)
        assert same(shadow.params, params) and same(shadow.state, state)
    own = [starting(dataclasses.replace(recipe, init_from=None), images, m).params for m in (0, 3)]
    assert not same(*own) and not same(own[0], params)


def test_of_a_run_it_is_the_first_model_and_the_digest_says_so(tmp_path):
    first = run_of(tmp_path / "run", keep_shadows=True)
    recipe = dataclasses.replace(RECIPE, init_from=str(first.path))
    shadow = starting(recipe, m=2)
    one = trainer.trainer(RECIPE, SOURCE(), 20)
    z, _ = one.model.apply(shadow.params, {}, SOURCE().x, trainer.model_key(0, 0), False)
    p = np.asarray(jax.nn.softmax(z))[np.arange(40), SOURCE().y]
    phi = np.log(p) - np.log1p(-p)
    np.testing.assert_allclose(phi, first.signals.phi[0, :, 0], rtol=1e-4, atol=1e-4)
    start.save(tmp_path / "same.npz", shadow.params, shadow.state)
    elsewhere = dataclasses.replace(RECIPE, init_from=tmp_path / "same.npz")
    assert start.digest(recipe, SOURCE()) == start.digest(elsewhere, SOURCE())


def test_it_belongs_to_the_identity_by_its_numbers_and_not_by_its_place(tmp_path):
    plain = jaxmia.Experiment("one", SOURCE, RECIPE)
    without = experiment.identity(plain, SOURCE())
    assert "init_from" not in without and "init_from" not in without["recipe"]

    def identity(file, seed=7):
        recipe = dataclasses.replace(RECIPE, init_from=file_of(file, seed=seed)[0])
        return experiment.identity(dataclasses.replace(plain, recipe=recipe), SOURCE())

    here, there = identity(tmp_path / "a.npz"), identity(tmp_path / "b.npz")
    assert here == there == without | {"init_from": here["init_from"]}
    assert identity(tmp_path / "a.npz", seed=8) != here


def test_a_folder_goes_on_from_the_same_parameters_only(tmp_path):
    file, _, _ = file_of(tmp_path / "start.npz")
    recipe = dataclasses.replace(RECIPE, init_from=file)
    run_of(tmp_path / "run", recipe)
    file_of(file, seed=8)
    with pytest.raises(ValueError, match="belongs to another experiment: init_from is"):
        run_of(tmp_path / "run", recipe)


def other(path):
    return file_of(path, recipes.sgd(mlp(4)))[0]


def deeper(path):
    return file_of(path, recipes.sgd(mlp(5, 3)))[0]


def infinite(path):
    _, params, state = file_of(path)
    start.save(path, jax.tree.map(lambda a: a / 0, params), state)
    return path


def text(path):
    path.write_text("no archive")
    return path


def words(path):
    np.savez(path, a=np.array(["b"]))
    return path


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (other, r"does not fit the network: it has layers/0/bias \(4,\) instead of \(5,\),"),
        (deeper, r"instead of \(5, 3\).* and 1 more$|layers/2/bias \(3,\) besides"),
        (infinite, "has NaN or infinite numbers in layers/0/bias"),
        (text, "cannot be read as .npz"),
        (words, "a is <U1, needs numbers"),
        (lambda path: path, "is neither a run's folder nor a file"),
        (lambda path: path.parent, "is no run folder"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(make, line, tmp_path):
    recipe = dataclasses.replace(RECIPE, init_from=make(tmp_path / "start.npz"))
    with pytest.raises(ValueError, match=line) as error:
        starting(recipe)
    assert str(error.value).startswith("init_from: ") and "\n" not in str(error.value)


def test_a_run_that_kept_no_models_or_others_is_refused(tmp_path):
    run_of(tmp_path / "run")
    recipe = dataclasses.replace(RECIPE, init_from=tmp_path / "run")
    with pytest.raises(ValueError, match="keeps no models: train it with --keep-shadows"):
        starting(recipe)
    run_of(tmp_path / "kept", dataclasses.replace(RECIPE, epochs=1), keep_shadows=True)
    deep = recipes.sgd(mlp(5, 5), init_from=tmp_path / "kept")
    with pytest.raises(ValueError, match="its layers are layers.0, layers.1, the network's"):
        starting(deep)


def test_a_full_batch_is_everybodys_sum_however_many_they_are():
    source = SOURCE()
    recipe = recipes.full_batch(mlp(5), epochs=1, rate=0.5)
    few = design.fixed_size(4)(0, 1, 40)[0]
    for member in (few, np.ones(40, bool)):
        one = trainer.trainer(recipe, source, members=4)
        key = trainer.model_key(0, 0)
        examples, before = pool(source, source.x, source.y), one.init(key)
        after, curve = jax.jit(one.epoch)(examples, member, key, 0, before)

        def total(params, member=member, one=one, examples=examples, key=key):
            x = normalised(examples, source.x[member])
            z, _ = one.model.apply(params, {}, x, key, True)
            log_p = jax.nn.log_softmax(z)[np.arange(len(x)), source.y[member]]
            return -log_p.sum()

        value, grads = jax.value_and_grad(total)(before.params)
        step = jax.tree.map(lambda a, b: (b - a) / 0.5, after.params, before.params)
        for ours, want in zip(jax.tree.leaves(step), jax.tree.leaves(grads), strict=True):
            np.testing.assert_allclose(ours, want, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(curve.loss, value / member.sum(), rtol=1e-5)
