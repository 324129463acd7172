"""oneDNN's products in loops, on devices, under vmap, from threads; and without oneDNN."""

import concurrent.futures
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxmia import recipes
from jaxmia.command import doctor
from jaxmia.data import synthetic
from jaxmia.models import cnn, conv, mlp, native, onednn
from jaxmia.training import parallel, plan

ready = native.native()
needs = pytest.mark.skipif(ready.library is None, reason=f"oneDNN: {ready.reason}")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def in_float64(x, w, strides, pads):
    """Window by window."""
    x = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    rows, columns = (
        (n - k) // s + 1 for n, k, s in zip(x.shape[1:3], w.shape[:2], strides, strict=True)
    )
    out = np.zeros((len(x), rows, columns, w.shape[3]))
    for i, j in np.ndindex(rows, columns):
        a, b = i * strides[0], j * strides[1]
        out[:, i, j] = np.einsum("bhwi,hwio->bo", x[:, a : a + len(w), b : b + w.shape[1]], w)
    return out


@needs
@pytest.mark.parametrize(
    ("size", "kernel", "strides", "pads"),
    [
        ((9, 9), (3, 3), (1, 1), ((1, 1), (1, 1))),
        ((8, 8), (1, 1), (2, 2), ((0, 0), (0, 0))),
        ((7, 10), (5, 2), (1, 2), ((2, 2), (1, 3))),
        ((6, 6), (3, 3), (3, 2), ((3, 4), (5, 0))),
        ((4, 5), (4, 5), (1, 1), ((0, 0), (0, 0))),
    ],
)
@pytest.mark.parametrize("channels", [(3, 5), (16, 32)])
def test_values_and_derivatives_of_both_orders(size, kernel, strides, pads, channels):
    x, w = noise(3, *size, channels[0]), noise(*kernel, *channels, seed=1)
    with conv.using("onednn"):
        out, back = jax.vjp(lambda x, w: conv.conv(x, w, strides, pads), x, w)
    want = in_float64(x, w, strides, pads)
    np.testing.assert_allclose(out, want, rtol=1e-4, atol=1e-4)
    # the products are linear: a derivative is what the values of another operand say
    g, dx, dw = noise(*want.shape, seed=2), noise(*x.shape, seed=3), noise(*w.shape, seed=4)
    tx, tw = back(g)
    np.testing.assert_allclose(
        (tx * dx).sum(), (in_float64(dx, w, strides, pads) * g).sum(), rtol=1e-3, atol=1e-2
    )
    np.testing.assert_allclose(
        (tw * dw).sum(), (in_float64(x, dw, strides, pads) * g).sum(), rtol=1e-3, atol=1e-2
    )

    def along(w):
        return (jax.vjp(lambda x: conv.conv(x, w, strides, pads), x)[1](g)[0] * dx).sum()

    with conv.using("onednn"):
        twice = jax.grad(along)(w)
    np.testing.assert_allclose(
        (twice * dw).sum(), (in_float64(dx, dw, strides, pads) * g).sum(), rtol=1e-3, atol=1e-2
    )


def train(_, w, batches):
    def step(w, x):
        def loss(w):
            y = jax.nn.relu(conv.conv(x, w[0], 2))
            return (conv.conv(y, w[1]) ** 2).mean()

        return jax.tree.map(lambda a, g: a - 0.05 * g, w, jax.grad(loss)(w)), None

    return lax.scan(step, w, batches)[0]


def trained(name, width):
    mesh = parallel.mesh()
    w = [noise(8, 3, 3, 3, 8) / 5, noise(8, 3, 3, 8, 16, seed=1) / 9]
    with conv.using(name):
        mapped = parallel.over_models(train, mesh, width)
        program = mapped.lower(None, w, noise(8, 4, 6, 10, 10, 3)).compile()
    return program, program(None, w, noise(8, 4, 6, 10, 10, 3))


@needs
@pytest.mark.parametrize("width", [1, 2])
def test_in_loops_on_devices_and_under_vmap(width):
    program, values = trained("onednn", width)
    text = program.as_text()
    assert native.TARGETS[0] in text and "dim_labels" not in text
    assert "all-reduce" not in text and "all-gather" not in text
    for a, b in zip(values, trained("canonical", width)[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@needs
def test_same_bits_whatever_other_threads_do():
    program, want = trained("onednn", 1)
    w = [noise(8, 3, 3, 3, 8) / 5, noise(8, 3, 3, 8, 16, seed=1) / 9]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(program, None, w, noise(8, 4, 6, 10, 10, 3)) for _ in range(12)]
    for run in runs:
        for a, b in zip(run.result(), want, strict=True):
            np.testing.assert_array_equal(a, b)


@needs
def test_memory_is_the_programs_own():
    x, w = jnp.ones((8, 16, 16, 64)), jnp.ones((3, 3, 64, 64))
    with conv.using("onednn"):
        program = jax.jit(lambda x, w: conv.conv(x, w)).lower(x, w).compile()
    assert program.memory_analysis().temp_size_in_bytes > w.nbytes


@needs
def test_refusals_tell_the_shapes():
    with pytest.raises(
        ValueError, match=r"refuses the forward of \(1, 4, 4, 3\) with \(3, 3, 2, 5"
    ):
        onednn.product(
            ready.library, "forward", (1, 4, 4, 5), jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 2, 5)),
            (1, 1), ((1, 1), (1, 1)),
        )  # fmt: skip


