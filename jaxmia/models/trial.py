"""Tries a library of oneDNN's products and layers in a process that it may bring down.

    python -m jaxmia.models.trial LIBRARY

Every product, on shapes that take each of its ways, against XLA's convolution and its gradients;
layers with their gradients against the same steps one by one.
"""

import ctypes
import functools
import sys
from pathlib import Path

import jax
import numpy as np
from jax import lax

from jaxmia.models import fused, native, onednn
from jaxmia.models.layers import max_pool
from jaxmia.storage.files import reason

# batch, size, channels in and out, kernel, strides, padding
SHAPES = (
    (4, 9, 3, 5, 3, (1, 1), ((1, 1), (1, 1))),
    (8, 16, 16, 16, 3, (1, 1), ((1, 1), (1, 1))),
    (8, 16, 16, 32, 3, (2, 2), ((0, 1), (0, 1))),
    (4, 8, 7, 9, 1, (2, 2), ((0, 0), (0, 0))),
    (2, 10, 4, 64, 5, (1, 2), ((2, 2), (1, 3))),
)
LAYOUT = ("NHWC", "HWIO", "NHWC")
# channels in and out, stride, pooling, whether there is something to scale and to add
LAYERS = ((3, 16, 1, True, False), (16, 5, 2, False, True))


def difference(library: ctypes.CDLL) -> float:
    """The largest difference from XLA's products, relative to their largest number."""
    rng, worst = np.random.default_rng(0), 0.0
    for batch, size, a, b, kernel, strides, pads in SHAPES:
        x = rng.normal(size=(batch, size, size, a)).astype(np.float32)
        w = rng.normal(size=(kernel, kernel, a, b)).astype(np.float32)

        def plain(x, w, strides=strides, pads=pads):
            return lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=LAYOUT)

        y, back = jax.vjp(plain, x, w)
        g = rng.normal(size=y.shape).astype(np.float32)
        dx, dw = back(g)
        operands = ((x, w, y), (g, w, dx), (x, g, dw))
        for name, (p, q, want) in zip(onednn.PRODUCTS, operands, strict=True):
            one = functools.partial(
                onednn.product, library, name, want.shape, strides=strides, pads=pads
            )
            product = jax.jit(one)(p, q)
            worst = max(worst, float(np.abs(product - want).max() / np.abs(want).max()))
    return worst


def layer_difference(library: ctypes.CDLL) -> float:
    """The same of layers: of what they make, of its sums, and of the gradients of all that."""
    rng, worst = np.random.default_rng(1), 0.0
    for a, b, stride, pool, more in LAYERS:
        shape = (6, 9, 12, a)
        w = rng.normal(size=(3, 3, a, b)).astype(np.float32)
        arrays = [rng.normal(size=s).astype(np.float32) for s in (shape, (a,), (a,), shape)]
        x = fused.Pending(*arrays[: 4 if more else 1])
        one = functools.partial(
            fused.layer, stride=stride, pool=pool, sums=True, emits=True, library=library
        )
        steps = functools.partial(_by_steps, stride=stride, pool=pool)
        results = []
        for of in (one, steps):
            out, back = jax.vjp(lambda v, w, of=of: tuple(of(fused.Pending(*v), w)), x[:-1], w)
            weights = np.random.default_rng(2)
            g = [weights.normal(size=part.shape).astype(np.float32) for part in out]
            results.append(jax.tree.leaves((out, back((*g[:2], g[2] / 50, g[3])))))
        for part, want in zip(*results, strict=True):
            worst = max(worst, float(np.abs(part - want).max() / np.abs(want).max()))
    return worst


def _by_steps(x: fused.Pending, w: np.ndarray, stride: int, pool: bool) -> tuple:
    p = fused.activated(x)
    z = lax.conv_general_dilated(p, w, (stride, stride), "SAME", dimension_numbers=LAYOUT)
    z = max_pool(z) if pool else z
    return z, z.sum((0, 1, 2)), (z**2).sum((0, 1, 2)), p


if __name__ == "__main__":
    try:
        library = native.load(Path(sys.argv[1]))
        if not (worst := difference(library)) < 1e-4:
            raise ValueError(f"products differ from XLA's by {worst:.1e}")
        if not (worst := layer_difference(library)) < 1e-3:
            raise ValueError(f"layers differ from their steps by {worst:.1e}")
    except Exception as error:  # whatever it is, it is the verdict
        raise SystemExit(f"{type(error).__name__}: {reason(error)}") from None
