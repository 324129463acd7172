"""The attack by imitative models (IMIA, USENIX Security 2026): nearer to IN or to OUT?

    mean_q [ (mu_out - phi_q)^2 - (mu_in - phi_q)^2 ],    0 where mu_in < mu_out

`mu_out` is the mean of models that imitate the target and were not trained on the example, `mu_in`
that of ordinary shadow models which were. There is no variance in it. `imitation` trains such
models. Scores are float64, higher means member.
"""

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.attacks.infinite import finite
from jaxmia.types import Array

MOST = 10  # models behind each mean, as its authors have them


def imitative(
    target: Float[Array, "N *Q"],
    imitators: Float[Array, "K N *Q"],
    imitators_member: Bool[Array, "K N"],
    reference: Float[Array, "R N *Q"],
    member: Bool[Array, "R N"],
    most: int = MOST,
) -> Float[np.ndarray, " N"]:
    """The score of every example; of each mean at most the first `most` models.

    NaN where no imitator was trained without the example, or no reference with it. Instead of
    imitators ordinary shadow models may be given: what these find was not imitation's doing. Raises
    `ValueError` for shapes that do not fit.
    """
    target, imitators, reference = finite(target, imitators, reference)
    inside, outside = np.asarray(member, bool), ~np.asarray(imitators_member, bool)
    if inside.shape != reference.shape[:2] or outside.shape != imitators.shape[:2]:
        raise ValueError(
            f"imitative: member {inside.shape} and {outside.shape} do not go with references "
            f"{reference.shape} and imitators {imitators.shape}"
        )
    if target.shape != reference.shape[1:] or target.shape != imitators.shape[1:]:
        raise ValueError(
            f"imitative: target {target.shape} does not go with references {reference.shape} "
            f"and imitators {imitators.shape}"
        )
    phi = target.reshape(len(target), -1).astype(np.float64)
    mu_in = _first(reference.reshape(*inside.shape, -1), inside, most)
    mu_out = _first(imitators.reshape(*outside.shape, -1), outside, most)
    score = ((mu_out - phi) ** 2 - (mu_in - phi) ** 2).mean(-1)
    return np.where(mu_in.mean(-1) < mu_out.mean(-1), 0.0, score)


def _first(
    phi: Float[np.ndarray, "M N Q"], which: Bool[np.ndarray, "M N"], most: int
) -> Float[np.ndarray, "N Q"]:
    """The mean over each example's first models of `which`; NaN where it has none."""
    which = which & ~np.isnan(phi).any(-1)
    which = which & (which.cumsum(0) <= most)
    total = np.where(which[..., None], phi, 0.0).sum(0, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return total / which.sum(0)[:, None]
