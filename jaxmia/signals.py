"""What an attacker reads off a model's logits: one number for each example and query.

All are JAX functions of logits `[..., C]` and labels `[...]`, in O(C) time and memory for each row;
a single column is a binary model's logit z, and stands for the two logits (0, z). Carlini et al.
2022, section VI-A (phi); Song & Mittal 2021 (modified entropy).

Infinite logits are answers: `log([0, 1])` are those of a forest that is sure, and a single +inf is
a probability of 1. NaN comes out only where nothing is defined: for a row with a NaN, with several
+inf among those compared, or with nothing but -inf.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.types import Array


def phi(logits: Float[Array, "*N C"], labels: Int[Array, "*N"]) -> Float[jax.Array, "*N"]:
    """The logit of the probability of the true class, `z_y - logsumexp_{c != y} z_c`.

    Exact where `log p - log(1 - p)` saturates; +inf for a probability of exactly 1, -inf for 0.
    Raises `ValueError` for labels out of range, as all here do.
    """
    z, true = _apart(logits, labels)
    return _of_true(z, true) - jax.nn.logsumexp(jnp.where(true, -jnp.inf, z), axis=-1)


def log_odds(
    probabilities: Float[Array, "*N C"], labels: Int[Array, "*N"]
) -> Float[np.ndarray, "*N"]:
    """phi of probabilities: `log p_y - log sum_{c != y} p_c`, on the host in float64.

    The others are summed, not taken from 1: what is left of them beside a p_y that rounds to 1 is
    not lost. +inf where they have nothing, -inf where p_y is 0. A single column is the probability
    of class 1. Raises `ValueError` for what is no probability, and for labels out of range.
    """
    p = _probabilities(probabilities)
    y = np.asarray(_checked(p, labels))
    true = np.arange(p.shape[-1]) == y[..., None]
    with np.errstate(divide="ignore"):
        return np.log(np.where(true, p, 0).sum(-1)) - np.log(np.where(true, 0, p).sum(-1))


def logits_of(probabilities: Float[Array, "*N C"]) -> Float[np.ndarray, "*N D"]:
    """Logits with these probabilities: their logarithms, -inf for 0; of both for a single column.

    Raises `ValueError` for what is no probability.
    """
    with np.errstate(divide="ignore"):
        return np.log(_probabilities(probabilities))


OFF = 1e-2  # how far from 1 the sum of a row may be: float16 and rounded answers are


def _probabilities(values: Array) -> Float[np.ndarray, "*N D"]:
    """In float64, two columns for one; NaN is not known, and stays."""
    p = np.asarray(values, np.float64)
    if not p.shape[-1]:
        raise ValueError(f"probabilities: have shape {p.shape}, at least one class is needed")
    outside = (p < 0) | (p > 1)
    if outside.any():
        at = np.unravel_index(int(outside.argmax()), p.shape)
        place = list(map(int, at))
        raise ValueError(f"probabilities: {p[at]:.6g} at {place} is not between 0 and 1")
    if p.shape[-1] == 1:
        return np.concatenate([1 - p, p], axis=-1)
    total = p.sum(-1)
    off = np.abs(total - 1) > OFF
    if off.any():
        at = np.unravel_index(int(off.argmax()), off.shape)
        place = list(map(int, at))
        raise ValueError(f"probabilities: the classes at {place} sum to {total[at]:.6g}, not to 1")
    return p


def margin(logits: Float[Array, "*N C"], labels: Int[Array, "*N"]) -> Float[jax.Array, "*N"]:
    """`z_y - max_{c != y} z_c`: above 0 exactly where the prediction is right."""
    z, true = _apart(logits, labels)
    return _of_true(z, true) - jnp.where(true, -jnp.inf, z).max(-1)


def entropy(logits: Float[Array, "*N C"], labels: Int[Array, "*N"]) -> Float[jax.Array, "*N"]:
    """`-sum_c p_c log p_c`, in nats, from 0 to log C; its negative is the score."""
    z, _ = _apart(logits, labels)
    return _entropy(z)


def modified_entropy(
    logits: Float[Array, "*N C"], labels: Int[Array, "*N"]
) -> Float[jax.Array, "*N"]:
    """`-(1 - p_y) log p_y - sum_{c != y} p_c log(1 - p_c)`; its negative is the score.

    From 0, for a probability of 1 for the true class, to +inf, for one of 0.
    """
    z, true = _apart(logits, labels)
    return _modified_entropy(z, true)


# compiled also where they are called by themselves: nothing of [..., C] is left lying in between
@jax.jit
def _entropy(z: Float[Array, "*N C"]) -> Float[jax.Array, "*N"]:
    log_p, _ = _log_probabilities(z)
    return -_times(jnp.exp(log_p), log_p).sum(-1)


@jax.jit
def _modified_entropy(z: Float[Array, "*N C"], true: Bool[Array, "*N C"]) -> Float[jax.Array, "*N"]:
    log_p, log_rest = _log_probabilities(z)
    weight = jnp.exp(jnp.where(true, log_rest, log_p))
    return -_times(weight, jnp.where(true, log_p, log_rest)).sum(-1)


# what a run takes of every model's logits, and `jaxmia score --logits` computes
OF_LOGITS = {
    "phi": phi,
    "margin": margin,
    "entropy": entropy,
    "modified_entropy": modified_entropy,
}


def _apart(
    logits: Float[Array, "*N C"], labels: Int[Array, "*N"]
) -> tuple[Float[jax.Array, "*N D"], Bool[jax.Array, "*N D"]]:
    """The logits, in float32 at least, and which of them is the true class's."""
    z, labels = jnp.asarray(logits), _checked(logits, labels)
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    if z.shape[-1] == 1:
        z = jnp.concatenate([jnp.zeros_like(z), z], axis=-1)
    return z, _one_hot(labels, z.shape[-1])


