"""Residual networks for small images: ResNet-20 and its kin (He et al. 2016, section 4.2)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmia.models.adaptor import nnx_module
from jaxmia.models.layers import Conv, Norm, check_norm, image_shape
from jaxmia.types import Array, Data, Model
from jaxmia.values import factory


class _Block(nnx.Module):
    def __init__(self, a: int, b: int, stride: int, kind: str, rngs: nnx.Rngs) -> None:
        self.first, self.second = Conv(a, b, stride=stride, rngs=rngs), Conv(b, b, rngs=rngs)
        self.norm1, self.norm2 = Norm(kind, b, rngs), Norm(kind, b, rngs)
        self.stride, self.more = stride, b - a

    def __call__(self, x: Array) -> Array:
        out = jax.nn.relu(self.norm1(self.first(x)))
        out = self.norm2(self.second(out))
        # the shortcut without parameters ("option A"): every second pixel, channels of zeros
        short = x[:, :: self.stride, :: self.stride]
        return jax.nn.relu(out + jnp.pad(short, ((0, 0), (0, 0), (0, 0), (0, self.more))))


class _ResNet(nnx.Module):
    def __init__(self, channels: int, n: int, classes: int, kind: str, rngs: nnx.Rngs) -> None:
        self.stem, self.norm = Conv(channels, 16, rngs=rngs), Norm(kind, 16, rngs)
        blocks, a = [], 16
        for b in (16, 32, 64):
            for i in range(n):
                blocks.append(_Block(a, b, 2 if i == 0 and b > 16 else 1, kind, rngs))
                a = b
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(64, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = jax.nn.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


@factory
def resnet(depth: int = 20, norm: str = "batch") -> Callable[[Data], Model]:
    """A network of `depth` = 6n + 2 layers, 16, 32 and 64 channels wide (20: 0.27 M parameters)."""
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"resnet: depth={depth} must be 6n + 2: 8, 14, 20, 32, 44, 56")
    check_norm(norm)

    def model(data: Data) -> Model:
        channels = image_shape(data, "resnet")[2]
        return nnx_module(lambda d, r: _ResNet(channels, depth // 6, d.classes, norm, r))(data)

    return model
