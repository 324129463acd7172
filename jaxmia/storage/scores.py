"""`scores.npz` row by row, never as a whole: a target's scores, or its membership, at a time."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxmia.storage.raw import read_at, write_at


def names(file: Path) -> list[str]:
    """The arrays of a file; raises `ValueError` if it cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file}: cannot be read ({error!s:.200})") from error


def rows(file: Path, name: str) -> Iterator[np.ndarray]:
    """The rows of an array `[T, N]`; raises `ValueError` if it cannot be read, or has ended."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as entry:
            (targets, examples), dtype = _header(entry)
            for _ in range(targets):
                row = np.frombuffer(entry.read(examples * dtype.itemsize), dtype)
                if len(row) < examples:
                    raise ValueError("it ends too early")
                yield row
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file}: {name} cannot be read ({error!s:.200})") from error


def _header(entry: Any) -> tuple[tuple[int, int], np.dtype]:
    version = np.lib.format.read_magic(entry)
    read = {(1, 0): np.lib.format.read_array_header_1_0}.get(version)
    if read is None:
        raise ValueError(f"has version {version} of .npy")
    shape, fortran, dtype = read(entry)
    if len(shape) != 2 or dtype.kind not in "fb" or (fortran and 1 not in shape):
        raise ValueError(f"is {dtype} {shape}")
    return shape, dtype


@contextlib.contextmanager
def entry(archive: zipfile.ZipFile, name: str, dtype: Any, shape: tuple) -> Iterator[Any]:
    """A .npy of an archive, to be written row by row."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
        described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, described)
        yield out


def put(file: int, part: np.ndarray, first: int, examples: int) -> None:
    """Writes columns `[T, n]`, from `first` on, of an open file of raw numbers `[T, examples]`."""
    for t, row in enumerate(np.ascontiguousarray(part)):
        write_at(file, row, part.itemsize * (t * examples + first))


def raw_rows(file: Path, dtype: Any, at: slice, examples: int) -> np.ndarray:
    """Some rows of a file of raw numbers `[T, examples]`."""
    many, size = at.stop - at.start, np.dtype(dtype).itemsize
    numbers = np.fromfile(file, dtype, many * examples, offset=size * at.start * examples)
    return numbers.reshape(many, examples)


def raw_panel(file: Path, dtype: Any, rows: slice, at: slice, examples: int) -> np.ndarray:
    """Some columns of some rows of a file of raw numbers `[T, examples]`."""
    out = np.empty((rows.stop - rows.start, at.stop - at.start), dtype)
    with open(file, "rb", buffering=0) as numbers:
        for t, row in enumerate(out, rows.start):
            read_at(numbers.fileno(), row, out.itemsize * (t * examples + at.start))
    return out
