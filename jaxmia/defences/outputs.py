"""Defences of what is told: functions `logits -> logits` that a query's answers go through.

The network stays as it is. All but `label_only` keep the order of the classes, and all keep the
first; probabilities that are told as zero count as `LEAST`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxmia.defences.hamp import bucket
from jaxmia.types import Array
from jaxmia.values import factory

LEAST = 1e-12
Outputs = Callable[[Float[Array, "*b C"]], Float[Array, "*b C"]]


@factory
def composed(*steps: Outputs) -> Outputs:
    """One after the other."""

    def answer(z: Array) -> Array:
        for step in steps:
            z = step(z)
        return z

    return answer


@factory
def temperature(t: float) -> Outputs:
    """`softmax(z / t)`: flatter answers for t above 1 (Shokri et al. 2017, section VIII)."""
    if not t > 0:
        raise ValueError(f"temperature: t={t} must be above 0")
    return lambda z: z / t


@factory
def top_k(k: int) -> Outputs:
    """The k largest probabilities; all others as equal shares of the rest (Shokri et al. 2017)."""
    if k < 1:
        raise ValueError(f"top_k: k={k} must be 1 or more")

    def answer(z: Array) -> Array:
        classes = z.shape[-1]
        if k >= classes:
            return z
        rank = jnp.argsort(jnp.argsort(-z, -1), -1)
        rest = jax.nn.logsumexp(jnp.where(rank < k, -jnp.inf, z), -1, keepdims=True)
        return jnp.where(rank < k, z, rest - math.log(classes - k))

    return answer


@factory
def rounded(digits: int) -> Outputs:
    """Probabilities with so many decimals (Shokri et al. 2017)."""
    if not 0 <= digits <= 6:
        raise ValueError(f"rounded: digits={digits} must be from 0 to 6")

    def answer(z: Array) -> Array:
        p = jnp.round(jax.nn.softmax(z) * 10.0**digits) / 10.0**digits
        # the first class stays the first, also among equals
        first = z.argmax(-1, keepdims=True) == jnp.arange(z.shape[-1]).reshape(
            *[1] * (z.ndim - 1), -1
        )
        return jnp.log(jnp.maximum(p, LEAST)) + jnp.where(first, 1e-6, 0)

    return answer


@factory
def label_only() -> Outputs:
    """Nothing but the class (Choquette-Choo et al. 2021): probability 1, and `LEAST` for others."""

    def answer(z: Array) -> Array:
        first = jax.nn.one_hot(z.argmax(-1), z.shape[-1])
        return jnp.log(jnp.maximum(first, LEAST))

    return answer


@factory
def mem_guard(budget: float, boundary: float = 0.95) -> Outputs:
    """Noise against an attack network, in the manner of MemGuard (Jia et al. 2019).

    The network that the defender has in mind calls members whose largest probability is above
    `boundary`. The smallest change that puts it just there, and keeps the class, is made with the
    probability at which its expected L1 norm is at most `budget`. The coin is the answer's own, so
    that asking again tells nothing more.
    """
    if not 0 <= budget <= 2 or not 0.5 < boundary < 1:
        raise ValueError(
            f"mem_guard: budget={budget} must be from 0 to 2, boundary={boundary} between 0.5 and 1"
        )

    def answer(z: Array) -> Array:
        first = jax.nn.one_hot(z.argmax(-1), z.shape[-1], dtype=bool)
        others = jax.nn.logsumexp(jnp.where(first, -jnp.inf, z), -1, keepdims=True)
        noisy = jnp.where(first, math.log(boundary), z - others + math.log1p(-boundary))
        apart = 2 * jnp.abs(jax.nn.softmax(z).max(-1) - boundary)
        chance = jnp.minimum(1, budget / jnp.maximum(apart, LEAST))
        coin = bucket(z, 1 << 20) / (1 << 20)
        return jnp.where((coin < chance)[..., None], noisy, z)

    return answer
