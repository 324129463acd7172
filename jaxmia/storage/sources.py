"""Arrays on disk, read a panel of columns or some rows at a time, and never as a whole."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxmia.storage.raw import read_at

WORDS = {"f": "float", "i": "whole", "u": "whole", "b": "0/1", "U": "string", "S": "string"}


class Source:
    """An array `[M, N]` or `[M, N, Q]` in a .npy file or a Zarr folder.

    Files are read, not mapped: pages of a mapped file would count as this process's memory.
    """

    def __init__(self, name: str, path: Path, kinds: str, ndim: tuple[int, ...]) -> None:
        """Raises `ValueError` or `FileNotFoundError`, naming the option; never opens a pickle."""
        self.name, self.path = name, path
        self._array = opened(name, path)
        dtype = getattr(self._array.dtype, "numpy_dtype", self._array.dtype)
        self.shape, self.dtype = tuple(self._array.shape), np.dtype(dtype)
        if self.dtype.kind not in kinds or len(self.shape) not in ndim or 0 in self.shape:
            allowed = " or ".join(dict.fromkeys(WORDS[k] for k in kinds))
            axes = " or ".join(map(str, ndim))
            raise ValueError(
                f"{name}: {path} is {self.dtype} {self.shape}, needs {allowed} numbers, {axes} axes"
            )

    @property
    def nbytes(self) -> int:
        """Of the whole."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def columns(self, at: slice) -> np.ndarray:
        """`[M, n, ...]` of a slice of examples."""
        return self._read(0, self.shape[0], at.start, at.stop)

    def rows(self, at: slice) -> np.ndarray:
        """`[m, N, ...]` of a slice of models."""
        return self._read(at.start, at.stop, 0, self.shape[1])

    def _read(self, row: int, row_end: int, start: int, stop: int) -> np.ndarray:
        array = self._array
        if not isinstance(array, np.memmap):
            return np.asarray(array[row:row_end, start:stop].read().result())
        if not array.flags.c_contiguous:
            return np.array(array[row:row_end, start:stop])  # Fortran's order: mapped after all
        out = np.empty((row_end - row, stop - start, *self.shape[2:]), array.dtype)
        width = array[0, 0].nbytes if array.ndim > 2 else array.itemsize
        with open(self.path, "rb", buffering=0) as file:
            for i in range(row, row_end):
                place = array.offset + (i * self.shape[1] + start) * width
                read_at(file.fileno(), out[i - row], place)
        return out


def opened(name: str, path: Path) -> Any:
    """A .npy file mapped into memory, or a Zarr array as TensorStore has it; never a pickle."""
    if path.is_dir():
        return _zarr(name, path)
    if not path.is_file():
        raise FileNotFoundError(f"{name}: {path} is no file")
    if foreign := _foreign(path):
        raise ValueError(f"{name}: {path} {foreign}")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header raises whatever its parser does
        if "Python objects" in str(error):
            why = (
                "is an array of Python objects: save it as numbers, a.astype(float) or .astype(int)"
            )
            raise ValueError(f"{name}: {path} {why}") from error
        raise ValueError(f"{name}: {path} cannot be read as .npy ({error!s:.300})") from error


def _foreign(path: Path) -> str:
    """What a file is that is no .npy, by its first bytes, and what makes one of it; "" for one."""
    with open(path, "rb") as file:
        start = file.read(512)
    if start[:6] == b"\x93NUMPY":
        return ""
    if start[:2] == b"\x1f\x8b":
        return "is compressed by gzip: unpack it first"
    if start[:2] == b"PK":
        return "holds several arrays, as .npz does: save the one as .npy"
    if start[:1] == b"\x80":
        return "is a pickle, which is never opened: save the array by np.save"
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return "is HDF5: save the array by np.save"
    if not start:
        return "is empty"
    if all(c in b"\t\r\n" or 32 <= c < 127 for c in start):
        return "is text: np.save(FILE, np.loadtxt(TEXT, delimiter=',')) makes a .npy of it"
    return f"begins with {start[:6]!r}, which no .npy does: save the array by np.save"


def _zarr(name: str, path: Path) -> Any:
    import tensorstore as ts

    for driver, file in (("zarr3", "zarr.json"), ("zarr", ".zarray")):
        if (path / file).is_file():
            where = {"driver": "file", "path": str(path.absolute()) + "/"}
            try:
                array = ts.open({"driver": driver, "kvstore": where}, read=True).result()
                missing, chunks = _missing(array)
            except (ValueError, OSError) as error:
                raise ValueError(f"{name}: {path} cannot be read ({_reason(error)})") from error
            if missing:
                raise ValueError(
                    f"{name}: {path} lacks {missing} of its {chunks} chunks: half-written? If "
                    "they are all of the fill value, have them written too (zarr-python: "
                    "config={'write_empty_chunks': True})"
                )
            return array
    raise ValueError(f"{name}: {path} is a folder, and no Zarr array")


def _reason(error: Exception) -> str:
    """What is wrong, of TensorStore's message: not the specification and the places around it."""
    words = re.sub(r" \[(tensorstore_spec|source locations)=.*", "", str(error), flags=re.DOTALL)
    return re.sub(r"^.*?Error (opening|reading) [^:]*: (?=\w)", "", words)[:300]


def _missing(array: Any) -> tuple[int, int]:
    """How many of an array's chunks were never written, and how many there should be."""
    if not array.size or array.storage_statistics(query_fully_stored=True).result().fully_stored:
        return 0, 0
    shape, width = array.shape, array.chunk_layout.read_chunk.shape
    starts = [range(0, n, w) for n, w in zip(shape, width, strict=True)]
    chunks = [
        array[tuple(slice(i, min(i + w, n)) for i, w, n in zip(at, width, shape, strict=True))]
        for at in itertools.product(*starts)
    ]
    statistics = [one.storage_statistics(query_not_stored=True) for one in chunks]
    return sum(one.result().not_stored for one in statistics), len(statistics)


def panels(examples: int, bytes_each: int, budget: int) -> Iterator[slice]:
    """Slices of examples that keep within a budget of bytes, at least one example each."""
    width = max(1, budget // max(1, bytes_each))
    for start in range(0, examples, width):
        yield slice(start, min(start + width, examples))
