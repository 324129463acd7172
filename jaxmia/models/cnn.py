"""A small convolutional network: convolution, ReLU, pooling, as often as asked."""

from collections.abc import Callable

from flax import nnx

from jaxmia.models import layers
from jaxmia.models.adaptor import nnx_module
from jaxmia.models.fused import Pending, activated
from jaxmia.models.layers import (
    Conv,
    ConvNorm,
    after_dropout,
    check_dropout,
    check_norm,
    convolved,
    image_shape,
    max_pool,
)
from jaxmia.types import Array, Data, Model
from jaxmia.values import factory


class _Cnn(nnx.Module):
    def __init__(
        self, channels: list[int], classes: int, kind: str | None, drop: float, rngs: nnx.Rngs
    ) -> None:
        pairs = list(zip(channels, channels[1:], strict=False))
        self.convs = nnx.List(
            [ConvNorm(a, b, kind, rngs=rngs) if kind else Conv(a, b, rngs=rngs) for a, b in pairs]
        )
        self.head = nnx.Linear(channels[-1], classes, rngs=rngs)
        self.dropout = layers.dropout(drop, rngs)

    def __call__(self, x: Array) -> Array:
        pending = Pending(x, rectify=False)
        for convolution in self.convs:
            pools = min(pending.y.shape[1:3]) >= 2
            # the rectifier comes last: the same before a maximum, of four times as many
            if isinstance(convolution, Conv):
                pending, _ = convolved(pending, convolution, pool=pools)
            else:
                x = convolution(activated(pending))
                pending = Pending(max_pool(x) if pools else x)
        return self.head(after_dropout(self.dropout, activated(pending).mean((1, 2))))


@factory
def cnn(*channels: int, norm: str | None = None, dropout: float = 0.0) -> Callable[[Data], Model]:
    """3 x 3 convolutions of these widths, each with 2 x 2 pooling; then a mean and a head."""
    if not channels or min(channels) < 1:
        raise ValueError(f"cnn: channels={channels} must be one or more numbers from 1 up")
    if norm is not None:
        check_norm(norm)
    check_dropout(dropout)

    def model(data: Data) -> Model:
        widths = [image_shape(data, "cnn")[2], *channels]
        return nnx_module(lambda d, rngs: _Cnn(widths, d.classes, norm, dropout, rngs))(data)

    return model
