"""What models start from: parameters drawn by a model's own key, or those of a file or a run.

In a file (.npz) each array has its place in the network as its name, such as `layers/0/kernel`, and
`state/...` for what a network carries but does not learn. Of a run's folder it is its first model,
which `--keep-shadows` keeps.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmia.storage import checkpoints
from jaxmia.storage.store import Store
from jaxmia.types import Data, Key, Model, Params, Recipe, State


def initial(recipe: Recipe, model: Model) -> Callable[[Key], tuple[Params, State]]:
    """`init(key) -> params, state` of a recipe's models.

    Raises `ValueError` where `recipe.init_from` does not fit the network.
    """
    if recipe.init_from is None:
        return model.init
    start = jax.tree.map(jnp.asarray, _loaded(Path(recipe.init_from), model))
    return lambda key: start


def digest(recipe: Recipe, data: Data) -> str:
    """The identity of the parameters that a recipe's models start from, wherever they lie."""
    assert recipe.init_from is not None
    total = hashlib.sha256()
    for name, array in _by_name(_loaded(Path(recipe.init_from), recipe.model(data))).items():
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def save(path: Path, params: Params, state: State) -> None:
    """Writes a network's parameters as `recipe.init_from` reads them."""
    np.savez(path, **_by_name((params, state)))  # type: ignore[arg-type]


def _loaded(path: Path, model: Model) -> tuple[Params, State]:
    like = jax.eval_shape(model.init, jax.random.key(0, impl="threefry2x32"))
    shapes = _by_name(like)
    arrays = _of_run(path, list(shapes)) if path.is_dir() else _of_file(path)
    lacking = [f"no {name} {s.shape}" for name, s in shapes.items() if name not in arrays]
    others = [f"{name} {a.shape} besides" for name, a in arrays.items() if name not in shapes]
    unlike = [
        f"{name} {arrays[name].shape} instead of {s.shape}"
        for name, s in shapes.items()
        if name in arrays and arrays[name].shape != s.shape
    ]
    if wrong := unlike + lacking + others:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            f"init_from: {path} does not fit the network: it has {', '.join(wrong[:3])}{more}"
        )
    values = [np.asarray(arrays[name], s.dtype) for name, s in shapes.items()]
    for name, value in zip(shapes, values, strict=True):
        if not np.isfinite(value).all():
            raise ValueError(f"init_from: {path} has NaN or infinite numbers in {name}")
    return jax.tree.unflatten(jax.tree.structure(like), values)


def _by_name(start: tuple[Params, State]) -> dict[str, Any]:
    """The leaves of parameters and state by name, in the order of the tree."""
    params, state = start
    out = {}
    for prefix, tree in (("", params), ("state/", state)):
        for place, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            name = prefix + jax.tree_util.keystr(place, simple=True, separator="/")
            out[name] = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else np.asarray(leaf)
    return out


def _of_file(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz; raises `ValueError` for anything else."""
    if not path.is_file():
        raise ValueError(f"init_from: {path} is neither a run's folder nor a file (.npz)")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive raises whatever its parser does
        raise ValueError(f"init_from: {path} cannot be read as .npz ({error!s:.200})") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise ValueError(f"init_from: {path}: {name} is {array.dtype}, needs numbers")
    return arrays


def _of_run(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """The leaves of a run's first model, which the network at hand names.

    A block is saved as its models' numbers, their parameters and states, and then what no other
    network starts from.
    """
    try:
        store = Store(path)
    except ValueError as error:
        raise ValueError(f"init_from: {error}") from error
    epochs = int(store.experiment["identity"]["recipe"]["epochs"])
    own, layers = store.record(0).get("layers"), _layers(names)
    if own is not None and own != layers:
        raise ValueError(
            f"init_from: {path} does not fit the network: its layers are {', '.join(own)}, the "
            f"network's {', '.join(layers)}"
        )
    folder = store.folder.under("shadows/0000")
    if epochs not in checkpoints.epochs(folder):
        raise ValueError(f"init_from: {path} keeps no models: train it with --keep-shadows")
    try:
        leaves = checkpoints.leaves(folder, epochs)
    except Exception as error:  # Orbax raises what its parts raise
        raise ValueError(f"init_from: {folder} cannot be read ({error!s:.200})") from error
    first = np.flatnonzero(leaves[0][0] == 0)
    if not len(first):
        raise ValueError(f"init_from: {folder} holds models {leaves[0][0].tolist()}, needs model 0")
    return {name: leaves[i][first[0]] for i, name in enumerate(names, 1) if i in leaves}


def _layers(names: list[str]) -> list[str]:
    """The layers of parameters by name, as a block's record has them (`gradients.layers`)."""
    learned = (name for name in names if not name.startswith("state/"))
    return list(dict.fromkeys(n.rpartition("/")[0].replace("/", ".") or n for n in learned))
