"""A layer in one call of the program: what activates its input, a convolution, pooling, sums.

Between two convolutions lie a normalisation, a sum and a rectifier. Done apart, each reads and
writes all activations; here they are done a few images at a time, on the way into the convolution
and while what it made still lies in the cache. What a normalisation needs of the whole batch, sums
and sums of squares over each channel, comes out beside the result, so that it stays a matter of
small vectors and of automatic differentiation.

On a CPU with oneDNN only (`native`); elsewhere the same is done step by step.
"""

import ctypes
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxmia.models import conv, native
from jaxmia.types import Array


class Pending(NamedTuple):
    """An activation `relu(scale * y + shift + more)` that is computed where it is used.

    What is None is left out; without `rectify` so is the rectifier.
    """

    y: Float[Array, "B H W C"]
    scale: Float[Array, " C"] | None = None
    shift: Float[Array, " C"] | None = None
    more: Float[Array, "B H W C"] | None = None
    rectify: bool = True


class LayerOutput(NamedTuple):
    """What a layer made, and of it the sums over each channel and of squares; its input."""

    z: Float[Array, "B P R O"]
    sums: Float[Array, " O"]
    squares: Float[Array, " O"]
    p: Float[Array, "B H W I"]


def activated(x: Pending) -> jax.Array:
    """The activation itself."""
    y = jnp.asarray(x.y)
    if x.scale is not None and x.shift is not None:
        y = y * x.scale.reshape(1, 1, 1, -1) + x.shift.reshape(1, 1, 1, -1)
    y = y if x.more is None else y + x.more
    return jax.nn.relu(y) if x.rectify else y


def fuses(x: Pending, w: Array) -> bool:
    """Whether `layer` can be called on this: float32, and oneDNN chosen."""
    return conv.implementation() == "onednn" and x.y.dtype == jnp.float32 == w.dtype


def layer(
    x: Pending,
    w: Float[Array, "h w I O"],
    stride: int = 1,
    padding: str | conv.Padding = "SAME",
    *,
    pool: bool = False,
    sums: bool = False,
    emits: bool = False,
    library: ctypes.CDLL | None = None,
) -> LayerOutput:
    """Activates, convolves, and with `pool` takes the maximum of each 2 x 2 square.

    `sums` and `emits` ask for the sums and the activated input; else they are empty. By the library
    that is ready on this machine, or a given one; raises `ValueError` where there is none.
    """
    pads = conv.padded(x.y.shape[1:3], w.shape[:2], (stride, stride), padding)
    options = (stride, stride, *pads[0], *pads[1], int(x.rectify), int(pool))
    none = jnp.zeros(0, jnp.float32)
    more = (none if a is None else a for a in (x.scale, x.shift, x.more))
    run = _owned(library or native.needed(), options, sums, emits)
    return LayerOutput(*run(x.y, w, *more))


class _Saved(NamedTuple):
    arguments: tuple
    z: Array
    p: Array
    which: Array


@functools.cache
def _owned(library: ctypes.CDLL, options: tuple[int, ...], sums: bool, emits: bool) -> Any:
    """The layer of these options, and its gradient."""
    forward = conv.looped(functools.partial(_forward, library, options, sums, emits))
    first = conv.looped(functools.partial(_backward, library, options, sums, emits, False))
    inner = conv.looped(functools.partial(_backward, library, options, sums, emits, True))

    @jax.custom_vjp
    def owned(*arguments: Array) -> tuple:
        return forward(*arguments)[:4]

    def ahead(*arguments: Any) -> tuple:
        values = tuple(a.value for a in arguments)
        z, one, two, p, which = forward(*values)
        # a network's first layer needs no gradient of the examples
        active = [a.perturbed for a in arguments]
        more = jnp.zeros(int(active[0] or any(active[2:])))
        return (z, one, two, p), (_Saved(values, z, p, which), more)

    def back(saved: tuple[_Saved, Array], cotangents: tuple) -> tuple:
        (arguments, z, p, which), more = saved
        g, *others = (
            jnp.zeros(c.shape, c.dtype) if isinstance(c, jax.custom_derivatives.SymbolicZero) else c
            for c in cotangents
        )
        run = inner if more.size else first
        dy, dw, *rest = run(*arguments, p, z, which, g, *others)
        dy = dy if more.size else jnp.zeros_like(arguments[0])
        return (dy, dw, *rest)

    owned.defvjp(ahead, back, symbolic_zeros=True)
    return owned


def _output_shape(options: tuple[int, ...], y: Array, w: Array) -> tuple[int, ...]:
    rows, columns = (
        (n + before + after - k) // s + 1
        for n, k, s, before, after in zip(
            y.shape[1:3], w.shape[:2], options[:2], options[2:6:2], options[3:6:2], strict=True
        )
    )
    return (len(y), *((n // 2 if options[7] else n) for n in (rows, columns)), w.shape[3])


def _forward(
    library: ctypes.CDLL, options: tuple, sums: bool, emits: bool, *arguments: Array
) -> tuple:
    y, w = arguments[:2]
    shape = _output_shape(options, y, w)
    count = w.shape[3] * sums
    results = (
        jax.ShapeDtypeStruct(shape, jnp.float32),
        *[jax.ShapeDtypeStruct((count,), jnp.float32)] * 2,
        jax.ShapeDtypeStruct(y.shape if emits else (0,), jnp.float32),
        jax.ShapeDtypeStruct(shape if options[7] else (0,), jnp.uint8),
        _room(library, options, y, w, gradient=False),
    )
    call = jax.ffi.ffi_call(native.TARGETS[1], results)
    return tuple(call(*arguments, options=np.asarray(options, np.int64))[:-1])


def _backward(
    library: ctypes.CDLL, options: tuple, sums: bool, emits: bool, inner: bool, *arguments: Array
) -> tuple:
    y, w, *before = arguments[:5]
    results = (
        jax.ShapeDtypeStruct(y.shape if inner else (0,), jnp.float32),
        jax.ShapeDtypeStruct(w.shape, jnp.float32),
        *(jax.ShapeDtypeStruct(a.shape, jnp.float32) for a in before),
        _room(library, options, y, w, gradient=True),
    )
    call = jax.ffi.ffi_call(native.TARGETS[2], results)
    return tuple(call(*arguments, options=np.asarray(options, np.int64))[:-1])


def _room(
    library: ctypes.CDLL, options: tuple, y: Array, w: Array, gradient: bool
) -> jax.ShapeDtypeStruct:
    """The scratch memory of a layer; raises `ValueError` where oneDNN refuses it."""
    key, wrong = (*options, *y.shape, *w.shape), ctypes.create_string_buffer(200)
    size = library.jaxmia_layer_scratch(
        (ctypes.c_int64 * len(key))(*key), ctypes.c_int64(gradient), wrong, ctypes.c_size_t(200)
    )
    if size < 0:
        raise ValueError(
            f"oneDNN refuses a layer of {y.shape} with {w.shape}, strides {options[:2]}, padding "
            f"{options[2:6]}: {wrong.value.decode()}"
        )
    return jax.ShapeDtypeStruct((size,), jnp.uint8)
