"""What models start from, and what of it they train (`Recipe.init_from`, `Recipe.tune`).

Parameters are drawn by a model's own key, or are those of a file or a run.

In a file (.npz) each array has its place in the network as its name, such as `layers/0/kernel`, and
`state/...` for what a network carries but does not learn. Of a run's folder it is its first model,
which `--keep-shadows` keeps. Where only some parameters train, the file may lack those: each model
draws its own, as for a head with other classes.
"""

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmia.storage import checkpoints
from jaxmia.storage.store import Store
from jaxmia.training.names import by_name
from jaxmia.training.tuned import tuned
from jaxmia.tuning import Parts
from jaxmia.types import Data, Key, Model, Params, Recipe, State


def network(recipe: Recipe, data: Data) -> Model:
    """A recipe's network, whose parameters are what it trains.

    Raises `ValueError` where `recipe.tune` or `recipe.init_from` do not fit it.
    """
    model = recipe.model(data)
    if recipe.tune is None:
        return model
    if recipe.init_from is None:
        raise ValueError(
            f"tune: {recipe.tune!r} needs init_from (--init-from), since what does not train stays "
            "as it is there"
        )
    parts = _parts(recipe, model)
    return tuned(model, parts, _arrays(Path(recipe.init_from), model, parts.trained))


def _parts(recipe: Recipe, model: Model) -> Parts:
    """What of a network trains: everything, unless the recipe says otherwise."""
    params, _ = jax.eval_shape(model.init, jax.random.key(0, impl="threefry2x32"))
    shapes = {name: leaf.shape for name, leaf in by_name(params).items()}
    return Parts(trained=tuple(shapes)) if recipe.tune is None else recipe.tune(shapes)


def initial(recipe: Recipe, model: Model) -> Callable[[Key], tuple[Params, State]]:
    """`init(key) -> params, state` of a recipe's models, whose network is `network`'s.

    Raises `ValueError` where `recipe.init_from` does not fit the network.
    """
    if recipe.init_from is None or recipe.tune is not None:
        return model.init
    arrays = _arrays(Path(recipe.init_from), model)
    like = jax.eval_shape(model.init, jax.random.key(0, impl="threefry2x32"))
    start = jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(a) for a in arrays.values()])
    return lambda key: start


def digest(recipe: Recipe, data: Data) -> str:
    """The identity of the parameters that a recipe's models start from, wherever they lie."""
    assert recipe.init_from is not None
    total, model = hashlib.sha256(), recipe.model(data)
    free = _parts(recipe, model).trained if recipe.tune is not None else ()
    for name, array in _arrays(Path(recipe.init_from), model, free).items():
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def save(path: Path, params: Params, state: State) -> None:
    """Writes a network's parameters as `recipe.init_from` reads them."""
    arrays = {name: np.asarray(a) for name, a in _by_place(params, state).items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]


def _arrays(path: Path, model: Model, free: Collection[str] = ()) -> dict[str, np.ndarray]:
    """A network's arrays by name, in the order of its tree; those that are `free` may be missing.

    Raises `ValueError` for others than the network's, and for what is no number.
    """
    shapes = _by_place(*jax.eval_shape(model.init, jax.random.key(0, impl="threefry2x32")))
    arrays = _of_run(path, list(shapes)) if path.is_dir() else _of_file(path)
    needed = (name for name in shapes if name not in free)
    lacking = [f"no {name} {shapes[name].shape}" for name in needed if name not in arrays]
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
    values = {n: np.asarray(arrays[n], s.dtype) for n, s in shapes.items() if n in arrays}
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise ValueError(f"init_from: {path} has NaN or infinite numbers in {name}")
    return values


def _by_place(params: Params, state: State) -> dict[str, Any]:
    """The leaves of parameters and state by name, in the order of the tree."""
    return by_name(params) | by_name(state, "state/")


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
    identity = store.experiment["identity"]
    if "tune" in identity:
        raise ValueError(
            f"init_from: {path} keeps only what its models trained ({identity['tune']}); "
            "start from what they started from"
        )
    epochs = int(identity["recipe"]["epochs"])
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
