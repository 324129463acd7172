"""What an attacker reads off a model's logits: one number for each example and query.

All are JAX functions of logits `[..., C]` and labels `[...]`; a single column is a binary model's
logit z, and stands for the two logits (0, z). Carlini et al. 2022, section VI-A (phi); Song &
Mittal 2021 (modified entropy).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxmia.types import Array


def phi(logits: Float[Array, "*N C"], labels: Int[Array, "*N"]) -> Float[jax.Array, "*N"]:
    """The logit of the probability of the true class, `z_y - logsumexp_{c != y} z_c`.

    Exact where `log p - log(1 - p)` saturates. Raises `ValueError` for labels out of range.
    """
    z, y, others = _apart(logits, labels)
    return y - jax.nn.logsumexp(jnp.where(others, z, -jnp.inf), axis=-1)


def margin(logits: Float[Array, "*N C"], labels: Int[Array, "*N"]) -> Float[jax.Array, "*N"]:
    """`z_y - max_{c != y} z_c`: above 0 exactly where the prediction is right."""
    z, y, others = _apart(logits, labels)
    return y - jnp.where(others, z, -jnp.inf).max(-1)


def entropy(logits: Float[Array, "*N C"], labels: Int[Array, "*N"]) -> Float[jax.Array, "*N"]:
    """`-sum_c p_c log p_c`, in nats; its negative is the score."""
    z, _, _ = _apart(logits, labels)
    log_p = jax.nn.log_softmax(z)
    return -_times_log(jnp.exp(log_p), log_p).sum(-1)


def modified_entropy(
    logits: Float[Array, "*N C"], labels: Int[Array, "*N"]
) -> Float[jax.Array, "*N"]:
    """`-(1 - p_y) log p_y - sum_{c != y} p_c log(1 - p_c)`; its negative is the score."""
    z, _, others = _apart(logits, labels)
    log_p = jax.nn.log_softmax(z)
    log_rest = _log_rest(z)
    terms = jnp.where(
        others, _times_log(jnp.exp(log_p), log_rest), _times_log(jnp.exp(log_rest), log_p)
    )
    return -terms.sum(-1)


def _apart(
    logits: Float[Array, "*N C"], labels: Int[Array, "*N"]
) -> tuple[Float[jax.Array, "*N D"], Float[jax.Array, "*N"], Array]:
    """The logits, the true class's, and which are the others'."""
    z, labels = jnp.asarray(logits), _checked(logits, labels)
    if z.shape[-1] == 1:
        z = jnp.concatenate([jnp.zeros_like(z), z], axis=-1)
    true = labels[..., None] == jnp.arange(z.shape[-1]).reshape((1,) * labels.ndim + (-1,))
    return z, jnp.where(true, z, 0).sum(-1), ~true


def _checked(logits: Array, labels: Array) -> jax.Array:
    classes = max(2, logits.shape[-1])
    try:
        seen = np.asarray(labels)
    except jax.errors.TracerArrayConversionError:
        return jnp.asarray(labels)  # being compiled: their values are not there yet
    if seen.size and not (0 <= seen.min() and seen.max() < classes):
        wrong = seen.min() if seen.min() < 0 else seen.max()
        raise ValueError(f"labels: {wrong} is out of range, allowed are 0 to {classes - 1}")
    return jnp.asarray(seen)


def _times_log(p: Array, log_q: Array) -> jax.Array:
    """`p log q`, 0 where p is."""
    return jnp.where(p > 0, p * jnp.where(p > 0, log_q, 0), 0)


def _log_rest(z: Float[Array, "*N C"]) -> Float[jax.Array, "*N C"]:
    """`log(1 - p_c)` of every class, by a logsumexp over all the others."""
    classes = z.shape[-1]
    others = ~jnp.eye(classes, dtype=bool).reshape((1,) * (z.ndim - 1) + (classes, classes))
    rest = jnp.where(others, z[..., None, :], -jnp.inf)
    return jax.nn.logsumexp(rest, axis=-1) - jax.nn.logsumexp(z, axis=-1, keepdims=True)
