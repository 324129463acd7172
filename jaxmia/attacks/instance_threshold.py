"""A threshold for each example, from how hard it is for models that were not trained on it.

Sablayrolles et al. 2019, section 4 (MALT); Watson et al. 2022, section 3 (difficulty calibration).
"""

import numpy as np
from jaxtyping import Float

from jaxmia.attacks.attacker import BLACK, CHANCE, OUT
from jaxmia.attacks.by_example import Chunk, attack
from jaxmia.attacks.gaussians import side
from jaxmia.types import Attacker


def by_loss(chunk: Chunk) -> Float[np.ndarray, "T n"]:
    """Mean loss of the OUT references less the target's loss; NaN without a reference."""
    loss = np.logaddexp(0, -chunk.reference)
    out = side(loss, chunk.outside, chunk.leaving, "mean")
    return (out.centre - np.logaddexp(0, -chunk.target))[..., 0]


def by_phi(chunk: Chunk) -> Float[np.ndarray, "T n"]:
    """The target's phi less the mean phi of the OUT references."""
    out = side(chunk.reference, chunk.outside, chunk.leaving, "mean")
    return (chunk.target - out.centre)[..., 0]


INSTANCE_THRESHOLD = attack(by_loss, Attacker(BLACK, CHANCE, OUT), "Sablayrolles et al. 2019")
INSTANCE_THRESHOLD_PHI = attack(by_phi, Attacker(BLACK, CHANCE, OUT), "Watson et al. 2022")
