"""Attack networks on the outputs of the shadow models (Shokri et al. 2017, section V).

Each class has its own network: a small perceptron that tells IN from OUT by the model's log
probabilities, the true class's first and the others' in descending order. With `top`, one network
for all classes sees the largest ones alone, without the label (Salem et al. 2019, attack 1).
"""

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxmia.attacks import networks
from jaxmia.attacks.attacker import ALL, BLACK, BOTH
from jaxmia.types import Array, Attack, Attacker, Signals

LEAST = -30.0  # log probabilities below are all the same


def features(
    logits: Float[Array, "M N C"], y: Int[Array, " N"], top: int | None = None
) -> Float[np.ndarray, "M N F"]:
    """Log probabilities in order; the true class's first unless only the `top` are seen."""
    z = np.asarray(logits, np.float32)
    z = np.concatenate([np.zeros_like(z), z], -1) if z.shape[-1] == 1 else z
    log_p = np.array(jax.nn.log_softmax(_certain(z)))
    if top is not None:
        return np.maximum(-np.sort(-log_p, axis=-1)[..., :top], LEAST)
    at = np.broadcast_to(np.asarray(y)[:, None], (*z.shape[:2], 1))
    true = np.take_along_axis(log_p, at, axis=-1)
    np.put_along_axis(log_p, at, np.float32(-np.inf), axis=-1)
    others = -np.sort(-log_p, axis=-1)[..., :-1]
    return np.maximum(np.concatenate([true, others], axis=-1), LEAST)


def _certain(z: Float[np.ndarray, "M N C"]) -> Float[np.ndarray, "M N C"]:
    """The logits, where a single +inf, a probability of 1, is 0 and the others are -inf.

    Rows with several are NaN: nothing is defined.
    """
    sure = np.isposinf(z)
    if not sure.any():
        return z
    sure &= ~np.isnan(z).any(-1, keepdims=True)
    one = np.where(sure, np.float32(0), np.float32(-np.inf))
    z = np.where(sure.any(-1, keepdims=True), one, z)
    return np.where(sure.sum(-1, keepdims=True) > 1, np.float32(np.nan), z)


def _classes(y: Int[np.ndarray, " N"]) -> networks.Groups:
    """The examples of each class that has any, and how many; rows are filled up by repetition."""
    groups = [np.flatnonzero(y == label) for label in np.unique(y)]
    count = np.array([len(g) for g in groups])
    return np.stack([np.resize(g, count.max()) for g in groups]), count


def attack(top: int | None = None) -> Attack:
    """The attack as a rung of the ladder; it needs logits and labels."""

    def outputs(signals: Signals) -> Float[np.ndarray, "M N F"]:
        assert signals.logits is not None and signals.y is not None
        return features(signals.logits, np.asarray(signals.y), top)

    groups = together if top is not None else _classes
    paper = "Shokri et al. 2017" if top is None else "Salem et al. 2019"
    return networks.attack(outputs, groups, Attacker(BLACK, ALL, BOTH), ("logits", "y"), paper)


def together(y: Int[np.ndarray, " N"]) -> networks.Groups:
    """One network for all examples."""
    return np.arange(len(y))[None], np.array([len(y)])
