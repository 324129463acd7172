"""Answers of models of any framework, logits or probabilities, as signals."""

import numpy as np
from jaxtyping import Float, Int

from jaxmia.signals import OF_LOGITS, log_odds, logits_of
from jaxmia.types import Array, Signals


def of_logits(name: str, z: Float[Array, "*M N C"], y: Int[Array, " N"]) -> Signals:
    """Raises `ValueError`, naming the option, for labels that do not fit and for probabilities."""
    _as_many(name, z, y)
    if z.shape[-1] > 1 and z.min() >= 0 and z.max() <= 1 and np.allclose(z.sum(-1), 1, atol=1e-3):
        raise ValueError(
            f"{name}: all rows are from 0 to 1 and sum to 1: these are probabilities; give them by "
            "--probabilities (--target-probabilities), or give their logarithms"
        )
    return Signals(logits=z, **_signals(z, y))


def of_probabilities(name: str, p: Float[Array, "*M N C"], y: Int[Array, " N"]) -> Signals:
    """phi in float64 from the probabilities themselves; the rest as of their logarithms.

    Raises `ValueError`, naming the option, for labels that do not fit and for what is no
    probability.
    """
    _as_many(name, p, y)
    try:
        z = logits_of(p)
        phi = log_odds(p, np.broadcast_to(y, p.shape[:-1]))[..., None]
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return Signals(logits=z, **(_signals(z, y) | {"phi": phi}))


def _as_many(name: str, answers: Array, y: Array) -> None:
    if len(y) != answers.shape[-2]:
        raise ValueError(f"--labels: has {len(y)} examples, {name} has {answers.shape[-2]}")


def _signals(z: Array, y: Array) -> dict[str, np.ndarray]:
    """All that is read off logits, a model at a time, in float32; and the labels."""
    y = np.asarray(y, np.int32)
    rows = np.asarray(z).reshape(-1, *z.shape[-2:])
    of_rows = [{k: of(row.astype(np.float32), y) for k, of in OF_LOGITS.items()} for row in rows]
    of_all = {
        k: np.stack([np.asarray(of[k]) for of in of_rows]).reshape(*z.shape[:-1], 1)
        for k in OF_LOGITS
    }
    return {"y": y, **of_all}