def _one_hot(index: Int[Array, "*N"], classes: int) -> Bool[jax.Array, "*N {classes}"]:
    return index[..., None] == jnp.arange(classes).reshape((1,) * index.ndim + (-1,))


def _of_true(z: Float[Array, "*N C"], true: Bool[Array, "*N C"]) -> Float[jax.Array, "*N"]:
    return jnp.where(true, z, 0).sum(-1)


def _checked(logits: Array, labels: Array) -> jax.Array:
    if not logits.shape[-1]:
        raise ValueError(f"logits: have shape {logits.shape}, at least one class is needed")
    classes = max(2, logits.shape[-1])
    try:
        values = np.asarray(labels)
    except jax.errors.TracerArrayConversionError:
        return jnp.asarray(labels)  # being compiled: their values are not there yet
    if values.size and not (0 <= values.min() and values.max() < classes):
        wrong = values.min() if values.min() < 0 else values.max()
        raise ValueError(f"labels: {wrong} is out of range, allowed are 0 to {classes - 1}")
    return jnp.asarray(values)


def _times(p: Float[Array, "*N C"], log_q: Float[Array, "*N C"]) -> Float[jax.Array, "*N C"]:
    """`p log q`, 0 where p is, even for a q of 0."""
    return jnp.where(p == 0, 0, p * log_q)


def _log_probabilities(
    z: Float[Array, "*N C"],
) -> tuple[Float[jax.Array, "*N C"], Float[jax.Array, "*N C"]]:
    """`log p_c` and `log(1 - p_c)` of every class, exact to rounding however sure the model is.

    With `r` the logsumexp of all but the most likely class m, less z_m: `log p_m = -softplus(r)`
    and `log(1 - p_m) = -softplus(-r)`. No other class has more than 1/2, so that 1 - p_c may be
    taken as it stands, by log1p.
    """
    top = _one_hot(jnp.argmax(z, axis=-1), z.shape[-1])
    below = jnp.where(top, 0, z - z.max(-1, keepdims=True))
    r = jax.nn.logsumexp(jnp.where(top, -jnp.inf, below), axis=-1, keepdims=True)
    log_p = below - jax.nn.softplus(r)
    log_rest = jnp.where(top, -jax.nn.softplus(-r), jnp.log1p(-jnp.exp(log_p)))
    return log_p, log_rest
