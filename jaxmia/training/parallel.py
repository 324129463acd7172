"""Many models at once: the only file that knows devices.

A block of models is laid over the local devices (`shard_map`), each device takes its models `width`
at a time (`lax.map` of `vmap`). Models never communicate: the compiled program has no collective.
The clients of a federation do (`with_sums`), once a round.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmia.models import conv


def mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """The devices of this process as one `models` axis."""
    devices = jax.local_devices() if devices is None else devices
    return Mesh(np.array(devices), ("models",), axis_types=(AxisType.Auto,))


def over_models(
    function: Callable,
    mesh: Mesh,
    width: int = 1,
    donate: Sequence[int] = (),
    convolution: str = "",
) -> Callable:
    """`function(shared, *row) -> out` for one model, as a compiled `(shared, *rows) -> outs`.

    The leading axis of every row is the models'; it must divide by devices times `width`. The rows
    numbered in `donate` (0 is the first after `shared`) give their memory to the result.
    `convolution` is how networks convolve (`models.conv`), the platform's default if empty.
    """

    def block(shared: Any, *rows: Any) -> Any:
        one = functools.partial(_applied, function, shared, convolution)
        # batch_size=1 would vmap over one model, and a CPU would lose its fast convolution
        return lax.map(one, rows, batch_size=width if width > 1 else None)

    @functools.partial(jax.jit, donate_argnums=tuple(d + 1 for d in donate))
    def mapped(shared: Any, *rows: Any) -> Any:
        specs = (P(), *(P("models") for _ in rows))
        return jax.shard_map(
            block, mesh=mesh, in_specs=specs, out_specs=P("models"), check_vma=False
        )(shared, *rows)

    return mapped


def with_sums(function: Callable, mesh: Mesh) -> Callable:
    """`function(total, shared, *rows) -> whole, rows` as a compiled `(shared, *rows) -> ...`.

    For rows that work together, a federation's clients: each device has its part of them, and
    `total(tree)` adds trees up over the devices. `whole` must be the same on every device.
    """

    def block(shared: Any, *rows: Any) -> Any:
        return function(lambda tree: lax.psum(tree, "models"), shared, *rows)

    @jax.jit
    def mapped(shared: Any, *rows: Any) -> Any:
        specs = (P(), *(P("models") for _ in rows))
        return jax.shard_map(
            block, mesh=mesh, in_specs=specs, out_specs=(P(), P("models")), check_vma=False
        )(shared, *rows)

    return mapped


def _applied(function: Callable, shared: Any, convolution: str, row: tuple) -> Any:
    with conv.using(convolution) if convolution else contextlib.nullcontext():
        return function(shared, *row)


def shared(tree: Any, mesh: Mesh) -> Any:
    """Arrays put on every device, whole."""
    return jax.device_put(tree, NamedSharding(mesh, P()))


def spread(tree: Any, mesh: Mesh) -> Any:
    """Arrays laid over the devices along their leading axis, the models'."""
    return jax.device_put(tree, NamedSharding(mesh, P("models")))