@needs
def test_other_types_go_the_other_way():
    x, w = jnp.ones((1, 4, 4, 2), jnp.float16), jnp.ones((3, 3, 2, 2), jnp.float16)
    with conv.using("onednn"):
        text = str(jax.make_jaxpr(lambda x, w: conv.conv(x, w))(x, w))
    assert native.TARGETS[0] not in text and "conv_general_dilated" in text or "dot_general" in text


@needs
def test_a_plan_weighs_it_only_for_networks_that_convolve():
    mesh = parallel.mesh()
    images = synthetic(examples=40, features=48, classes=3)()
    images = images.__class__(**{**images.__dict__, "x": images.x.reshape(-1, 4, 4, 3)})
    small, dense = (recipes.sgd(m, epochs=1, batch_size=4) for m in (cnn(4), mlp(4)))
    tried = plan.candidates(mesh, 4, small, images)
    assert tried == [(1, "onednn"), (1, "tiled")]
    assert plan.candidates(mesh, 4, dense, images) == [(1, "tiled")]


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A cache folder of its own, and a process that has not looked yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.native.cache_clear()
    conv._foreign.cache_clear()
    yield tmp_path / "jaxmia" / "native"
    native.native.cache_clear()


def test_without_the_package_all_is_as_before(alone, monkeypatch):
    monkeypatch.setattr(native, "_LIBRARY", ("no-such-package", "libdnnl.so"))
    assert conv.choices("cpu") == ("tiled",) and not alone.exists()
    line = next(x for x in doctor.doctor(self_test=False) if x.what == "oneDNN")
    assert line.sound and "pip install 'jaxmia[cpu]'" in line.text
    with pytest.raises(ValueError, match="convolution='onednn' is not ready on this machine"):
        with conv.using("onednn"):
            conv.conv(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 7)))


@pytest.mark.skipif(not native.installed(), reason="jaxmia[cpu] is not installed")
def test_without_a_compiler_all_is_as_before(alone, monkeypatch):
    monkeypatch.setenv("PATH", str(alone))
    assert conv.choices("cpu") == ("tiled",)
    line = next(x for x in doctor.doctor(self_test=False) if x.what == "oneDNN")
    assert not line.sound and "no C++ compiler" in line.text
    assert not alone.exists()  # a compiler may come


@pytest.mark.skipif(not native.installed(), reason="jaxmia[cpu] is not installed")
def test_a_source_that_does_not_compile_is_told_and_not_tried_again(alone, monkeypatch):
    sources = native._sources()
    monkeypatch.setattr(native, "_sources", lambda: sources | {"onednn.cc": b"int main( {"})
    assert conv.choices("cpu") == ("tiled",)
    assert "onednn.cc:1:" in native.native().reason and "error" in native.native().reason
    (verdict,) = alone.glob("*.json")
    verdict.write_text(json.dumps({"wrong": "as it was"}))
    native.native.cache_clear()
    assert native.native().reason == "as it was"


WRONG = (
    ("onednn.cc", b"before{key[3], key[5]}, after{key[4], key[6]}",
     b"before{key[4], key[6]}, after{key[3], key[5]}", "products differ from XLA's by"),
    ("layer.cc", b"std::copy(sums, sums + l.in, f->dscale)",
     b"std::copy(sums + l.in, sums + 2 * l.in, f->dscale)", "layers differ from their steps by"),
)  # fmt: skip


@needs
@pytest.mark.parametrize(("file", "right", "wrong", "words"), WRONG)
def test_wrong_products_and_layers_are_not_used(file, right, wrong, words, alone, monkeypatch):
    sources = native._sources()
    faulty = sources[file].replace(right, wrong)
    monkeypatch.setattr(native, "_sources", lambda: sources | {file: faulty})
    assert sources[file] != faulty and native.native().library is None
    assert words in native.native().reason
    assert not list(alone.glob("*.so"))


@needs
@pytest.mark.soak
def test_two_processes_may_build_at_once(alone):
    program = "from jaxmia.models import native; assert native.native().library, native.native()"
    root = Path(native.__file__).parents[2]
    both = [subprocess.Popen([sys.executable, "-c", program], cwd=root) for _ in range(2)]
    assert [p.wait() for p in both] == [0, 0]
    assert len(list(alone.glob("*.so"))) == 1 and not list(alone.glob(".building*"))


@needs
@pytest.mark.soak
@pytest.mark.parametrize("instructions", ["SSE41", "AVX2", "ALL"])
def test_products_stay_in_their_memory(instructions, tmp_path):
    library, header = native._file(*native._LIBRARY), native._file(*native._HEADERS)
    assert library is not None and header is not None
    source = Path(native.__file__).parent
    program = tmp_path / "guarded"
    includes = (f"-I{p}" for p in (source, jax.ffi.include_dir(), header.parents[2]))
    subprocess.run(
        ["c++", "-std=c++17", "-w", "-fopenmp", *includes, Path(__file__).with_name("guarded.cc"),
         source / "onednn.cc", library, f"-Wl,-rpath,{library.parent}", "-o", program],
        check=True,
    )  # fmt: skip
    run = subprocess.run(
        [program, "2000", "0"], capture_output=True, text=True,
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": instructions},
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (0, "")
