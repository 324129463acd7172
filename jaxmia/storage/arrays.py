"""The signals of a run in Zarr, by TensorStore: rows of models, each with a digest of its own."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmia.storage.files import UnwritableError, as_json, reason
from jaxmia.storage.folder import Folder
from jaxmia.storage.raw import write_at
from jaxmia.types import SIGNALS

CHUNK_BYTES = 64 << 20
# what equals the fill value is written, too: a chunk that is absent was never written
ZARR = {"driver": "zarr3", "store_data_equal_to_fill_value": True}
PANEL_BYTES = 256 << 20  # of rows that are held at once while they are compared with digests


def row_digest(row: np.ndarray) -> str:
    """sha256 of a row's numbers."""
    return hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest()[:32]


class Arrays:
    """The arrays of one folder, whose chunks hold `block` models each."""

    def __init__(self, folder: Folder, block: int) -> None:
        """`folder` need not be there yet."""
        self.folder, self.block = folder, block

    def has(self, name: str) -> bool:
        """Whether there is such an array."""
        return self.folder.has(f"{name}/zarr.json")

    def open(self, name: str) -> Any:
        """An array that is there, as TensorStore has it; raises `ValueError` if it is not sound."""
        import tensorstore as ts

        return self.folder.result(ts.open(ZARR, kvstore=self.folder.kvstore(name)))

    def read(self, name: str, models: int | None = None) -> np.ndarray:
        """An array, or its first models' rows; raises what TensorStore does if it is not sound."""
        array = self.open(name)
        whole = array if models is None else array[:models]
        return np.asarray(self.folder.result(whole.read()))

    def chunks(self, shape: Sequence[int], dtype: str) -> list[int]:
        """How many models, examples, ... a chunk holds of an array by model."""
        chunks = [self.block, *shape[1:]]
        for axis in range(1, len(chunks)):
            size = int(np.prod(chunks)) * np.dtype(dtype).itemsize
            chunks[axis] = max(1, -(-chunks[axis] // max(1, -(-size // CHUNK_BYTES))))
        return chunks

    def _metadata(self, name: str, shape: Sequence[int], dtype: str, by_model: bool) -> dict:
        chunks = self.chunks(shape, dtype) if by_model else list(shape)
        letters = SIGNALS[name].axes if name in SIGNALS else "MN" if by_model else "N"
        return {
            "shape": list(shape),
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "dimension_names": list(letters[: len(shape)]),
            "fill_value": False if dtype == "bool" else "NaN" if dtype[0] == "f" else 0,
        }

    def create(self, name: str, shape: Sequence[int], dtype: str, by_model: bool = True) -> Any:
        """An array of at least so many models, made or grown where it is not yet."""
        import tensorstore as ts

        store, result = self.folder.kvstore(name), self.folder.result
        if not self.folder.has("zarr.json"):
            group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
            self.folder.write("zarr.json", as_json(group))
        if not self.has(name):
            with contextlib.suppress(ValueError):  # another worker was first
                spec = {**ZARR, "metadata": self._metadata(name, shape, dtype, by_model)}
                return result(ts.open(spec, kvstore=store, create=True))
        array = result(ts.open(ZARR, kvstore=store))
        if by_model and array.shape[0] < shape[0]:
            array = result(array.resize(exclusive_max=shape, expand_only=True))
        return array

    def write(self, models: Sequence[int], total: int, name: str, rows: np.ndarray) -> dict:
        """Writes rows of models into an array `[total, ...]`, and gives their digests."""
        try:
            array = self.create(name, (total, *rows.shape[1:]), rows.dtype.name)
            self.folder.result(array[np.asarray(models)].write(rows))
        except (ValueError, OSError) as error:
            raise UnwritableError(f"cannot write {self.folder}/{name}: {reason(error)}") from error
        return {str(m): row_digest(row) for m, row in zip(models, rows, strict=True)}

    def write_fixed(self, name: str, values: np.ndarray) -> str:
        """Writes an array without a model axis, unless it is there already; gives its digest."""
        digest = row_digest(values)
        with contextlib.suppress(ValueError, OSError):
            if self.has(name) and row_digest(self.read(name)) == digest:
                return digest
        try:
            self.folder.remove(f"{name}/zarr.json")
            array = self.create(name, values.shape, values.dtype.name, by_model=False)
            self.folder.result(array.write(values))
        except (ValueError, OSError) as error:
            raise UnwritableError(f"cannot write {self.folder}/{name}: {reason(error)}") from error
        return digest

    def mend(self, name: str, total: int, kind: dict[str, Any]) -> str | None:
        """Writes an array's description again if it is not the one that `kind` tells.

        The rows stay as they are. Gives a line where something was mended.
        """
        shape = (total, *kind["shape"])
        description = self._metadata(name, shape, kind["dtype"], True)
        file = f"{name}/zarr.json"
        try:
            present = json.loads(self.folder.read(file))
            present = {k: present[k] for k in description} | {
                "shape": [total, *present["shape"][1:]]
            }
            if present == description and self.open(name).shape[0] >= total:
                return None
        except (ValueError, KeyError, TypeError, IndexError, OSError):
            pass
        self.folder.remove(file)
        self.create(name, shape, kind["dtype"])
        return f"{self.folder.name}/{file}: is broken, and was written again"

    def digests(self, name: str, models: Sequence[int]) -> dict[int, str]:
        """The digests of rows as they lie there; a panel of columns is held at a time."""
        return self._copied(self.open(name), models, lambda start, panel: None)

    def flatten(self, name: str, models: int, file: Path) -> dict[int, str]:
        """Writes the first models' rows as a .npy file, row after row, and gives their digests.

        A chunk is decoded once, whatever is read of the file later, and by whom in which order.
        """
        array, digests = self.open(name), {}
        shape, dtype = (models, *array.shape[1:]), array.dtype.numpy_dtype
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        with open(file, "wb") as out:
            np.lib.format.write_array_header_1_0(out, {**header, "shape": shape})
            out.flush()
            first, width = out.tell(), int(np.prod(shape[2:])) * dtype.itemsize
            for start in range(0, models, self.block):
                rows = range(start, min(start + self.block, models))

                def put(column: int, panel: np.ndarray, rows: range = rows) -> None:
                    for m, row in zip(rows, panel, strict=True):
                        place = first + (m * shape[1] + column) * width
                        write_at(out.fileno(), row, place)

                digests |= self._copied(array, rows, put)
        return digests

    def _copied(
        self, array: Any, models: Sequence[int], put: Callable[[int, np.ndarray], None]
    ) -> dict[int, str]:
        """The digests of rows that are put elsewhere, each panel at its first column."""
        rows, sums = np.asarray(models), [hashlib.sha256() for _ in models]
        for at in self._panels(array, len(rows)):
            panel = np.ascontiguousarray(self.folder.result(array[rows, at].read()))
            for total, row in zip(sums, panel, strict=True):
                total.update(row)
            put(at.start, panel)
        return {int(m): s.hexdigest()[:32] for m, s in zip(models, sums, strict=True)}

    def _panels(self, array: Any, rows: int) -> Iterator[slice]:
        width = array.chunk_layout.read_chunk.shape[1]
        bytes_ = rows * int(np.prod(array.shape[2:])) * array.dtype.numpy_dtype.itemsize
        many = max(1, PANEL_BYTES // max(1, bytes_ * width)) * width
        for start in range(0, array.shape[1], many):
            yield slice(start, min(start + many, array.shape[1]))


def kind_of(rows: np.ndarray) -> dict[str, Any]:
    """What `mend` needs to know of an array: its dtype, and its shape but for the models."""
    return {"dtype": rows.dtype.name, "shape": list(rows.shape[1:])}
