"""What a fitted model gives away by its make alone, without an attack.

The checks of a disclosure officer (Ritchie, Tilbrook et al. 2023; SACRO): records that lie in the
model as they are, leaves with few of them, few degrees of freedom, more parameters than records.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

LEAST = 5  # records that a leaf must have: a common threshold of statistical disclosure control
DEEP = 4  # how far estimators within estimators are looked into
LARGE = 10**8  # numbers in a table, above which records are not looked for


def structure(model: Any, x: Any, target: np.ndarray) -> dict[str, Any]:
    """What holds of a fitted model and the records that it was fitted on; what is not known, lacks.

    `records` are those fitted on, `stored` how many of them lie in the model, `small_leaf` how many
    fall into a leaf with fewer than `LEAST`, `smallest_leaf` its size; `parameters` are learnt
    numbers, and `degrees_of_freedom` the records of a linear model beyond them.
    """
    last, inputs = _last(model, x)
    out: dict[str, Any] = {"records": len(target)}
    for name, value in (
        ("stored", _stored(last, inputs)),
        ("parameters", _parameters(last)),
        *_leaves(last, inputs).items(),
    ):
        if value is not None:
            out[name] = value
    if hasattr(last, "coef_") and "parameters" in out and not out.get("stored"):
        out["degrees_of_freedom"] = out["records"] - out["parameters"]
    return out


def _last(model: Any, x: Any) -> tuple[Any, Any]:
    """The last step of a pipeline with what it is fed; any other model with its records."""
    while hasattr(model, "steps"):
        x = model[:-1].transform(x) if len(model.steps) > 1 else x
        model = model.steps[-1][1]
    return model, x


def _stored(model: Any, inputs: Any) -> int | None:
    """How many records are, number by number, rows of some array in the model.

    None where they are no numbers; others than as they are (rounded, in a tree) none is recognised.
    """
    table = _numbers(inputs)
    if table is None:
        return None
    rows: set[bytes] = set()
    for array in _arrays(model, table.shape[1]):
        rows |= set(_as_bytes(array))
    return sum(row in rows for row in _as_bytes(table))


def _numbers(inputs: Any) -> np.ndarray | None:
    """Records `[n, d]` as float32; None for what is no table of numbers, or too large."""
    if int(np.prod(inputs.shape)) > LARGE:
        return None
    try:
        array = inputs.toarray() if hasattr(inputs, "toarray") else np.asarray(inputs)
        array = array.astype(np.float32)
    except (TypeError, ValueError):
        return None
    return array if array.ndim == 2 else None


def _as_bytes(table: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(table + np.float32(0))]  # no -0


def _arrays(model: Any, width: int, deep: int = DEEP) -> Iterator[np.ndarray]:
    """Arrays of so wide rows in a model, and in the models within it."""
    for value in list(getattr(model, "__dict__", {}).values()):
        if hasattr(value, "shape") and len(value.shape) == 2 and value.shape[1] == width > 1:
            if (table := _numbers(value)) is not None:
                yield table
        for inner in _models(value):
            if deep:
                yield from _arrays(inner, width, deep - 1)


def _models(value: Any) -> Iterator[Any]:
    if hasattr(value, "get_params") and not isinstance(value, type):
        yield value
    elif isinstance(value, np.ndarray) and value.dtype == object:
        yield from _models(value.reshape(-1).tolist())
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _models(part)


def _leaves(model: Any, inputs: Any) -> dict[str, int | None]:
    """The smallest leaf by its records, and how many records are in a small one of any tree."""
    if hasattr(model, "apply"):
        leaves = np.asarray(model.apply(inputs))
    elif type(model).__module__.startswith("lightgbm"):
        leaves = np.asarray(model.predict(inputs, pred_leaf=True))
    else:
        return {}
    leaves = leaves.reshape(len(leaves), -1)
    smallest, few = len(leaves), np.zeros(len(leaves), bool)
    for tree in leaves.T:
        _, index, count = np.unique(tree, return_inverse=True, return_counts=True)
        smallest = min(smallest, int(count.min()))
        few |= count[index.reshape(-1)] < LEAST
    return {"smallest_leaf": smallest, "small_leaf": int(few.sum())}


def _parameters(model: Any) -> int | None:
    """The learnt numbers of a linear model, a network, a tree or a forest; None for others."""
    if hasattr(model, "tree_"):
        return _of_tree(model.tree_)
    if hasattr(model, "estimators_"):
        inner = list(_models(model.estimators_))
        counts = [_parameters(part) for part in inner]
        return None if None in counts or not counts else sum(c for c in counts if c)
    for names in (("coef_", "intercept_"), ("coefs_", "intercepts_"), ("theta_", "var_")):
        parts = [getattr(model, n, None) for n in names]
        if parts[0] is not None:
            lists = [p if isinstance(p, list) else [p] for p in parts if p is not None]
            return sum(np.size(array) for part in lists for array in part)
    return None


def _of_tree(tree: Any) -> int:
    """A feature and a threshold for each split, and the values of each leaf but what follows."""
    leaves = int((tree.children_left == -1).sum())
    values = int(np.prod(tree.value.shape[1:]))
    free = max(1, values - 1) if values > 1 else 1
    return 2 * (int(tree.node_count) - leaves) + leaves * free
