"""Federated averaging, and what a passive observer of its updates learns of the clients' data.

`fedavg` trains a federation as one compiled program and records, round by round, what an observer
of every client's update sees; `orthogonality` turns that into scores. Federations of other draws of
the data are the shadows: their scores are arrays `[M, N]` like any other signal.
"""

from jaxmia.federated.fedavg import Federation, Observed, assignment, federate, plain_sgd
from jaxmia.federated.orthogonality import ATTACKS, accumulated, cosine, gradient_difference

__all__ = [
    "ATTACKS",
    "Federation",
    "Observed",
    "accumulated",
    "cosine",
    "assignment",
    "federate",
    "gradient_difference",
    "plain_sgd",
]
