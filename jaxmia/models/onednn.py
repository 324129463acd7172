"""A convolution's three products by oneDNN: forward, input gradient, weight gradient.

A product is a call from the compiled program into the library of `native`, on the thread of the
device that runs it. What oneDNN needs besides its operands, kernels in another order and the like,
is a second result of the call that nobody reads: XLA plans that memory among the program's own.
"""

import ctypes

import jax
import jax.numpy as jnp
import numpy as np

from jaxmia.models.native import TARGETS, processor
from jaxmia.types import Array

PRODUCTS = ("forward", "input gradient", "weight gradient")

Padding = tuple[tuple[int, int], tuple[int, int]]


def takes(*operands: Array) -> bool:
    """Whether operands are of a type that this processor multiplies: float32, maybe bfloat16."""
    types = {str(a.dtype) for a in operands}
    flags = processor().split()
    return types == {"float32"} or (
        types == {"bfloat16"} and ("avx512_bf16" in flags or "amx_bf16" in flags)
    )


def product(
    library: ctypes.CDLL,
    name: str,
    shape: tuple[int, ...],
    a: Array,
    b: Array,
    strides: tuple[int, int],
    pads: Padding,
) -> jax.Array:
    """One of `PRODUCTS`: of x and w, of g and w, or of x and g, as an array of this shape.

    Images are NHWC, kernels HWIO. Raises `ValueError` with the shapes where oneDNN refuses them.
    """
    window = [PRODUCTS.index(name), *strides, *pads[0], *pads[1]]
    results = (
        jax.ShapeDtypeStruct(shape, a.dtype),
        jax.ShapeDtypeStruct((_scratch(library, window, a, b, shape),), jnp.uint8),
    )
    return jax.ffi.ffi_call(TARGETS[0], results)(a, b, window=np.asarray(window, np.int64))[0]


def _scratch(library: ctypes.CDLL, window: list[int], a: Array, b: Array, shape: tuple) -> int:
    """Bytes that a product needs besides its operands; makes it ready to run."""
    narrow = int(a.dtype == jnp.bfloat16)
    key = [*window, narrow, *a.shape, narrow, *b.shape, narrow, *shape]
    wrong = ctypes.create_string_buffer(200)
    size = library.jaxmia_scratch(
        (ctypes.c_int64 * len(key))(*key), ctypes.c_size_t(len(key)), wrong, ctypes.c_size_t(200)
    )
    if size < 0:
        raise ValueError(
            f"oneDNN refuses the {PRODUCTS[window[0]]} of {a.shape} with {b.shape} to {shape}, "
            f"strides {tuple(window[1:3])}, padding {tuple(window[3:])}: {wrong.value.decode()}"
        )
    return size
