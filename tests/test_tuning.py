"""Fine-tuning: what trains is what was named, and nothing else moves, is clipped or is kept."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import jaxmia
from jaxmia import data, defences, experiment, recipes, tuning
from jaxmia.models import cnn, mlp, nnx_module
from jaxmia.options import Options
from jaxmia.storage import checkpoints
from jaxmia.storage.store import Store
from jaxmia.storage.urls import folder_at
from jaxmia.training import start, trainer
from jaxmia.training.names import by_name, nested
from jaxmia.training.pool import pool
from jaxmia.training.progress import Progress
from jaxmia.values import parse
from tests.test_start import file_of

SOURCE = data.synthetic(40, 6, 3, test=10)
POOL = SOURCE()
BASE = recipes.sgd(mlp(5, 4), epochs=1, batch_size=10, weight_decay=0.01)
MEMBER = np.arange(40) % 2 == 0
KEY = trainer.model_key(0, 3)
NAMES = [f"layers/{i}/{w}" for i in range(3) for w in ("bias", "kernel")]


def tuned(path, tune, recipe=BASE, **changes):
    file, params, state = file_of(path / "start.npz", recipe)
    fine = dataclasses.replace(recipe, init_from=file, tune=tune, **changes)
    return fine, by_name(params), state


def trained(recipe, source=POOL):
    one = trainer.trainer(recipe, source, 20)
    shadow = one.init(KEY)
    examples = pool(source, source.x, source.y)
    return shadow, jax.jit(one.epoch)(examples, MEMBER, KEY, 0, shadow)[0]


def masked(trains):
    """The oracle: an optimizer of the whole network that holds all others where they are."""
    label = nested({n: "train" if n in trains else "stay" for n in NAMES})

    def optimizer(steps):
        both = {"train": BASE.optimizer(steps), "stay": optax.set_to_zero()}
        return optax.multi_transform(both, lambda params: relabelled(params, label))

    return optimizer


def relabelled(params, label):
    leaves = by_name(label)
    return jax.tree.unflatten(jax.tree.structure(params), [leaves[n] for n in by_name(params)])


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.soak)])
def test_training_a_part_is_training_the_whole_with_the_rest_masked(dtype, tmp_path):
    trains = ["layers/0/bias", "layers/2/bias", "layers/2/kernel"]
    recipe, before, _ = tuned(tmp_path, tuning.only("layers/2", "layers/0/b*"), dtype=dtype)
    first, last = trained(recipe)
    whole = dataclasses.replace(recipe, tune=None, optimizer=masked(trains))
    oracle = by_name(trained(whole)[1].params)
    assert sorted(by_name(last.params)) == sorted(trains)
    for name in trains:
        np.testing.assert_array_equal(by_name(first.params)[name], before[name])
        moved = np.abs(by_name(last.params)[name] - before[name]).max()
        assert moved > 1e-3
        tolerance = 1e-5 if dtype == "float32" else 0.02 * moved
        np.testing.assert_allclose(by_name(last.params)[name], oracle[name], atol=tolerance)
    stays = {n: a for n, a in before.items() if n not in trains}
    assert all(np.array_equal(oracle[n], a) for n, a in stays.items())
    whole = {n: np.asarray(by_name(last.params).get(n, before[n])) for n in NAMES}
    z = answer(start.network(recipe, POOL), last.params, POOL.x)
    np.testing.assert_allclose(z, answers(whole, POOL.x), rtol=1e-4, atol=1e-4)
    momentum = jax.tree.leaves(last.optimizer)
    assert sum(a.size for a in momentum) <= sum(before[n].size for n in trains) + 2


def answer(net, params, x, train=False):
    return jax.jit(net.apply, static_argnums=4)(params, {}, x, KEY, train)[0]


def answers(params, x):
    """The perceptron in float64."""
    h = np.asarray(x, np.float64)
    for i in range(3):
        h = np.maximum(h, 0) if i else h
        kernel, bias = (
            np.asarray(params[f"layers/{i}/{w}"], np.float64) for w in ("kernel", "bias")
        )
        h = h @ kernel + bias[None]
    return h


@pytest.mark.parametrize(
    ("rank", "alpha"), [(3, 6.0), pytest.param(1, None, marks=pytest.mark.soak)]
)
def test_an_adapter_starts_at_nothing_and_is_its_merged_kernel(rank, alpha, tmp_path):
    tune = tuning.lora(rank, "layers/*/kernel", also=("layers/2/bias",), alpha=alpha)
    recipe, before, _ = tuned(tmp_path, tune)
    net = start.network(recipe, POOL)
    x = POOL.x[:9]
    init = jax.jit(net.init)
    (params, _), (other, _) = init(KEY), init(trainer.model_key(0, 4))
    plain = answer(BASE.model(POOL), nested_like(before), x)
    np.testing.assert_array_equal(answer(net, params, x), plain)
    rng = np.random.default_rng(0)
    own = {n: rng.normal(size=a.shape).astype(np.float32) for n, a in by_name(params).items()}
    merged_by_hand = {n: np.asarray(a, np.float64) for n, a in before.items()}
    for n in before:
        if n.endswith("kernel"):
            assert own[f"{n}/a"].shape == (before[n].shape[0], rank)
            assert not np.array_equal(by_name(params)[f"{n}/a"], by_name(other)[f"{n}/a"])
            scale = 1 if alpha is None else alpha / rank
            merged_by_hand[n] += scale * own[f"{n}/a"].astype(float) @ own[f"{n}/b"]
    merged_by_hand["layers/2/bias"] = own["layers/2/bias"]
    z = answer(net, nested(own), x)
    np.testing.assert_allclose(z, answers(merged_by_hand, x), rtol=1e-4, atol=1e-4)


def nested_like(leaves):
    tree = jax.tree.structure(jax.eval_shape(BASE.model(POOL).init, KEY)[0])
    return jax.tree.unflatten(tree, list(leaves.values()))


@pytest.mark.soak
def test_a_private_gradient_is_clipped_by_what_trains_alone(tmp_path):
    pytest.importorskip("jax_privacy")
    plain = dataclasses.replace(BASE, loss=recipes.cross_entropy(), batch_size=20)
    recipe, before, _ = tuned(tmp_path, tuning.only("layers/2"), plain)
    clip = 0.05  # below every norm, of the part and of the whole
    private = defences.dp_sgd(recipe, 1e-6, clip=clip)
    first, last = trained(private)  # one step, rate 0.1, every member in it
    assert trainer.trainer(private, POOL, 20).steps == 1
    model = BASE.model(POOL)
    head = {n: before[n] for n in by_name(first.params)}

    def loss(head, x, y):
        params = nested_like({n: head.get(n, before[n]) for n in before})
        return -jax.nn.log_softmax(model.apply(params, {}, x[None], KEY, True)[0])[0, y]

    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))
    x = (POOL.x - POOL.shift[None]) / POOL.scale[None]
    grads = {n: np.asarray(g, float) for n, g in each(head, x[MEMBER], POOL.y[MEMBER]).items()}
    norms = np.sqrt(sum((g.reshape(20, -1) ** 2).sum(1) for g in grads.values()))
    assert norms.min() > clip
    for name, g in grads.items():
        want = np.tensordot(clip / norms, g, 1)
        step = (before[name] - by_name(last.params)[name]) / 0.1 * 20
        np.testing.assert_allclose(step, want, atol=1e-3 * np.abs(want).max())


def test_a_head_that_the_file_lacks_is_drawn_by_each_model(tmp_path):
    recipe, before, _ = tuned(tmp_path, tuning.only("layers/2"))
    body = {n: a for n, a in before.items() if not n.startswith("layers/2")}
    np.savez(recipe.init_from, **body)
    keys = [trainer.model_key(0, m) for m in (0, 1)]
    init, own = jax.jit(start.network(recipe, POOL).init), jax.jit(BASE.model(POOL).init)
    kernels = [by_name(init(k)[0])["layers/2/kernel"] for k in keys]
    assert not np.array_equal(*kernels)
    np.testing.assert_allclose(kernels[1], by_name(own(keys[1])[0])["layers/2/kernel"], rtol=1e-6)
    with pytest.raises(ValueError, match=r"it has no layers/2/bias \(3,\)"):
        start.network(dataclasses.replace(recipe, tune=tuning.only("layers/0")), POOL)


class Normed(nnx.Module):
    def __init__(self, rngs):
        self.norm, self.head = nnx.BatchNorm(6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.norm(x))


def test_running_statistics_stay_so_that_examples_do_not_see_each_other(tmp_path):
    normed = recipes.sgd(nnx_module(lambda _, rngs: Normed(rngs)), batch_size=10)
    params, state = jax.jit(normed.model(POOL).init)(KEY)
    mean = np.arange(6, dtype=np.float32)
    start.save(tmp_path / "start.npz", params, {"norm": {"mean": mean, "var": mean + 1}})
    tune = tuning.only("head", "norm/scale")
    recipe = dataclasses.replace(normed, init_from=tmp_path / "start.npz", tune=tune)
    net = start.network(recipe, POOL)
    own, none = jax.jit(net.init)(KEY)
    assert jax.tree.leaves(none) == [] and jax.tree.leaves(state)
    x = POOL.x[:4]
    want = (x - mean[None]) / np.sqrt(mean[None] + 1 + 1e-5) @ own["head"]["kernel"]
    np.testing.assert_allclose(answer(net, own, x, train=True), want, rtol=1e-4, atol=1e-5)
    trainer.check(dataclasses.replace(recipe, batches="poisson"), net)
    with pytest.raises(ValueError, match="BatchNorm"):
        trainer.check(dataclasses.replace(recipe, batches="poisson"), normed.model(POOL))


@pytest.mark.soak
def test_a_private_recipe_takes_batchnorm_only_where_its_statistics_stay():
    pytest.importorskip("jax_privacy")
    normed = recipes.sgd(cnn(4, norm="batch"))
    tune = tuning.only("head")
    assert defences.dp_sgd(dataclasses.replace(normed, tune=tune), 1.0).batches == "poisson"
    with pytest.raises(ValueError, match="has BatchNorm"):
        defences.dp_sgd(normed, 1.0)


@pytest.mark.parametrize(
    ("tune", "line"),
    [
        (tuning.only("head"), "only: 'head' names none of layers/0/bias, layers/0/kernel"),
        (tuning.lora(2, "layers/7"), "lora: 'layers/7' names none of"),
        (tuning.lora(2, "*/bias"), r"lora\(2\) finds no kernel in layers/0/bias, layers/1/bias"),
        (tuning.lora(2, "layers/2", also=["layers/2"]), "finds no kernel in .* train itself"),
        (tuning.lora(4), r"rank=4 must be at most 3, since layers/2/kernel is \[4, 3\]"),
    ],
)
def test_what_names_nothing_is_refused_with_what_there_is(tune, line, tmp_path):
    recipe, _, _ = tuned(tmp_path, tune)
    with pytest.raises(ValueError, match=line) as error:
        start.network(recipe, POOL)
    assert str(error.value).startswith("tune: ") and "\n" not in str(error.value)


def test_settings_that_cannot_be_are_refused():
    for make, line in (
        (lambda: tuning.only(), "needs the parameters that train"),
        (lambda: tuning.lora(0), "rank=0 must be 1 or more"),
        (lambda: tuning.lora(1, alpha=0.0), "alpha=0.0 above 0"),
        (lambda: tuning.lora(1, also="head"), "must be several patterns"),
    ):
        with pytest.raises(ValueError, match=line):
            make()
    with pytest.raises(ValueError, match="tune: only.* needs init_from"):
        start.network(dataclasses.replace(BASE, tune=tuning.only("layers/2")), POOL)
    assert parse("lora(4, 'layers/0')", tuning.TUNINGS) == tuning.lora(4, "layers/0")


def test_it_belongs_to_a_runs_identity(tmp_path):
    recipe, _, _ = tuned(tmp_path, tuning.lora(1, also=("layers/2",)))
    setup = jaxmia.Experiment("one", SOURCE, recipe, models=4)
    identity = experiment.identity(setup, POOL)
    assert identity["tune"].startswith("jaxmia.tuning.lora(rank=1, ")
    assert "tune" not in identity["recipe"]
    whole = dataclasses.replace(setup, recipe=dataclasses.replace(recipe, tune=None))
    assert identity == experiment.identity(whole, POOL) | {"tune": identity["tune"]}
    Store.create(folder_at(tmp_path / "run", ""), identity, {"block": 4}, {})
    with pytest.raises(ValueError, match="keeps only what its models trained"):
        start.network(dataclasses.replace(recipe, init_from=tmp_path / "run"), POOL)


@pytest.mark.soak
def test_a_run_of_adapters_keeps_what_trained_alone(tmp_path):
    recipe, _, _ = tuned(tmp_path, tuning.lora(1, also=("layers/2",)))
    setup = jaxmia.Experiment("one", SOURCE, recipe, models=4, attacks=("global_threshold",))
    options = Options(
        tmp_path / "run", width=1, block=4, keep_shadows=True, progress=Progress(quiet=True)
    )
    jaxmia.run(setup, options)
    leaves = checkpoints.leaves(folder_at(tmp_path / "run/shadows/0000", ""), 1)
    sizes = [leaf.shape for leaf in leaves.values()]
    assert (4, 6, 1) in sizes and (4, 4, 3) in sizes and (4, 6, 5) not in sizes
    other = dataclasses.replace(recipe, tune=tuning.lora(2))
    with pytest.raises(ValueError, match="belongs to another experiment: tune is"):
        jaxmia.run(dataclasses.replace(setup, recipe=other), options)
