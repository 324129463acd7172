"""A fused layer and its gradients against the same steps one by one, in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxmia.data import synthetic
from jaxmia.models import cnn, conv, fast, fused, native, resnet, wrn

ready = native.native()
pytestmark = pytest.mark.skipif(ready.library is None, reason=f"oneDNN: {ready.reason}")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def by_steps(x, w, stride, pool):
    p = x.y if x.scale is None else x.y * x.scale[None, None, None] + x.shift[None, None, None]
    p = p if x.more is None else p + x.more
    p = jax.nn.relu(p) if x.rectify else p
    z = lax.conv_general_dilated(
        p, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    if pool:
        b, h, wide, c = z.shape
        z = z[:, : h // 2 * 2, : wide // 2 * 2].reshape(b, h // 2, 2, wide // 2, 2, c)
        z = jnp.maximum(
            jnp.maximum(z[:, :, 0, :, 0], z[:, :, 0, :, 1]),
            jnp.maximum(z[:, :, 1, :, 0], z[:, :, 1, :, 1]),
        )
    return z, z.sum((0, 1, 2)), (z**2).sum((0, 1, 2)), p


def weighted(parts):
    """A scalar that every part of a layer's result moves, each number otherwise."""
    z, one, two, p = parts
    weights = [noise(*a.shape, seed=7 + i) for i, a in enumerate((z, one, two, p))]
    return sum((a * b).sum() for a, b in zip((z, one, two / 50, p), weights, strict=True))


@pytest.mark.parametrize("channels", [(3, 16), (16, 5), (20, 32)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("parts", ["all", "scaled", "rectified", "nothing"])
def test_a_layer_is_its_steps(channels, stride, pool, parts):
    scale, shift = noise(channels[0], seed=1), noise(channels[0], seed=2)
    y, w = noise(6, 9, 12, channels[0]), noise(3, 3, *channels, seed=3)
    x = fused.Pending(y, scale, shift, noise(*y.shape, seed=4))
    if parts == "scaled":
        x = x._replace(more=None, rectify=False)
    elif parts in ("rectified", "nothing"):
        x = fused.Pending(y, rectify=parts == "rectified")

    def ours(x, w):
        with conv.using("onednn"):
            return weighted(fused.layer(x, w, stride, pool=pool, sums=True, emits=True))

    split = x._replace(rectify=None)
    at = jax.value_and_grad(lambda s, w: ours(s._replace(rectify=x.rectify), w), (0, 1))
    values = jax.jit(at)(split, w)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (split, w))
        want = jax.value_and_grad(
            lambda s, w: weighted(by_steps(s._replace(rectify=x.rectify), w, stride, pool)), (0, 1)
        )(*wide)
        want = jax.tree.map(np.asarray, want)
    for a, b in zip(jax.tree.leaves(values), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-4, atol=3e-4 * np.abs(b).max())


def test_equals_share_a_maximums_gradient_and_nan_is_not_lost():
    y, w = np.zeros((1, 4, 4, 1), np.float32), np.ones((1, 1, 1, 2), np.float32)
    with conv.using("onednn"):
        dy = jax.grad(lambda y: fused.layer(fused.Pending(y, rectify=False), w, pool=True).z.sum())(
            y
        )
        np.testing.assert_array_equal(dy, np.full(y.shape, 0.5))
        y[0, 1, 1, 0] = np.nan
        z = fused.layer(fused.Pending(y), w, pool=True).z
    assert np.isnan(z[0, 0, 0]).all() and not np.isnan(z[0, 1:]).any()


def test_the_first_layer_has_no_gradient_of_the_examples():
    y, w = noise(4, 8, 8, 3), noise(3, 3, 3, 16)

    def loss(w, y):
        return (fused.layer(fused.Pending(y, rectify=False), w).z ** 2).sum()

    with conv.using("onednn"):
        one = str(jax.make_jaxpr(jax.grad(loss))(w, y))
        both = str(jax.make_jaxpr(jax.grad(loss, (0, 1)))(w, y))
    assert one.count("f32[4,8,8,3]") < both.count("f32[4,8,8,3]")


def test_under_vmap_over_models_and_examples():
    y, w = noise(2, 3, 8, 8, 3), noise(2, 3, 3, 3, 16)

    def loss(w, y):
        return (fused.layer(fused.Pending(y), w, pool=True, sums=True).squares ** 2).sum()

    with conv.using("onednn"):
        models = jax.vmap(jax.grad(loss))(w, y)
        examples = jax.vmap(jax.grad(loss), (None, 0))(w[0], y[0][:, None])
        for i in range(2):
            np.testing.assert_array_equal(models[i], jax.grad(loss)(w[i], y[i]))
        for i in range(3):
            np.testing.assert_array_equal(examples[i], jax.grad(loss)(w[0], y[0][i : i + 1]))


@pytest.mark.parametrize(
    "network", [cnn(8, 16), cnn(8, norm="batch"), resnet(8), wrn(10, 1), fast(8, 16)], ids=str
)
def test_networks_are_the_same_with_and_without(network):
    x = noise(4, 16, 16, 3)
    small = synthetic(examples=8, features=3, classes=3)()
    model = network(dataclasses.replace(small, x=np.zeros((8, 16, 16, 3), np.float32)))
    params, state = model.init(jax.random.key(0))
    y = np.array([0, 1, 2, 0])

    def all_of(name, params, state, x):
        """Gradients, running averages, and logits in evaluation."""

        def loss(params):
            logits, new = model.apply(params, state, x, jax.random.key(1), True)
            logits = jax.nn.log_softmax(logits)
            return -logits[jnp.arange(4), y].mean(), new

        with conv.using(name):
            gradient, new = jax.jit(jax.grad(loss, has_aux=True))(params)
            logits = jax.jit(model.apply, static_argnums=4)(
                params, new, x, jax.random.key(1), False
            )
        return gradient, new, logits[0]

    ours = all_of("onednn", params, state, x)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (params, state, x))
        want = jax.tree.map(np.asarray, all_of("canonical", *wide))
    # a norm over many numbers: a rectifier near zero may turn
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(want), strict=True):
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b)
