"""Attack networks that see inside the model (Nasr et al. 2019, sections III and IV).

| name              | what the network sees of an example, besides its label (one-hot)             |
| ----------------- | ---------------------------------------------------------------------------- |
| `activations`     | the last hidden layer's activations                                          |
| `gradients`       | these, the logits, phi (the loss), and the log-norm of each layer's gradient |
| `loss_trajectory` | phi after every so many epochs (cf. Liu et al. 2022, who distil it)          |

The gradient of the last layer itself is the outer product of activations and (p - onehot(y)), so
its factors are all there. Units of different models do not correspond: activations enter in order
of size. One network for all classes, trained on the other folds' models.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxmia.attacks import networks, shadow_classifier
from jaxmia.attacks.attacker import ALONG, BOTH, PARAMETERS, WHITE
from jaxmia.types import Attack, Attacker, Signals

Part = Callable[[Signals], Float[np.ndarray, "M N F"]]


def activations(signals: Signals) -> Float[np.ndarray, "M N F"]:
    """Activations in descending order; a model's own NaN makes all its row NaN."""
    return -np.sort(-np.asarray(signals.activations, np.float32), axis=-1)


def answers(signals: Signals) -> Float[np.ndarray, "M N F"]:
    """phi of view 0, and the log probabilities in order, the true class's first."""
    assert signals.logits is not None
    log_p = shadow_classifier.features(signals.logits, np.asarray(signals.y))
    return np.concatenate([np.asarray(signals.phi, np.float32)[..., :1], log_p], axis=-1)


def log_norms(signals: Signals) -> Float[np.ndarray, "M N F"]:
    """The log-norms of the loss's gradient, whole and by layer."""
    return np.asarray(signals.gradient, np.float32)


def trajectory(signals: Signals) -> Float[np.ndarray, "M N F"]:
    """phi after some of the epochs."""
    return np.asarray(signals.trajectory, np.float32)


def _network(
    parts: tuple[Part, ...], sees: str, *needs: str, paper: str = "Nasr et al. 2019"
) -> Attack:
    def features(signals: Signals) -> Float[np.ndarray, "M N F"]:
        inputs = [part(signals) for part in parts]
        y = np.asarray(signals.y)
        label = np.eye(int(y.max()) + 1, dtype=np.float32)[y]
        inputs.append(np.broadcast_to(label, (len(inputs[0]), *label.shape)))
        return np.concatenate(inputs, axis=-1)

    return networks.attack(
        features,
        shadow_classifier.together,
        Attacker(WHITE, sees, BOTH),
        needs=(*needs, "y"),
        paper=paper,
    )


ACTIVATIONS = _network((activations,), PARAMETERS, "activations")
GRADIENTS = _network(
    (answers, log_norms, activations), PARAMETERS, "gradient", "activations", "logits"
)
LOSS_TRAJECTORY = _network((trajectory,), ALONG, "trajectory", paper="Liu et al. 2022")
