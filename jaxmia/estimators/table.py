"""Records as an estimator takes them: arrays, tables with text in them, sparse matrices."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True, eq=False)
class Table:
    """A pool of records for an estimator: `x` has a row for each, of whatever kind.

    `y` are the classes by number, whose names `values` holds, or for a regression, without
    `values`, the numbers `[N]` or `[N, D]` to be predicted. `groups` are columns by which exposure
    is told apart, as text.
    """

    name: str
    x: Any
    y: np.ndarray
    values: np.ndarray | None = None
    person: Int[np.ndarray, " N"] | None = None  # the individual that a record belongs to
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    public: bool = False  # no record is shown unasked
    shape: tuple[int, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes as the estimator names them."""
        return () if self.values is None else tuple(str(v)[:80] for v in self.values)

    @property
    def target(self) -> np.ndarray:
        """What the estimator is fitted to: labels as they came, or numbers."""
        return self.y if self.values is None else self.values[self.y]


def rows(x: Any, at: np.ndarray) -> Any:
    """Some rows of an array, a DataFrame or a sparse matrix."""
    return x.iloc[at] if hasattr(x, "iloc") else x[at]


def digest(table: Table) -> str:
    """The identity of what models and attacks see: sha256 over records, targets and people."""
    total = hashlib.sha256()
    for part in (*_columns(table.x), table.target, table.person):
        total.update(_bytes(part))
    return total.hexdigest()


def _columns(x: Any) -> list[Any]:
    if hasattr(x, "iloc"):
        return [part for name in x.columns for part in (str(name), x[name].to_numpy())]
    if hasattr(x, "tocsr"):
        sparse = x.tocsr()
        return [np.array(sparse.shape), sparse.data, sparse.indices, sparse.indptr]
    return [x]


def _bytes(part: Any) -> bytes:
    """The content of a column, with its kind; text and objects by what they print as."""
    if part is None:
        return b"None"
    array = np.asarray(part)
    head = f"{array.dtype.kind} {array.shape}\n".encode()
    if array.dtype.kind in "biufcmM":
        return head + np.ascontiguousarray(array).tobytes()
    return head + "\0".join(map(str, array.reshape(-1).tolist())).encode()
