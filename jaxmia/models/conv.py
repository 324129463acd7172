"""How a convolution is executed, and its gradients: this file decides the speed of every CNN.

XLA has a fast path for few forms of a convolution, and automatic differentiation and `vmap` leave
it: inside a loop a CPU then runs the gradients 15 to 30 times slower (it keeps its fast code for
NHWC input, HWIO kernel and no groups), and a GPU runs the weight gradient as a forward convolution
with the whole feature map as its filter. So the gradients are written here, each in the form that
its backend runs fast, with their own rules for what happens under `vmap`.

| name        | one model                            | many models, views or examples           |
| ----------- | ------------------------------------ | ---------------------------------------- |
| `onednn`    | oneDNN's three products, where the   | a loop over them: a CPU's first choice   |
|             | extra `jaxmia[cpu]` brought it       |                                          |
| `tiled`     | canonical; the weight gradient as    | a loop over them: a CPU's other choice   |
|             | patches of few images times a matrix |                                          |
| `canonical` | forward and both gradients canonical | a loop over them                         |
| `grouped`   | the same                             | feature groups; batch groups (cuDNN's    |
|             |                                      | backward filter) for the weight gradient |

All give the same numbers but for rounding. GPUs and TPUs have `grouped` alone, by what their
compilers make of it (docs/accelerators.md; nothing was timed there): at width 8 a step of the fast
net moves 5.0 GB a model on an H100, as patches times a matrix 12.2, and a loop over models is the
program of width 1 with copies around it. On a CPU (2 cores, batch 128) the weight gradient of 16 to
16 channels at 32 x 32 takes 94 ms canonical and 14 ms tiled, of 3 to 16 channels 16 and 4 ms: a
patch matrix of few images stays in the cache.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Float

from jaxmia.models import native, onednn
from jaxmia.types import Array

IMPLEMENTATIONS = ("onednn", "tiled", "canonical", "grouped")
TILE = 1 << 17  # numbers of a patch matrix that is built at once
FEW = 8  # input channels below which a convolution is done as products of rows
_LAYOUT = ("NHWC", "HWIO", "NHWC")
_override: contextvars.ContextVar[str] = contextvars.ContextVar("convolution", default="")

Padding = tuple[tuple[int, int], tuple[int, int]]


def choices(platform: str, model: Callable | None = None) -> tuple[str, ...]:
    """The implementations worth timing on a platform, its default first.

    Just one for a `model()` that does not convolve. On a CPU the first call may build `native`.
    """
    if platform != "cpu":
        return ("grouped",)
    if native.installed() and (model is None or _convolves(model)) and native.native().library:
        return ("onednn", "tiled")
    return ("tiled",)


def _convolves(model: Callable) -> bool:
    with using("canonical"):
        return "conv_general_dilated" in str(jax.make_jaxpr(model)())


@contextlib.contextmanager
def using(name: str) -> Iterator[None]:
    """Programs traced inside use this implementation.

    Raises `ValueError` for a name that is not in `IMPLEMENTATIONS`.
    """
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"convolution={name!r} is not one of {IMPLEMENTATIONS}")
    token = _override.set(name)
    try:
        yield
    finally:
        _override.reset(token)


def implementation() -> str:
    """The implementation that programs traced here use."""
    return _override.get() or choices(jax.default_backend())[0]


def conv(
    x: Float[Array, "B H W I"],
    w: Float[Array, "h w I O"],
    stride: int | tuple[int, int] = 1,
    padding: str | Padding = "SAME",
) -> Float[jax.Array, "B P R O"]:
    """Cross-correlation of images with a kernel, as every network here computes it."""
    strides = (stride, stride) if isinstance(stride, int) else stride
    pads = padded(x.shape[1:3], w.shape[:2], strides, padding)
    name = implementation()
    if name == "onednn":
        if onednn.takes(x, w):
            return _foreign(strides, pads, x.shape[1:3], w.shape[:2])(x, w)
        name = "tiled"
    if w.shape[:2] == (1, 1) and pads == ((0, 0), (0, 0)):
        x, strides = x[:, :: strides[0], :: strides[1]], (1, 1)
        if name == "tiled":  # elsewhere XLA's GPU compiler would end at the product
            return x @ w[0, 0]
    return _owned(name, strides, pads, x.shape[1:3], w.shape[:2])(x, w)


def padded(size, kernel, strides, padding: str | Padding) -> Padding:
    """What a named padding adds before and after rows and columns."""
    if not isinstance(padding, str):
        return ((padding[0][0], padding[0][1]), (padding[1][0], padding[1][1]))
    if padding.upper() == "VALID":
        return ((0, 0), (0, 0))
    if padding.upper() != "SAME":
        raise ValueError(f"padding={padding!r} is not one of 'SAME', 'VALID', ((t, b), (l, r))")
    out = []
    for n, k, s in zip(size, kernel, strides, strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        out.append((total // 2, total - total // 2))
    return (out[0], out[1])


def _plain(x: Array, w: Array, strides: tuple[int, int], pads: Padding) -> jax.Array:
    if min(map(min, pads)) < 0:
        # XLA:CPU reads beyond the array where a padding is negative, and folds a negative `pad`
        # into the convolution: only a slice keeps it out
        crop = [
            slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape[1:3], pads, strict=True)
        ]
        x = x[:, crop[0], crop[1]]
    around = [(max(a, 0), max(b, 0)) for a, b in pads]
    return lax.conv_general_dilated(x, w, strides, around, dimension_numbers=_LAYOUT)


@functools.cache
def _owned(name: str, strides, pads: Padding, size, kernel) -> Callable:
    """The convolution of one shape, with both gradients as convolutions of stride 1."""
    many = _grouped if name == "grouped" else (lambda one, _: looped(one))
    tiled = name == "tiled"
    out = [
        (n + sum(p) - k) // s + 1 for n, p, k, s in zip(size, pads, kernel, strides, strict=True)
    ]
    # rows of the padded input that no window reaches get no gradient
    rest = [
        n + sum(p) - k - (o - 1) * s
        for n, p, k, o, s in zip(size, pads, kernel, out, strides, strict=True)
    ]

    def forward(x: Array, w: Array) -> jax.Array:
        how = _by_rows if tiled and w.shape[2] < FEW else _plain
        return how(x, w, strides, pads)

    def spaced(g: Array) -> jax.Array:
        """The gradient at the resolution of stride 1, zeros between."""
        gaps = [(0, 0, 0), *((0, 0, s - 1) for s in strides), (0, 0, 0)]
        return lax.pad(g, jnp.zeros((), g.dtype), gaps) if max(strides) > 1 else g

    def input_gradient(g: Array, w: Array) -> jax.Array:
        around = tuple(
            (k - 1 - p[0], k - 1 - p[1] + r) for k, p, r in zip(kernel, pads, rest, strict=True)
        )
        flipped = jnp.flip(w, (0, 1)).swapaxes(2, 3)
        return _plain(spaced(g), flipped, (1, 1), around)

    def weight_gradient(x: Array, g: Array) -> jax.Array:
        if tiled:
            return _by_tiles(x, g, kernel, strides, pads)
        cut = tuple((p[0], p[1] - r) for p, r in zip(pads, rest, strict=True))
        swapped = _plain(x.transpose(3, 1, 2, 0), spaced(g).transpose(1, 2, 0, 3), (1, 1), cut)
        return swapped.transpose(1, 2, 0, 3)

    ruled_forward = many(forward, None)
    ruled_input = many(input_gradient, None)
    ruled_weight = many(weight_gradient, lambda w, x: jax.vmap(forward)(x, w))

    @jax.custom_vjp
    def convolution(x: Array, w: Array) -> jax.Array:
        return ruled_forward(x, w)

    convolution.defvjp(
        lambda x, w: (ruled_forward(x, w), (x, w)),
        lambda saved, g: (ruled_input(g, saved[1]), ruled_weight(saved[0], g)),
    )
    return convolution


@functools.cache
def _foreign(strides, pads: Padding, size, kernel) -> Callable:
    """The convolution of one shape by oneDNN.

    Each of its products is linear in both operands, so the gradients of each are the other two.
    """
    library = native.needed()
    rows, columns = (
        (n + sum(p) - k) // s + 1 for n, p, k, s in zip(size, pads, kernel, strides, strict=True)
    )

    def product(name: str, shape: Callable, back: Callable) -> Callable:
        def one(a: Array, b: Array) -> jax.Array:
            return onednn.product(library, name, shape(a, b), a, b, strides, pads)

        owned = jax.custom_vjp(looped(one))
        owned.defvjp(lambda a, b: (owned(a, b), (a, b)), lambda saved, t: back(*saved, t))
        return owned

    forward = product(
        "forward",
        lambda x, w: (len(x), rows, columns, w.shape[3]),
        lambda x, w, g: (towards_x(g, w), towards_w(x, g)),
    )
    towards_x = product(
        "input gradient",
        lambda g, w: (len(g), *size, w.shape[2]),
        lambda g, w, t: (forward(t, w), towards_w(t, g)),
    )
    towards_w = product(
        "weight gradient",
        lambda x, g: (*kernel, x.shape[3], g.shape[3]),
        lambda x, g, t: (towards_x(g, t), forward(x, t)),
    )
    return forward


def looped(one: Callable) -> Callable:
    """Batched by a loop, so that no `vmap` takes the convolution out of its fast form."""
    rule = custom_vmap(one)

    @rule.def_vmap
    def many(size: int, batched: list[bool], *operands: Array) -> tuple[Any, Any]:
        def at(rows: tuple) -> Any:
            slices = iter(rows)
            return rule(*(next(slices) if b else a for b, a in zip(batched, operands, strict=True)))

        rows = tuple(a for b, a in zip(batched, operands, strict=True) if b)
        out = lax.map(at, rows)
        return out, jax.tree.map(lambda _: True, out)

    return rule


def _grouped(one: Callable, outside: Callable | None) -> Callable:
    """Batched by groups: for the weight gradient, that of the convolution batched beforehand.

    `vmap` of a weight gradient would give feature groups, which cuDNN does not run as a backward
    filter; the gradient of a `vmap` gives batch groups, which it does.
    """

    @custom_vmap
    def rule(a: Array, b: Array) -> jax.Array:
        return one(a, b)

    @rule.def_vmap
    def many(size: int, batched: list[bool], a: Array, b: Array) -> tuple[jax.Array, bool]:
        axes = tuple(0 if at else None for at in batched)
        if outside is None:
            return jax.vmap(one, axes)(a, b), True
        a, b = (
            v if at else jnp.broadcast_to(v, (size, *v.shape))
            for v, at in zip((a, b), batched, strict=True)
        )
        shape = jax.eval_shape(jax.vmap(one), a, b)
        (gradient,) = jax.vjp(functools.partial(outside, x=a), jnp.zeros_like(shape))[1](b)
        return gradient, True

    return rule


def _by_tiles(x: Array, g: Array, kernel, strides, pads: Padding) -> jax.Array:
    """The weight gradient, image by image or a few at a time: patches times what came back."""
    batch, count = len(x), kernel[0] * kernel[1] * x.shape[3]
    room = max(1, TILE // (g.shape[1] * g.shape[2] * count))
    size = max(n for n in range(1, min(room, batch) + 1) if batch % n == 0)

    def add(total: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        images, back = at
        patches = jnp.concatenate(_windows(images, kernel, strides, pads), axis=-1)
        product = jnp.matmul(
            patches.reshape(-1, count).T,
            back.reshape(-1, back.shape[-1]),
            preferred_element_type=jnp.float32,
        )
        return total + product, None

    tiles = tuple(a.reshape(batch // size, size, *a.shape[1:]) for a in (x, g))
    total, _ = lax.scan(add, jnp.zeros((count, g.shape[-1]), jnp.float32), tiles)
    return total.reshape(*kernel, x.shape[3], -1).astype(x.dtype)


def _by_rows(x: Array, w: Array, strides, pads: Padding) -> jax.Array:
    """A row of the kernel at a time, its positions beside each other: one product for each."""
    high, wide = w.shape[:2]
    windows = jnp.concatenate(_windows(x, (1, wide), (1, strides[1]), pads), axis=-1)
    rows = (windows.shape[1] - high) // strides[0] + 1
    return sum(
        lax.slice_in_dim(windows, i, i + (rows - 1) * strides[0] + 1, strides[0], axis=1)
        @ w[i].reshape(-1, w.shape[3])
        for i in range(high)
    )


def _windows(x: Array, kernel, strides, pads: Padding) -> list[jax.Array]:
    """For each kernel position, what it sees: `[B, P, R, I]`."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = (
        (n - k) // s + 1 for n, k, s in zip(x.shape[1:3], kernel, strides, strict=True)
    )
    return [
        lax.slice(
            x,
            (0, i, j, 0),
            (
                len(x),
                i + (rows - 1) * strides[0] + 1,
                j + (columns - 1) * strides[1] + 1,
                x.shape[3],
            ),
            (1, *strides, 1),
        )
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
