"""A small vision transformer (Dosovitskiy et al. 2021) with a mean over patches as its head."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmia.models.adaptor import nnx_module
from jaxmia.models.layers import image_shape
from jaxmia.types import Array, Data, Model
from jaxmia.values import factory


class _Block(nnx.Module):
    def __init__(self, width: int, heads: int, dropout: float, rngs: nnx.Rngs) -> None:
        self.norm1, self.norm2 = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.heads = heads

    def __call__(self, x: Array) -> Array:
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, t, 3, self.heads, -1).transpose(2, 0, 1, 3, 4)
        context = jax.nn.dot_product_attention(q, k, v).reshape(b, t, d)
        x = x + self.dropout(self.out(context))
        return x + self.dropout(self.down(jax.nn.gelu(self.up(self.norm2(x)))))


class _Vit(nnx.Module):
    def __init__(
        self, shape, patch: int, width: int, depth: int, heads: int, classes, dropout, rngs
    ) -> None:
        h, w, c = shape
        self.patch = patch
        self.embed = nnx.Linear(patch * patch * c, width, rngs=rngs)
        position = 0.02 * jax.random.normal(rngs.params(), (1, h // patch * (w // patch), width))
        self.position = nnx.Param(position)
        self.blocks = nnx.List([_Block(width, heads, dropout, rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        b, h, w, c = x.shape
        p = self.patch
        x = x.reshape(b, h // p, p, w // p, p, c).transpose(0, 1, 3, 2, 4, 5)
        x = self.embed(x.reshape(b, h // p * (w // p), p * p * c))
        x = x + jnp.broadcast_to(self.position[...].astype(x.dtype), x.shape)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


@factory
def vit(
    patch: int = 4, width: int = 128, depth: int = 6, heads: int = 4, dropout: float = 0.0
) -> Callable[[Data], Model]:
    """`depth` blocks of `width` over patches of `patch` pixels, which must divide the images."""
    if min(patch, width, depth, heads) < 1 or width % heads or not 0 <= dropout < 1:
        raise ValueError(
            f"vit: patch={patch}, depth={depth} must be 1 or more, width={width} a multiple of "
            f"heads={heads}, dropout={dropout} in [0, 1)"
        )

    def model(data: Data) -> Model:
        shape = image_shape(data, "vit")
        if shape[0] % patch or shape[1] % patch:
            raise ValueError(f"vit: patch={patch} does not divide images of {shape[:2]}")
        settings = (shape, patch, width, depth, heads, data.classes, dropout)
        return nnx_module(lambda _, rngs: _Vit(*settings, rngs))(data)

    return model
