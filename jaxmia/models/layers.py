"""The layers that the networks here are made of."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Float

from jaxmia.models import fused
from jaxmia.models.conv import Padding, conv
from jaxmia.models.fused import Pending, activated
from jaxmia.types import Array, Data

NORMS = ("batch", "group")


class Conv(nnx.Module):
    """A convolution without bias, He-initialised, executed by `conv`."""

    def __init__(
        self,
        features_in: int,
        features: int,
        kernel: int = 3,
        stride: int = 1,
        padding: str | Padding = "SAME",
        *,
        rngs: nnx.Rngs,
    ) -> None:
        shape = (kernel, kernel, features_in, features)
        scale = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        self.kernel = nnx.Param(scale(rngs.params(), shape))
        self.stride, self.padding = stride, padding

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B P R O"]:
        """Convolves."""
        return conv(x, self.kernel[...], self.stride, self.padding)


class Norm(nnx.Module):
    """BatchNorm (running averages at momentum 0.9) or GroupNorm with groups of 8 or more.

    Statistics are float32; what comes out has the dtype of what went in.
    """

    def __init__(self, kind: str, features: int, rngs: nnx.Rngs) -> None:
        if kind == "batch":
            self.norm = nnx.BatchNorm(features, momentum=0.9, rngs=rngs)
        else:
            groups = next(g for g in range(max(1, features // 8), 0, -1) if features % g == 0)
            self.norm = nnx.GroupNorm(features, num_groups=groups, rngs=rngs)

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        """Normalises per channel."""
        return self.norm(x).astype(x.dtype)

    def before(self, x: Float[Array, "B H W C"]) -> Pending:
        """The normalisation and a rectifier, to be done on the way into the next convolution."""
        norm = self.norm
        if not (isinstance(norm, nnx.BatchNorm) and fused.fuses(Pending(x), x)):
            return Pending(self(x))
        if norm.use_running_average:
            return Pending(x, *_affine(norm))
        return Pending(x, *_affine(norm, x.mean((0, 1, 2)), (x * x).mean((0, 1, 2))))


def _affine(
    norm: nnx.BatchNorm, mean: Array | None = None, square: Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """What a BatchNorm multiplies with and adds, by a batch's moments or its running averages."""
    if mean is None or square is None:
        mean, var = norm.mean[...], norm.var[...]
    else:
        var = jnp.maximum(square - mean * mean, 0.0)
        for average, new in ((norm.mean, mean), (norm.var, var)):
            past = norm.momentum * average[...]
            average[...] = past + (1 - norm.momentum) * lax.stop_gradient(new)
    assert norm.scale is not None and norm.bias is not None
    scale = norm.scale[...] * lax.rsqrt(var + norm.epsilon)
    return scale, norm.bias[...] - mean * scale


class ConvNorm(nnx.Module):
    """A convolution and what normalises it; in evaluation a BatchNorm is folded into the kernel."""

    def __init__(
        self, features_in: int, features: int, kind: str, stride: int = 1, *, rngs: nnx.Rngs
    ) -> None:
        self.conv = Conv(features_in, features, stride=stride, rngs=rngs)
        self.norm = Norm(kind, features, rngs)

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B P R O"]:
        """Convolves and normalises."""
        norm = self.norm.norm
        if not (isinstance(norm, nnx.BatchNorm) and norm.use_running_average):
            return self.norm(self.conv(x))
        assert norm.scale is not None and norm.bias is not None
        factor = norm.scale[...] * lax.rsqrt(norm.var[...] + norm.epsilon)
        shift = norm.bias[...] - norm.mean[...] * factor
        kernel = (self.conv.kernel[...] * factor.reshape(1, 1, 1, -1)).astype(x.dtype)
        out = conv(x, kernel, self.conv.stride, self.conv.padding)
        return out + shift.astype(x.dtype).reshape(1, 1, 1, -1)

    def after(self, x: Pending, emits: bool = False) -> tuple[Pending, Array]:
        """The same of what is pending, left pending; beside it the activated input."""
        if fused.fuses(x, self.conv.kernel[...]):
            return convolved(x, self.conv, self.norm, emits=emits)
        p = activated(x)
        return Pending(self(p)), p


def convolved(
    x: Pending, by: Conv, norm: Norm | None = None, *, pool: bool = False, emits: bool = False
) -> tuple[Pending, Array]:
    """A convolution of what is pending, then pooling, then a normalisation that is pending.

    Beside it the activated input, which may be empty unless it `emits` that.
    """
    kernel, batch = by.kernel[...], None if norm is None else norm.norm
    if not fused.fuses(x, kernel) or isinstance(batch, nnx.GroupNorm):
        p = activated(x)
        z = by(p)
        z = max_pool(z) if pool else z
        return Pending(z if norm is None else norm(z)), p
    training = batch is not None and not batch.use_running_average
    output = fused.layer(x, kernel, by.stride, by.padding, pool=pool, sums=training, emits=emits)
    if batch is None:
        return Pending(output.z), output.p
    many = output.z.size // output.z.shape[3]
    moments = (output.sums / many, output.squares / many) if training else ()
    return Pending(output.z, *_affine(batch, *moments)), output.p


def check_dropout(rate: float) -> None:
    """Raises `ValueError` for a rate outside [0, 1)."""
    if not 0 <= rate < 1:
        raise ValueError(f"dropout={rate} must be in [0, 1)")


def dropout(rate: float, rngs: nnx.Rngs) -> nnx.Dropout | None:
    """What leaves out units before the head; nothing at rate 0."""
    return nnx.Dropout(rate, rngs=rngs) if rate else None


def after_dropout(dropout: nnx.Dropout | None, x: Float[Array, "B C"]) -> Float[Array, "B C"]:
    """The units that a dropout keeps."""
    return x if dropout is None else dropout(x)


def check_norm(kind: str) -> None:
    """Raises `ValueError` unless `kind` is one of `NORMS`."""
    if kind not in NORMS:
        raise ValueError(f"norm={kind!r} is not one of {NORMS}")


def image_shape(data: Data, model: str) -> tuple[int, int, int]:
    """Height, width and channels of a set's images.

    Raises `ValueError` for a set that holds none.
    """
    if data.x.ndim != 4:
        raise ValueError(f"{model}: needs images [H, W, C], {data.name} holds {data.x.shape[1:]}")
    height, width, channels = data.x.shape[1:]
    return height, width, channels


def max_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B P R C"]:
    """The maximum of each 2 x 2 square; an odd last row or column is left out."""
    return _pooled(x)


def _of_squares(x: Array) -> jax.Array:
    """A maximum over a reshaped axis: its gradient is a select, not a scatter."""
    b, h, w, c = x.shape
    squares = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    return jnp.maximum(
        jnp.maximum(squares[:, :, 0, :, 0], squares[:, :, 0, :, 1]),
        jnp.maximum(squares[:, :, 1, :, 0], squares[:, :, 1, :, 1]),
    )


def _pool_gradient(x: Array, g: Array) -> tuple[jax.Array]:
    """Where the maxima are is worked out again, from the input that is kept anyway.

    Behind a barrier, or XLA would have the forward pass write six masks and read them back here.
    """
    return jax.vjp(_of_squares, lax.optimization_barrier(x))[1](g)


_pooled = jax.custom_vjp(_of_squares)
_pooled.defvjp(lambda x: (_of_squares(x), x), _pool_gradient)
