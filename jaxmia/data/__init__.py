"""Where examples come from: each source is a value that does its work when it is called.

`data.digits()() -> Data`. The pool is the training split; the test split is never trained on.
"""

from jaxmia.data.arrays import arrays
from jaxmia.data.beside import beside
from jaxmia.data.derived import first, mislabelled, poisoned, random_labels
from jaxmia.data.digits import digits
from jaxmia.data.pool import HeldOut, digest, features, held_out
from jaxmia.data.synthetic import people, synthetic
from jaxmia.data.tfds import folder_of, prepare, ready, tfds
from jaxmia.data.usable import standardise, usable

__all__ = [
    "HeldOut",
    "arrays",
    "beside",
    "digest",
    "digits",
    "features",
    "first",
    "folder_of",
    "held_out",
    "mislabelled",
    "people",
    "poisoned",
    "prepare",
    "random_labels",
    "ready",
    "standardise",
    "synthetic",
    "tfds",
    "usable",
]
