"""Residual networks for small images: ResNet-20 and its kin (He et al. 2016, section 4.2)."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx

from jaxmia.models import layers
from jaxmia.models.adaptor import nnx_module
from jaxmia.models.fused import Pending, activated
from jaxmia.models.layers import ConvNorm, after_dropout, check_dropout, check_norm, image_shape
from jaxmia.types import Array, Data, Model
from jaxmia.values import factory


class _Block(nnx.Module):
    def __init__(self, a: int, b: int, stride: int, kind: str, rngs: nnx.Rngs) -> None:
        self.first = ConvNorm(a, b, kind, stride, rngs=rngs)
        self.second = ConvNorm(b, b, kind, rngs=rngs)
        self.stride, self.more = stride, b - a

    def __call__(self, x: Pending) -> Pending:
        inner, activation = self.first.after(x, emits=True)
        out, _ = self.second.after(inner)
        # the shortcut without parameters ("option A"): every second pixel, channels of zeros
        short = activation[:, :: self.stride, :: self.stride]
        return out._replace(more=jnp.pad(short, ((0, 0), (0, 0), (0, 0), (0, self.more))))


class _ResNet(nnx.Module):
    def __init__(
        self, channels: int, n: int, classes: int, kind: str, drop: float, rngs: nnx.Rngs
    ) -> None:
        self.stem = ConvNorm(channels, 16, kind, rngs=rngs)
        blocks, a = [], 16
        for b in (16, 32, 64):
            for i in range(n):
                blocks.append(_Block(a, b, 2 if i == 0 and b > 16 else 1, kind, rngs))
                a = b
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(64, classes, rngs=rngs)
        self.dropout = layers.dropout(drop, rngs)

    def __call__(self, x: Array) -> Array:
        pending, _ = self.stem.after(Pending(x, rectify=False))
        for block in self.blocks:
            pending = block(pending)
        return self.head(after_dropout(self.dropout, activated(pending).mean((1, 2))))


@factory
def resnet(depth: int = 20, norm: str = "batch", dropout: float = 0.0) -> Callable[[Data], Model]:
    """A network of `depth` = 6n + 2 layers, 16, 32 and 64 channels wide (20: 0.27 M parameters)."""
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"resnet: depth={depth} must be 6n + 2: 8, 14, 20, 32, 44, 56")
    check_norm(norm)
    check_dropout(dropout)

    def model(data: Data) -> Model:
        channels = image_shape(data, "resnet")[2]
        return nnx_module(lambda d, r: _ResNet(channels, depth // 6, d.classes, norm, dropout, r))(
            data
        )

    return model
