"""The passive observer's scores: is an example's gradient part of a client's update?

With plain SGD (rate eta, batches of B) a client's update is -(eta / B) times the sum G of its
members' gradients. In a network with many more parameters than examples the gradients of different
examples are nearly orthogonal: a member's has a part in G, another's has hardly any.

    cosine                cos(grad loss, G)
    gradient_difference   ||G||^2 - ||G - grad loss||^2 = 2 <G, grad loss> - ||grad loss||^2

of each round and layer. Since grad loss = -sigma(-phi) grad phi, the cosine is that of phi's
gradient with the update, exact even where the loss's gradient underflows. Li, Li & Ribeiro 2023.
NumPy, float64; higher means member; NaN in a round without the client.
"""

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from jaxmia.attacks import lira
from jaxmia.attacks.attacker import RECORD, WHITE
from jaxmia.attacks.threshold import GLOBAL_THRESHOLD
from jaxmia.federated.fedavg import Observed
from jaxmia.types import Attack, Attacker

TINY = 1e-30
UPDATES = "the server's parameters and the client's update in every round"
FEDERATIONS = f"{RECORD}; federations of other draws of the data"


def cosine(observations: Observed) -> Float[np.ndarray, "M N R G"]:
    """The cosine of each round and layer (0 is the whole network); 0 where there is no gradient."""
    lengths = observations.norm.astype(np.float64) * observations.update.astype(np.float64)
    return observations.dot / np.maximum(lengths, TINY)


def gradient_difference(
    observations: Observed, rate: float, batch_size: int
) -> Float[np.ndarray, "M N R G"]:
    """How much shorter the sum of gradients gets without the example's: of a member, above 0.

    `rate` and `batch_size` are the clients'. With the rate alone in place of rate / batch size the
    example's own norm would drown the product.
    """
    if rate <= 0 or batch_size < 1:
        raise ValueError(f"rate={rate} must be above 0, batch_size={batch_size} 1 or more")
    slope = expit(-observations.phi.astype(np.float64))[..., None]
    product = batch_size / rate * slope * observations.dot
    return 2 * product - (slope * observations.norm) ** 2


def accumulated(signal: Float[np.ndarray, "M N R"]) -> Float[np.ndarray, "M N"]:
    """The mean over the rounds in which the client took part; NaN if it never did."""
    there = ~np.isnan(signal)
    total = np.where(there, signal, 0).sum(-1)
    with np.errstate(invalid="ignore"):
        return total / there.sum(-1)


def _attacks(name: str) -> dict[str, Attack]:
    """Attacks on an accumulated score as phi: by itself, and held against shadow federations."""
    alone, shadows = (Attacker(WHITE, UPDATES, knows) for knows in (RECORD, FEDERATIONS))
    return {
        name: GLOBAL_THRESHOLD._replace(attacker=alone),
        f"{name}_lira_online_global_variance": lira.attack("online", "global")._replace(
            attacker=shadows
        ),
    }


ATTACKS = _attacks("cosine") | _attacks("gradient_difference")
