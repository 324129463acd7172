"""Wide residual networks (Zagoruyko & Komodakis 2016), as LiRA's paper trains them: WRN-28-2."""

from collections.abc import Callable

from flax import nnx

from jaxmia.models import layers
from jaxmia.models.adaptor import nnx_module
from jaxmia.models.fused import activated
from jaxmia.models.layers import (
    Conv,
    ConvNorm,
    Norm,
    after_dropout,
    check_dropout,
    check_norm,
    convolved,
    image_shape,
)
from jaxmia.types import Array, Data, Model
from jaxmia.values import factory


class _Block(nnx.Module):
    def __init__(self, a: int, b: int, stride: int, kind: str, rngs: nnx.Rngs) -> None:
        self.norm = Norm(kind, a, rngs)
        self.first = ConvNorm(a, b, kind, stride, rngs=rngs)
        self.second = Conv(b, b, rngs=rngs)
        self.short = Conv(a, b, 1, stride, rngs=rngs) if a != b or stride > 1 else None

    def __call__(self, x: Array) -> Array:
        inner, activation = self.first.after(self.norm.before(x), emits=self.short is not None)
        out, _ = convolved(inner, self.second)
        return out.y + (x if self.short is None else self.short(activation))


class _Wrn(nnx.Module):
    def __init__(
        self, channels: int, n: int, k: int, classes: int, kind: str, drop: float, rngs
    ) -> None:
        self.stem = Conv(channels, 16, rngs=rngs)
        blocks, a = [], 16
        for b, first in ((16 * k, 1), (32 * k, 2), (64 * k, 2)):
            for i in range(n):
                blocks.append(_Block(a, b, first if i == 0 else 1, kind, rngs))
                a = b
        self.blocks = nnx.List(blocks)
        self.norm = Norm(kind, a, rngs)
        self.head = nnx.Linear(a, classes, rngs=rngs)
        self.dropout = layers.dropout(drop, rngs)

    def __call__(self, x: Array) -> Array:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(after_dropout(self.dropout, activated(self.norm.before(x)).mean((1, 2))))


@factory
def wrn(
    depth: int = 28, widen: int = 2, norm: str = "batch", dropout: float = 0.0
) -> Callable[[Data], Model]:
    """WRN-d-k with d = 6n + 4 layers, 16k, 32k and 64k channels (28-2: 1.47 M parameters)."""
    if depth < 10 or depth % 6 != 4 or widen < 1:
        raise ValueError(f"wrn: depth={depth} must be 6n + 4 (10, 16, 28, 40), widen={widen} >= 1")
    check_norm(norm)
    check_dropout(dropout)

    def model(data: Data) -> Model:
        channels = image_shape(data, "wrn")[2]
        n = (depth - 4) // 6
        return nnx_module(lambda d, r: _Wrn(channels, n, widen, d.classes, norm, dropout, r))(data)

    return model
