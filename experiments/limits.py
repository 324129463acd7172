"""What a training step takes at least: its operations and bytes, and what this machine reaches."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmia.models import conv
from jaxmia.training import parallel
from jaxmia.training.trainer import in_dtype
from jaxmia.types import Data, Recipe


class Step(NamedTuple):
    """Operations and bytes of one step of one model."""

    operations: float
    bytes: float


class Limits(NamedTuple):
    """Operations a second of a matrix product, bytes a second of a copy, on all devices."""

    gemm: float
    copy: float


def figures(
    recipe: Recipe, members: int, step: Step, seconds: float, limits: Limits
) -> dict[str, float]:
    """Models an hour at so many seconds a step, and the share of the machine's limits in it."""
    steps = members // recipe.batch_size * recipe.epochs
    rate = step.operations / seconds
    arithmetic, memory = rate / limits.gemm, step.bytes / seconds / limits.copy
    return {
        "models_per_hour": 3600 / (seconds * steps),
        "step_ms": 1e3 * seconds,
        "flops_per_s": rate,
        "roofline_share": max(arithmetic, memory),
        "arithmetic_share": arithmetic,
        "memory_share": memory,
    }


def step_of(recipe: Recipe, data: Data) -> Step:
    """Operations and bytes of one step of one model: three forward passes, as XLA counts them."""
    model = recipe.model(data)
    key = jax.random.key(0, impl="threefry2x32")
    params, state = jax.eval_shape(model.init, key)
    shape = (recipe.batch_size, *data.x.shape[1:])
    x = jax.ShapeDtypeStruct(shape, recipe.dtype)
    y = jax.ShapeDtypeStruct(shape[:1], jnp.int32)
    apply = in_dtype(model.apply, recipe.dtype)

    def counted(function: Callable, *arguments: Any) -> dict[str, float]:
        with conv.using("canonical"):  # XLA sees no operations of a foreign call
            costs = jax.jit(function).lower(*arguments).compile().cost_analysis()
        assert isinstance(costs, dict)
        return costs

    forward = counted(lambda p, s, x: apply(p, s, x, key, True)[0], params, state, x)
    step = counted(
        lambda p, s, x, y: recipe.gradient(recipe.loss, apply, p, s, x, y, key)[0],
        params, state, x, y,
    )  # fmt: skip
    return Step(3 * forward["flops"], step["bytes accessed"])


def gemm(dtype: str) -> Callable[[], float]:
    """Operations a second of a matrix product on every device."""
    mesh = parallel.mesh()
    n = 1024 if mesh.devices.flat[0].platform == "cpu" else 8192
    product = parallel.over_models(lambda _, a: a @ a, mesh)
    a = parallel.spread(jnp.ones((mesh.devices.size, n, n), dtype), mesh)
    return _rate(lambda: product(None, a), 2 * n**3 * mesh.devices.size)


def copy() -> Callable[[], float]:
    """Bytes a second, read and written, of an addition on every device."""
    mesh = parallel.mesh()
    n = (32 if mesh.devices.flat[0].platform == "cpu" else 1024) << 18
    added = parallel.over_models(lambda _, a: a + 1, mesh)
    a = parallel.spread(jnp.ones((mesh.devices.size, n), jnp.float32), mesh)
    return _rate(lambda: added(None, a), 8 * n * mesh.devices.size)


def _rate(run: Callable[[], Any], amount: float) -> Callable[[], float]:
    jax.block_until_ready(run())

    def rate() -> float:
        start = time.perf_counter()
        for _ in range(5):
            out = run()
        jax.block_until_ready(out)
        return 5 * amount / (time.perf_counter() - start)

    return rate
