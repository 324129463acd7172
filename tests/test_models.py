import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

from jaxmia import data, models, recipes
from jaxmia.models import conv, layers
from jaxmia.training import trainer
from jaxmia.training.pool import normalised
from jaxmia.training.pool import pool as pooled
from jaxmia.types import Data

FLAT = data.synthetic(64, 12, 3, test=8)()
IMAGES = data.synthetic(48, 8 * 8 * 3, 3, distance=8.0, test=8, shape=(8, 8, 3))()
CIFAR = Data(
    "c", np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.int32), np.zeros((1, 32, 32, 3)),
    np.zeros(1, np.int32), 10,
)  # fmt: skip


class UsersNnx(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(12, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.last = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(jax.nn.relu(self.norm(self.first(x)))))


class UsersLinen(linen.Module):
    @linen.compact
    def __call__(self, x, train):
        x = linen.relu(linen.BatchNorm(use_running_average=not train)(linen.Dense(8)(x)))
        return linen.Dense(3)(linen.Dropout(0.3, deterministic=not train)(x))


def users_nnx(data, rngs):
    return UsersNnx(rngs)


def users_linen(data):
    return UsersLinen()


CASES = {
    "mlp": (models.mlp(16, dropout=0.1), FLAT),
    "nnx": (models.nnx_module(users_nnx), FLAT),
    "linen": (models.linen_module(users_linen), FLAT),
    "cnn": (models.cnn(8, norm="batch"), IMAGES),
    "resnet": (models.resnet(8, norm="group"), IMAGES),
    "wrn": (models.wrn(10, 1), IMAGES),
    "fast": (models.fast(8, 16), IMAGES),
    "vit": (models.vit(4, 16, 1, 2), IMAGES),
}


@pytest.mark.parametrize("name", CASES)
def test_learns_and_many_equal_one(name):
    factory, source = CASES[name]
    recipe = recipes.sgd(factory, epochs=6, batch_size=8, rate=0.05)
    one = trainer.trainer(recipe, source, len(source.y) // 2)
    pool = pooled(source, source.x, source.y)
    member = np.arange(len(source.y)) % 2 == 0

    def run(key):
        def epoch(shadow, number):
            return one.epoch(pool, member, key, number, shadow)

        return lax.scan(epoch, one.init(key), jnp.arange(recipe.epochs))

    keys = jax.vmap(lambda m: trainer.model_key(0, m))(jnp.arange(2))
    looped, curve = jax.jit(lambda k: lax.map(run, k))(keys)
    assert np.all(curve.loss[:, -1] < 0.95 * curve.loss[:, 0]), curve.loss
    if name in ("mlp", "nnx", "linen", "cnn"):
        _, other = jax.jit(jax.vmap(run))(keys)
        np.testing.assert_allclose(curve.loss[:, 0], other.loss[:, 0], rtol=1e-4)

    shadow = jax.tree.map(lambda a: a[0], looped)
    x = normalised(pool, source.x[:5])
    out = [one.model.apply(shadow.params, shadow.state, x, k, False) for k in keys]
    assert out[0][0].dtype == jnp.float32 and out[0][0].shape == (5, 3)
    np.testing.assert_array_equal(out[0][0], out[1][0])  # evaluation draws nothing
    jax.tree.map(np.testing.assert_array_equal, out[0][1], shadow.state)


@pytest.mark.parametrize(
    ("factory", "low", "high"),
    [
        (models.resnet(20), 0.269e6, 0.275e6),
        (models.wrn(28, 2), 1.46e6, 1.48e6),
        (models.mlp(128), 3072 * 128 + 128 + 1290, 3072 * 128 + 128 + 1290),
    ],
)
def test_published_size(factory, low, high):
    params, _ = jax.eval_shape(factory(CIFAR).init, jax.random.key(0))
    assert low <= sum(p.size for p in jax.tree.leaves(params)) <= high


def test_bfloat16_keeps_float32_masters_statistics_and_logits():
    recipe = recipes.sgd(models.cnn(4, norm="batch"), epochs=1, batch_size=8, dtype="bfloat16")
    one = trainer.trainer(recipe, IMAGES, 24)
    pool = pooled(IMAGES, IMAGES.x, IMAGES.y)
    key = trainer.model_key(0, 0)
    shadow, _ = one.epoch(pool, np.ones(48, bool), key, jnp.int32(0), one.init(key))
    assert {a.dtype for a in jax.tree.leaves((shadow.params, shadow.state))} == {
        jnp.dtype("float32")
    }
    with conv.using("tiled"):
        text = str(jax.make_jaxpr(one.epoch)(pool, np.ones(48, bool), key, jnp.int32(0), shadow))
    assert "bf16[8,8,8,4] = dot_general" in text


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: models.cnn(8)(FLAT), "needs images"),
        (lambda: models.resnet(21), "depth=21"),
        (lambda: models.wrn(27), "depth=27"),
        (lambda: models.vit(3)(IMAGES), "patch=3"),
        (lambda: models.fast(8, 8, 8, 8, 8)(IMAGES), "too small"),
        (lambda: models.cnn(8, norm="layer"), "norm='layer'"),
        (lambda: models.mlp(0), "hidden"),
    ],
)
def test_refuses(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folded_batch_norm_gives_what_an_unfolded_one_does(dtype):
    rng = np.random.default_rng(0)
    layer = layers.ConvNorm(3, 5, "batch", 2, rngs=nnx.Rngs(0))
    norm = layer.norm.norm
    for variable, low in ((norm.mean, -1), (norm.var, 0.1), (norm.scale, -1), (norm.bias, -1)):
        variable[...] = jnp.asarray(rng.uniform(low, 2, 5), jnp.float32)
    layer.eval()
    x = jnp.asarray(rng.normal(size=(2, 8, 8, 3)), dtype)
    want = layer.norm(layer.conv(x)) if dtype == "float32" else layer(x.astype(jnp.float32))
    out = layer(x)
    assert out.dtype == x.dtype
    tolerance = 1e-5 if dtype == "float32" else 0.05
    np.testing.assert_allclose(
        out.astype(np.float32), want.astype(np.float32), rtol=tolerance, atol=tolerance
    )


class Mode(nnx.Module):
    """Says by its logits whether it is trained."""

    def __init__(self, give):
        self.weight, self.give = nnx.Param(jnp.zeros((1, 3))), give

    def __call__(self, x, deterministic):
        return self.give(jnp.zeros((len(x), 3)) + self.weight + (0.0 if deterministic else 1.0))


class TrainMode(Mode):
    def __call__(self, x, train=False):
        return super().__call__(x, not train)


def test_a_module_whose_call_takes_the_mode_is_given_it():
    for kind in (Mode, TrainMode):
        model = models.nnx_module(lambda data, rngs, kind=kind: kind(lambda z: z))(FLAT)
        params, state = model.init(jax.random.key(0))
        for train in (False, True):
            logits, _ = model.apply(params, state, FLAT.x[:4], jax.random.key(1), train)
            assert (np.asarray(logits) == float(train)).all()


@pytest.mark.parametrize(
    ("give", "what"),
    [
        (lambda z: (z, z), "tuple"),
        (lambda z: {"logits": z}, "dict"),
        (lambda z: z[:, 0], "an array (4,)"),
        (lambda z: z[:1], "an array (1, 3)"),
    ],
)
def test_a_module_that_gives_no_logits_is_refused_in_one_line(give, what):
    model = models.nnx_module(lambda data, rngs: TrainMode(give))(FLAT)
    params, state = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match="TrainMode's call gives .*needs logits") as error:
        model.apply(params, state, FLAT.x[:4], jax.random.key(1), True)
    assert what in str(error.value)


def shared(a, b, g):
    """The parts of a gradient that two numbers get of their maximum's: half each where equal."""
    first = (a > b) + 0.5 * (a == b)
    return g * first, g * (1 - first)


@pytest.mark.parametrize("models", [0, 2])
def test_poolings_gradient_goes_to_the_maxima_and_is_shared_between_equals(models):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (2, 5, 7, 2)).astype(np.float32)  # with many that are equal
    g = rng.normal(size=(2, 2, 3, 2)).astype(np.float32)
    want = np.zeros(x.shape)
    for b, i, j, c in np.ndindex(*g.shape):
        square = x[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        upper, lower = shared(*square.max(1), g[b, i, j, c])
        parts = [shared(*square[0], upper), shared(*square[1], lower)]
        want[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c] = parts

    def gradient(x, g):
        return jax.vjp(layers.max_pool, x)[1](g)[0]

    if models:
        both = (jnp.stack([a] * models) for a in (x, g))
        for ours in jax.jit(jax.vmap(gradient))(*both):
            np.testing.assert_array_equal(ours, want.astype(np.float32))
    else:
        np.testing.assert_array_equal(gradient(x, g), want.astype(np.float32))
