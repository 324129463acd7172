"""A fast network for 32 x 32 images, of the kind that wins CIFAR-10 speed runs: no strides.

Cf. Page 2018 (ResNet-9) and Jordan 2024 (airbench).
"""

from collections.abc import Callable

from flax import nnx

from jaxmia.models import layers
from jaxmia.models.adaptor import nnx_module
from jaxmia.models.fused import Pending, activated
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


class _Stage(nnx.Module):
    """Convolution, pooling, convolution, added to what was pooled."""

    def __init__(self, a: int, b: int, kind: str, rngs: nnx.Rngs) -> None:
        self.first, self.norm = Conv(a, b, rngs=rngs), Norm(kind, b, rngs)
        self.second = ConvNorm(b, b, kind, rngs=rngs)

    def __call__(self, x: Pending) -> Pending:
        inner, _ = convolved(x, self.first, self.norm, pool=True)
        out, activation = self.second.after(inner, emits=True)
        return Pending(activation + activated(out), rectify=False)


class _Fast(nnx.Module):
    def __init__(
        self, widths: list[int], classes: int, kind: str, drop: float, rngs: nnx.Rngs
    ) -> None:
        self.stem = ConvNorm(widths[0], widths[1], kind, rngs=rngs)
        pairs = zip(widths[1:], widths[2:], strict=False)
        self.stages = nnx.List([_Stage(a, b, kind, rngs) for a, b in pairs])
        self.head = nnx.Linear(widths[-1], classes, rngs=rngs)
        self.dropout = layers.dropout(drop, rngs)

    def __call__(self, x: Array) -> Array:
        pending, _ = self.stem.after(Pending(x, rectify=False))
        for stage in self.stages:
            pending = stage(pending)
        return self.head(after_dropout(self.dropout, activated(pending).max((1, 2)))) * 0.125


@factory
def fast(*widths: int, norm: str = "batch", dropout: float = 0.0) -> Callable[[Data], Model]:
    """A stem, and per further width a residual stage that halves the image: 64, 128, 256, 256."""
    widths = widths or (64, 128, 256, 256)
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"fast: widths={widths} must be two or more numbers from 1 up")
    check_norm(norm)
    check_dropout(dropout)

    def model(data: Data) -> Model:
        height, width, channels = image_shape(data, "fast")
        if min(height, width) < 2 ** (len(widths) - 1):
            raise ValueError(f"fast: images of {height} x {width} are too small for {widths}")
        return nnx_module(lambda d, r: _Fast([channels, *widths], d.classes, norm, dropout, r))(
            data
        )

    return model
