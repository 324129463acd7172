"""Every way to execute a convolution against XLA's own and its automatic gradients."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxmia.models import conv, native
from jaxmia.training import parallel

LAYOUT = ("NHWC", "HWIO", "NHWC")
HERE = conv.IMPLEMENTATIONS if native.native().library else conv.IMPLEMENTATIONS[1:]


def plain(x, w, stride, padding):
    return lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=LAYOUT)


def by_windows(x, w, g, stride, pads):
    """Values and gradients window by window, in float64: XLA's own go wrong at odd paddings."""
    high, wide = w.shape[:2]
    x = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    out, dx, dw = np.zeros(g.shape), np.zeros(x.shape), np.zeros(w.shape)
    for i, j in np.ndindex(*g.shape[1:3]):
        at = (
            slice(None),
            slice(i * stride, i * stride + high),
            slice(j * stride, j * stride + wide),
        )
        out[:, i, j] = np.einsum("bhwi,hwio->bo", x[at], w)
        dx[at] += np.einsum("bo,hwio->bhwi", g[:, i, j], w)
        dw += np.einsum("bhwi,bo->hwio", x[at], g[:, i, j])
    (top, bottom), (left, right) = pads
    return out, dx[:, top : x.shape[1] - bottom, left : x.shape[2] - right], dw


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(HERE),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    stride=st.integers(1, 3),
    pads=st.sampled_from([((0, 0), (0, 0)), ((1, 1), (0, 2)), ((1, 2), (0, 1)), ((2, 0), (3, 3))]),
)
def test_values_and_gradients_of_any_shape(seed, name, kernel, stride, pads):
    rng = np.random.default_rng(seed)
    channels = int(rng.choice([2, 9]))  # below and above those that go by rows
    x = rng.normal(size=(3, *rng.integers(4, 8, 2), channels)).astype(np.float32)
    w = rng.normal(size=(*kernel, channels, 3)).astype(np.float32)
    with conv.using(name):
        out, ours = jax.vjp(lambda x, w: conv.conv(x, w, stride, pads), x, w)
    g = rng.normal(size=out.shape).astype(np.float32)
    for a, b in zip((out, *ours(g)), by_windows(x, w, g, stride, pads), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("stride", [1, 2])
def test_one_by_one_is_a_convolution_where_products_end_the_compiler(name, stride):
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((2, 3, 7, 6, 5), (2, 1, 1, 5, 4)))
    g = rng.normal(size=(2, 3, -(-7 // stride), -(-6 // stride), 4)).astype(np.float32)

    def pulled(x, w, g):
        out, back = jax.vjp(lambda x, w: conv.conv(x, w, stride, "SAME"), x, w)
        return out, *back(g)

    with conv.using(name):
        ours = jax.vmap(pulled)(x, w, g)
        products = "dot_general" in str(jax.make_jaxpr(jax.vmap(pulled))(x, w, g))
    if name == "grouped":
        assert not products
    for m in range(2):
        want = by_windows(x[m], w[m], g[m], stride, ((0, 0), (0, 0)))
        for a, b in zip(ours, want, strict=True):
            np.testing.assert_allclose(a[m], b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
def test_named_paddings_are_xlas(padding, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 6, 2)).astype(np.float32)
    w = rng.normal(size=(3, 2, 2, 3)).astype(np.float32)
    out = conv.conv(x, w, stride, padding)
    np.testing.assert_allclose(out, plain(x, w, stride, padding), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("stride", [1, 2])
def test_under_vmap_over_models_examples_and_both(name, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 6, 6, 2)).astype(np.float32)
    w = rng.normal(size=(2, 3, 3, 2, 4)).astype(np.float32)

    def loss(of, w, x):
        return (jnp.sin(of(x, w, stride, "SAME")) ** 2).sum()

    def every(of):
        models = jax.vmap(jax.value_and_grad(functools.partial(loss, of), (0, 1)))
        examples = jax.vmap(jax.grad(functools.partial(loss, of)), (None, 0))
        both = jax.vmap(jax.vmap(jax.grad(functools.partial(loss, of)), (None, 0)))
        one = x[0][:, None]
        return (
            models(w, x),
            examples(w[0], one),
            both(w, x[:, :, None]),
            jax.vmap(lambda k: of(x[0], k, stride, "SAME"))(w),
        )

    want = every(plain)
    with conv.using(name):
        ours = every(conv.conv)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


def test_bfloat16_stays_bfloat16():
    x, w = jnp.ones((1, 4, 4, 2), jnp.bfloat16), jnp.ones((3, 3, 2, 2), jnp.bfloat16)
    for name in HERE:
        with conv.using(name):
            assert jax.grad(lambda w: conv.conv(x, w).sum().astype(jnp.float32))(w).dtype == x.dtype


def step(w, x):
    def loss(w):
        z = x
        for k in w:
            z = conv.conv(z, k)
        return (z**2).mean()

    return jax.tree.map(lambda a, g: a - 0.1 * g, w, jax.grad(loss)(w))


@pytest.mark.parametrize("width", [1, 2])
def test_a_cpus_loop_keeps_the_fast_form_and_models_never_communicate(width):
    mesh = parallel.mesh()
    w = [jnp.ones((8, 3, 3, 3, 8)), jnp.ones((8, 3, 3, 8, 4))]
    x = jnp.ones((8, 5, 2, 8, 8, 3))

    def train(_, w, xs):
        return lax.scan(lambda w, x: (step(w, x), None), w, xs)[0]

    mapped = parallel.over_models(train, mesh, width)
    with conv.using("tiled"):
        text = mapped.lower(None, w, x).compile().as_text()
    forms = re.findall(r"dim_labels=(\S+?)[,\s]", text)
    assert forms and all(f in ("b01f_01io->b01f",) for f in forms), set(forms)
    assert not re.search(r"(batch|feature)_group_count=[2-9]", text)
    assert not re.search(r"all-gather|all-reduce|all-to-all|collective-permute", text)


def test_grouped_weight_gradients_are_batch_groups():
    with conv.using("grouped"):
        text = str(
            jax.make_jaxpr(jax.vmap(step))([jnp.ones((4, 3, 3, 3, 4))], jnp.ones((4, 2, 8, 8, 3)))
        )
    assert "batch_group_count=4" in text


def test_using_refuses_unknown_names():
    with pytest.raises(ValueError, match="convolution='fft' is not one of"):
        conv.using("fft").__enter__()
    with pytest.raises(ValueError, match="padding='FULL'"):
        conv.conv(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), 1, "FULL")
