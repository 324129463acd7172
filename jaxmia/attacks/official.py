"""LiRA number for number as the code of Carlini et al. 2022 computes it, its slips included.

Kept apart, because none of it should be improved: it is there to compare figures with.
"""

import numpy as np
from jaxtyping import Bool, Float


def official(
    target: Float[np.ndarray, "N Q"],
    reference: Float[np.ndarray, "R N Q"],
    member: Bool[np.ndarray, "R N"],
    mode: str,
    variance: str,
    centre: str,
) -> Float[np.ndarray, " N"]:
    """The published scores, with the sign turned so that higher means member.

    Lists are cut to the smallest IN (OUT) count over examples, in the order of the models; s is of
    ddof 0 about the mean, plus 1e-30; a "global" one is the raw deviation of all IN phi, for both
    sides (offline of all OUT phi); offline is two-sided. The published centre is the median.
    """
    inside, outside = _cut(reference, member), _cut(reference, ~member)
    if not len(outside) or (mode == "online" and not len(inside)):
        return np.full(len(target), np.nan)
    middle = {"mean": np.mean, "median": np.median}[centre]
    phi = target.astype(np.float64)
    fixed = variance == "global"
    if mode == "offline":
        s_out = np.std(outside) if fixed else np.std(outside, 0)
        return _log_density(phi, middle(outside, 0), s_out + 1e-30).mean(1) * -1
    s_in = np.std(inside) if fixed else np.std(inside, 0)
    s_out = s_in if fixed else np.std(outside, 0)
    ratio = _log_density(phi, middle(inside, 0), s_in + 1e-30) - _log_density(
        phi, middle(outside, 0), s_out + 1e-30
    )
    return ratio.mean(1)


def _cut(phi: np.ndarray, side: np.ndarray) -> Float[np.ndarray, "K N Q"]:
    """Each example's references of a side, in the models' order, as many as the one with fewest."""
    least = int(side.sum(0).min())
    first = np.argsort(~side, axis=0, kind="stable")[:least]
    return np.take_along_axis(phi.astype(np.float64), first[..., None], axis=0)


def _log_density(x: np.ndarray, mean: np.ndarray, s: np.ndarray | np.floating) -> np.ndarray:
    return -0.5 * np.log(2 * np.pi) - np.log(s) - 0.5 * ((x - mean) / s) ** 2
