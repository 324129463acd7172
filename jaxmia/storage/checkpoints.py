"""Checkpoints of a block in training, by Orbax, with a digest of our own for every leaf.

Orbax is atomic and fast, but restores a flipped bit silently as other weights.
"""

import contextlib
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmia.storage.files import UnreachableError, UnwritableError, reason, write_json
from jaxmia.storage.folder import Folder

KEEP = 2


def save(folder: Folder, epoch: int, tree: Any) -> None:
    """Saves a tree of arrays as the state after `epoch` epochs; the newest two are kept.

    Raises `UnwritableError` if it cannot be written; older checkpoints stay.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    arrays = {f"{i:05d}": leaf for i, leaf in enumerate(leaves) if leaf.size}
    name = _name(epoch)
    try:
        with folder.packing(name) as place:
            _check_room(place.parent, sum(leaf.nbytes for leaf in arrays.values()))
            with _only_raising(), _alone() as checkpointer:
                checkpointer.save(place, arrays)
            write_json(place / "digests.json", {k: _digest(v) for k, v in arrays.items()})
    except UnwritableError:
        raise
    except (OSError, ValueError) as error:
        raise UnwritableError(f"cannot write {folder}/{name}: {reason(error)}") from error
    for old in epochs(folder)[:-KEEP]:
        folder.remove(_name(old))


def restore(folder: Folder, epoch: int, like: Any) -> tuple[Any, str]:
    """A checkpoint's tree as NumPy arrays, or None and why it is not sound.

    `like` gives the tree's structure, shapes and dtypes.
    """
    name = _name(epoch)
    try:
        with folder.unpacked(name) as place:
            return _restored(place, like), ""
    except UnreachableError:
        raise
    except Exception as error:  # Orbax raises what its parts raise; any of them means unsound
        return None, f"checkpoint {folder.name}/{name} is skipped: {error!s:.200}"


def epochs(folder: Folder) -> list[int]:
    """After which epochs there are checkpoints, sound or not, in order."""
    return sorted(int(name) for name in folder.names() if name.isdigit())


def remove(folder: Folder, but: int | None = None) -> None:
    """Deletes a block's checkpoints, and what half a one left behind; `but` that of one epoch."""
    if but is None:
        folder.remove()
        return
    for name in folder.names():
        if name != _name(but):
            folder.remove(name)


def leaves(folder: Folder, epoch: int) -> dict[int, np.ndarray]:
    """The arrays of a checkpoint by their place in the tree; empty ones are absent.

    Raises `ValueError`, and what Orbax and the file system raise, for one that is not sound.
    """
    with folder.unpacked(_name(epoch)) as place:
        names = json.loads((place / "digests.json").read_text())
        return {int(name): array for name, array in _read(place, names).items()}


def _name(epoch: int) -> str:
    return f"{epoch:06d}"


def _restored(place: Path, like: Any) -> Any:
    leaves, tree = jax.tree.flatten(like)
    arrays = _read(place, [f"{i:05d}" for i, leaf in enumerate(leaves) if leaf.size])
    out = []
    for i, leaf in enumerate(leaves):
        array = arrays.get(f"{i:05d}", np.empty(leaf.shape, leaf.dtype))
        if array.shape != leaf.shape or array.dtype != leaf.dtype:
            raise ValueError(
                f"leaf {i} is {array.dtype} {array.shape}, not {leaf.dtype} {leaf.shape}"
            )
        out.append(array)
    return jax.tree.unflatten(tree, out)


def _read(place: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    digests = json.loads((place / "digests.json").read_text())
    with _only_raising(), _alone() as checkpointer:
        args = {k: ocp.RestoreArgs(restore_type=np.ndarray) for k in names}
        arrays = checkpointer.restore(place, item=dict.fromkeys(args, 0), restore_args=args)
    for name in args:
        if _digest(np.asarray(arrays[name])) != digests[name]:
            raise ValueError(f"leaf {int(name)} does not match its digest")
    return {name: np.asarray(arrays[name]) for name in args}


def _alone() -> Any:
    """A checkpointer for this process, which waits for no other: each has blocks of its own."""
    import orbax.checkpoint as ocp

    here = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"process{here}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=options)


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(f"No space left on device: {size:,} bytes are needed, {free:,} are free")


@contextlib.contextmanager
def _only_raising() -> Iterator[None]:
    """Orbax's threads also print what goes wrong, some of it later, where all is told already."""
    absl = logging.getLogger("absl")
    absl.setLevel(logging.CRITICAL)
    if not getattr(sys.unraisablehook, "jaxmia", False):
        sys.unraisablehook = _quiet(sys.unraisablehook)
    yield
    absl.setLevel(logging.ERROR)


def _quiet(before: Callable) -> Callable:
    def hook(failure: Any) -> None:
        if not _is_late(failure.exc_value):
            before(failure)

    hook.jaxmia = True  # type: ignore[attr-defined]
    return hook


def _is_late(error: BaseException | None) -> bool:
    return isinstance(error, RuntimeError) and "Event loop is closed" in str(error)


def _digest(leaf: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest()
