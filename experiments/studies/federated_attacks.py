"""One setting of federated averaging, and how well each attack tells its members from others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxmia import data, federated, metrics
from jaxmia.attacks import lira
from jaxmia.federated import Federation, Observed
from jaxmia.models import mlp
from jaxmia.types import Data

NAMES = {
    "global_threshold": "loss of the server's model",
    "cosine": "cosine, accumulated",
    "gradient_difference": "difference, accumulated",
    "cosine_lira_online_global_variance": "cosine, LiRA on shadow federations",
    "gradient_difference_lira_online_global_variance": "difference, LiRA on shadow federations",
}


@dataclass(frozen=True)
class Setting:
    """Federations of one kind."""

    clients: int = 16
    """Clients of a federation."""
    rounds: int = 50
    """Rounds of averaging."""
    width: int = 64
    """Units of each of the two hidden layers."""
    rate: float = 0.1
    """The clients' learning rate."""
    batch_size: int = 8
    """Examples of a client's step."""
    epochs: int = 1
    """Epochs of a client in a round."""
    participation: float = 1.0
    """Share of the clients in a round."""
    federations: int = 16
    """Federations, an even number: each is attacked with the others as shadows."""
    examples: int = 1408
    """Of the pool: a multiple of twice every number of clients."""
    seed: int = 0
    """Everything random comes from it."""


def federation(setting: Setting) -> tuple[Federation, Callable[[], Data]]:
    """A federation of one setting, and where its examples come from."""
    model = mlp(setting.width, setting.width)
    recipe = federated.plain_sgd(
        model, rate=setting.rate, batch_size=setting.batch_size, epochs=setting.epochs
    )
    settings = Federation(recipe, setting.clients, setting.rounds, setting.participation)
    return settings, data.first(data.digits(), setting.examples)


def trained(setting: Setting, say: Any) -> Observed:
    """All federations of one setting, observed."""
    settings, source = federation(setting)
    return federated.federate(settings, source(), setting.federations, setting.seed, say=say)


def signals(observation: Observed, setting: Setting) -> dict[str, np.ndarray]:
    """`[M, N, R, 1 + L]` of both forms; the batch is no larger than what a client holds."""
    own = setting.examples // setting.clients // 2
    size = min(setting.batch_size, own)
    return {
        "cosine": federated.cosine(observation),
        "gradient_difference": federated.gradient_difference(observation, setting.rate, size),
    }


def calibrated(score: np.ndarray, member: np.ndarray) -> np.ndarray:
    """LiRA on a score, every federation in turn.

    One variance for all examples: the spread comes from who else is at the client.
    """
    return lira.leave_one_out(score.astype(np.float32), member, variance="global")


def scores(
    observation: Observed, setting: Setting, upto: int | None = None
) -> dict[str, np.ndarray]:
    """Every attack's `[M, N]` after so many rounds."""
    last = observation.phi[..., :upto]
    by_attack = {"global_threshold": _last(last)}
    for name, signal in signals(observation, setting).items():
        by_attack[name] = federated.accumulated(signal[..., :upto, 0])
        by_attack[f"{name}_lira_online_global_variance"] = calibrated(
            by_attack[name], observation.member
        )
    return {name: by_attack[name] for name in NAMES}


def _last(phi: np.ndarray) -> np.ndarray:
    """phi in the last round in which the client took part."""
    there = ~np.isnan(phi)
    at = phi.shape[-1] - 1 - np.argmax(there[..., ::-1], axis=-1)
    return np.take_along_axis(phi, at[..., None], -1)[..., 0].astype(np.float64)


def rates(score: np.ndarray, member: np.ndarray) -> dict[str, float]:
    """AUC and TPR at 0.1 % FPR."""
    rate = metrics.tpr_at_fpr(score, member, 1e-3)
    return {"auc": metrics.auc(score, member), "tpr_at_0.001": rate}


def spread(score: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """The same with 95 % intervals, over examples, and how many scores there are."""
    ends = metrics.bootstrap(score, member, (1e-3,))
    there = ~np.isnan(score)
    return rates(score, member) | {
        "auc_interval": ends.auc.tolist(),
        "tpr_interval": ends.tpr_at_fpr[0].tolist(),
        "members": int((member & there).sum()),
        "non_members": int((~member & there).sum()),
    }
