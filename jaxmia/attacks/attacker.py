"""The words by which attacks say whom they stand for (`types.Attacker`)."""

from jaxmia.types import Attacker

BLACK, WHITE = "black-box", "white-box"
LABEL = "the predicted label"
CHANCE = "the probability of the true label"
ALL = "the probabilities of all labels"
RECORD = "the record and its label"
OUT = f"{RECORD}; models trained the same way without the record"
BOTH = f"{RECORD}; models trained the same way with and without the record"
IMPUTED = (
    f"{RECORD}; models trained the same way without the record, with and without other records"
)
POPULATION = "; records that nobody was trained on"
PARAMETERS = "the parameters, and with them gradients and activations"
ALONG = "the model at several points of its training"

UNKNOWN = Attacker("not stated", "its own signals", "what its author says")
