"""Training augmentation of one example, and the fixed views under which a model is queried.

Those that only move pixels, by index, work on stored and on normalised values alike.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Num

from jaxmia.types import Array, Key
from jaxmia.values import factory


def none(x: Array, key: Key) -> Array:
    """The example as it is."""
    return x


def itself(x: Array) -> Array:
    """One view, the example itself: Q = 1."""
    return x[None]


def _moved(x: Num[Array, "H W C"], down: Array, right: Array, mirrored: Array) -> Array:
    """The image shifted by whole pixels, reflected at its edges, and mirrored if asked."""
    height, width, _ = x.shape
    rows = _reflected(jnp.arange(height) + down, height)
    columns = _reflected(jnp.arange(width) + right, width)
    columns = jnp.where(mirrored, columns[::-1], columns)
    return jnp.asarray(x).at[rows[:, None], columns[None, :]].get(mode="promise_in_bounds")


def _reflected(index: Array, size: int) -> Array:
    return (size - 1) - jnp.abs((size - 1) - jnp.abs(index))


def _check_image(x: Array, what: str, pixels: int) -> None:
    if x.ndim != 3:
        raise ValueError(f"{what}: needs images [H, W, C], the examples have shape {x.shape}")
    if pixels >= min(x.shape[:2]):
        raise ValueError(f"{what}: pixels={pixels} must be below the image's {min(x.shape[:2])}")


@factory
def flip_and_shift(pixels: int = 4, flip: bool = True) -> Callable[[Array, Key], Array]:
    """Mirrored with probability one half, and shifted by up to `pixels` with reflected edges."""
    if pixels < 0:
        raise ValueError(f"flip_and_shift: pixels={pixels} must not be negative")

    def augmented(x: Array, key: Key) -> Array:
        _check_image(x, "flip_and_shift", pixels)
        bits = jax.random.randint(key, (2,), -pixels, pixels + 1)
        mirrored = jax.random.bernoulli(jax.random.fold_in(key, 1)) if flip else jnp.array(False)
        return _moved(x, bits[0], bits[1], mirrored)

    return augmented


@factory
def cutout(size: int) -> Callable[[Array, Key], Array]:
    """A square of zeros about a random pixel, cut off at the edges (DeVries & Taylor 2017)."""
    if size < 1:
        raise ValueError(f"cutout: size={size} must be 1 or more")

    def augmented(x: Array, key: Key) -> Array:
        if x.ndim != 3:
            raise ValueError(f"cutout: needs images [H, W, C], the examples have shape {x.shape}")
        inside = []
        for axis, length in enumerate(x.shape[:2]):
            first = jax.random.randint(jax.random.fold_in(key, axis), (), 0, length) - size // 2
            at = jnp.arange(length)
            inside.append((at >= first) & (at < first + size))
        hole = inside[0][:, None, None] & inside[1][None, :, None]
        return jnp.where(hole, jnp.zeros_like(x), x)

    return augmented


@factory
def both(
    first: Callable[[Array, Key], Array], second: Callable[[Array, Key], Array]
) -> Callable[[Array, Key], Array]:
    """One augmentation after the other."""

    def augmented(x: Array, key: Key) -> Array:
        return second(first(x, jax.random.fold_in(key, 0)), jax.random.fold_in(key, 1))

    return augmented


@factory
def mirror() -> Callable[[Array], Array]:
    """The image and its mirror image: Q = 2."""
    return shifted_views(0, 1, True)


@factory
def shifted_views(pixels: int = 4, stride: int = 4, mirror: bool = True) -> Callable:
    """The image shifted by -pixels..pixels in steps of `stride`, both ways, each mirrored as well.

    The default gives Q = 18 (Carlini et al. 2022, section V-B: 9 shifts, 2 reflections). View 0 is
    the image itself.
    """
    if pixels < 0 or stride < 1 or pixels % stride:
        raise ValueError(
            f"shifted_views: pixels={pixels} must be a multiple (0 or more) of stride={stride} >= 1"
        )
    steps = sorted(range(-pixels, pixels + 1, stride), key=abs)
    moves = [(m, d, r) for m in ((0, 1) if mirror else (0,)) for d in steps for r in steps]

    def views(x: Array) -> Array:
        _check_image(x, "shifted_views", pixels)
        mirrored, down, right = jnp.array(moves).T
        return jax.vmap(lambda m, d, r: _moved(x, d, r, m > 0))(mirrored, down, right)

    return views


@factory
def noised(
    *scales: float, copies: int = 8, around: Callable[[Array], Array] = itself
) -> Callable[[Array], Array]:
    """Copies with Gaussian noise, for label-only attacks.

    `copies` of each scale (in what the network sees) and of each view of `around`; the noise is the
    same for every example and model (Choquette-Choo et al. 2021, section 3.3).
    """
    if not scales or min(scales) < 0 or copies < 1:
        raise ValueError(f"noised: scales={scales} must be 0 or more, copies={copies} 1 or more")

    def views(x: Array) -> Array:
        base = around(x)
        key = jax.random.key(0, impl="threefry2x32")
        noise = jax.random.normal(key, (len(scales), copies, *base.shape), jnp.float32)
        by = jnp.asarray(scales, jnp.float32).reshape(-1, 1, *[1] * base.ndim)
        out = jnp.broadcast_to(base, noise.shape) + jnp.broadcast_to(by, noise.shape) * noise
        return out.reshape(-1, *x.shape)

    return views


VIEWS = {"itself": itself, "mirror": mirror, "shifted_views": shifted_views, "noised": noised}
