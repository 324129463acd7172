"""Tries a library of oneDNN's products in a process of its own, which it may bring down.

    python -m jaxmia.models.trial LIBRARY

Every product, on shapes that take each of its ways, against XLA's convolution and its gradients.
"""

import ctypes
import functools
import sys
from pathlib import Path

import jax
import numpy as np
from jax import lax

from jaxmia.models import native, onednn
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


if __name__ == "__main__":
    try:
        worst = difference(native.load(Path(sys.argv[1])))
    except Exception as error:  # whatever it is, it is the verdict
        raise SystemExit(f"{type(error).__name__}: {reason(error)}") from None
    if not worst < 1e-4:
        raise SystemExit(f"products differ from XLA's by {worst:.1e}")
