"""Relations of differential privacy, and what dp-accounting says of DP-SGD (the extra `dp`)."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxmia.privacy.bounds import check, tpr_bound
from jaxmia.types import Array

RELATIONS = ("add/remove", "replace-one")


def converted(epsilon: float, delta: float, relation: str, to: str) -> tuple[float, float]:
    """An (epsilon, delta) of one relation as one of another.

    To replace a record is to remove one and add one: `(2 eps, (1 + e^eps) delta)`. The way back is
    closed: replace-one says nothing of data of another size. Raises `ValueError` for it.
    """
    check(epsilon, delta)
    check_relation(relation)
    check_relation(to)
    if relation == to:
        return epsilon, delta
    if to == "add/remove":
        raise ValueError("relation='replace-one' does not bound 'add/remove'")
    return 2 * epsilon, float(min(1.0, (1 + np.exp(min(epsilon, 700.0))) * delta))


def check_relation(relation: str) -> None:
    """Raises `ValueError` for what is no relation."""
    if relation not in RELATIONS:
        raise ValueError(f"relation={relation!r} is not one of {RELATIONS}")


class Profile(NamedTuple):
    """A mechanism's delta at every epsilon of a grid: all (epsilon, delta) that it has at once."""

    epsilon: Float[np.ndarray, " E"]
    delta: Float[np.ndarray, " E"]
    relation: str

    def epsilon_at(self, delta: float) -> float:
        """The smallest epsilon of the grid whose delta is at most this; infinite if none is."""
        points = np.flatnonzero(self.delta <= delta)
        return float(self.epsilon[points[0]]) if len(points) else float("inf")

    def tpr_bound(self, fpr: Float[Array, " P"]) -> Float[np.ndarray, " P"]:
        """The largest TPR that all of them together allow: tighter than any one of them."""
        pairs = zip(self.epsilon.tolist(), self.delta.tolist(), strict=True)
        return np.stack([np.asarray(tpr_bound(fpr, e, d)) for e, d in pairs]).min(0)


def dp_sgd_profile(
    noise_multiplier: float,
    rate: float,
    steps: int,
    relation: str = "add/remove",
    largest: float = 20.0,
) -> Profile:
    """DP-SGD with Poisson batches, by dp-accounting's privacy-loss distributions.

    `noise_multiplier` is the noise's deviation over the clipping norm, `rate` each example's chance
    to be in a batch. Raises `ValueError` for numbers that do not fit, or without dp-accounting.
    """
    check_relation(relation)
    if not noise_multiplier > 0 or not 0 < rate <= 1 or steps < 1:
        raise ValueError(
            f"noise_multiplier={noise_multiplier} must be above 0, rate={rate} above 0 and at most "
            f"1, steps={steps} 1 or more"
        )
    try:
        import dp_accounting
        from dp_accounting import pld
    except ImportError as error:
        raise ValueError("dp_sgd_profile: needs dp-accounting: pip install 'jaxmia[dp]'") from error
    neighbours: Any = dp_accounting.NeighboringRelation
    kinds = {"add/remove": neighbours.ADD_OR_REMOVE_ONE, "replace-one": neighbours.REPLACE_ONE}
    step: Any = dp_accounting.GaussianDpEvent(noise_multiplier)
    if rate < 1:
        step = dp_accounting.PoissonSampledDpEvent(rate, step)
    accountant = pld.PLDAccountant(kinds[relation])
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, steps))
    epsilon = np.concatenate([np.linspace(0, 2, 101), np.linspace(2, largest, 181)[1:]])
    delta = np.asarray(accountant.get_delta(epsilon.tolist()))
    return Profile(epsilon, delta, relation)
