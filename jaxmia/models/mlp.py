"""Dense layers and ReLU: for digits, tables, and everything small."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmia.models.adaptor import nnx_module
from jaxmia.types import Array, Data, Model
from jaxmia.values import factory


class _Mlp(nnx.Module):
    def __init__(self, sizes: list[int], dropout: float, rngs: nnx.Rngs) -> None:
        he = jax.nn.initializers.he_normal()
        self.layers = nnx.List(
            [
                nnx.Linear(a, b, kernel_init=he, rngs=rngs)
                for a, b in zip(sizes, sizes[1:], strict=False)
            ]
        )
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = jnp.reshape(x, (len(x), -1))
        for layer in self.layers[:-1]:
            x = self.dropout(jax.nn.relu(layer(x)))
        return self.layers[-1](x)


@factory
def mlp(*hidden: int, dropout: float = 0.0) -> Callable[[Data], Model]:
    """A perceptron with these hidden sizes; images are flattened."""
    if any(not isinstance(h, int) or h < 1 for h in hidden) or not 0 <= dropout < 1:
        raise ValueError(f"mlp: hidden={hidden} must be 1 or more, dropout={dropout} in [0, 1)")

    def model(data: Data) -> Model:
        sizes = [int(np.prod(data.x.shape[1:])), *hidden, data.classes]
        return nnx_module(lambda _, rngs: _Mlp(sizes, dropout, rngs))(data)

    return model
