"""Which members are in which batch: shuffled epochs, or Poisson sampling as DP-SGD wants it."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Int

from jaxmia.types import Array, Key, Recipe

BATCHES = ("shuffled", "poisson")


def schedule(recipe: Recipe, members: int) -> tuple[int, int]:
    """The (expected) size of a batch, and the steps of one epoch."""
    batch_size = min(recipe.batch_size, members)
    return batch_size, members // batch_size


def slots(batch_size: int, members: int, examples: int) -> int:
    """How many slots a Poisson batch gets: eight standard deviations more than it needs.

    A full batch, of as many as the `members` that are expected, has one for everybody: a model with
    more members than that leaves none out.
    """
    if batch_size >= members:
        return examples
    return min(examples, batch_size + 8 * (math.isqrt(batch_size) + 1))


def poisson_batches(
    key: Key, member: Bool[Array, " N"], rate: float, steps: int, size: int
) -> tuple[Int[Array, "S B"], Bool[Array, "S B"]]:
    """Batches in which each member is with probability `rate`, independently; and who is present.

    A place that stays empty holds anybody. Of more than `size` a random part is kept, as the
    accountant assumes (`truncated_batch_size`). The rate is rounded down to 24 bits.
    """
    level = jnp.float32(math.floor(rate * 2**24))

    def batch(i: Array) -> tuple[Array, Array]:
        draw = jax.random.bits(jax.random.fold_in(key, i), member.shape, jnp.uint32) >> 8
        last = jnp.float32(2**24)
        least, index = lax.top_k(-jnp.where(member, draw.astype(jnp.float32), last), size)
        return index, -least < level

    return lax.map(batch, jnp.arange(steps))


def epoch_order(key: Key, member: Bool[Array, " N"], length: int) -> Int[Array, " length"]:
    """The members in random order, by sorting one draw per example of the pool, as often as needed.

    What is drawn depends on the pool alone, so no padding or neighbour changes it.
    """
    (examples,) = member.shape
    draw = jax.random.bits(key, (examples,), jnp.uint32)
    low = (examples - 1).bit_length()
    if low <= 16:
        # one word sorts six times faster on a CPU than a key with its index: the upper 15 bits or
        # more are the draw, and the few that tie keep their order
        word = (draw >> (low + 1) << low) | jnp.arange(examples, dtype=jnp.uint32)
        word = jnp.sort(jnp.where(member, word, word | jnp.uint32(2**31)))
        order = (word & jnp.uint32(2**low - 1)).astype(jnp.int32)
    else:
        order = jnp.argsort(jnp.where(member, draw >> 1, jnp.uint32(2**31)))
    return order[jnp.arange(length) % jnp.maximum(member.sum(), 1)]
