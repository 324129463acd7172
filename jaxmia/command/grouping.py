"""Columns by which `jaxmia score` tells exposure apart: an .npz of plain arrays `[N]`."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxmia.data import fields


def groups_of(file: Path | None, count: int) -> dict[str, np.ndarray]:
    """The group of each of `count` examples under each column's name; empty without a file.

    Raises `FileNotFoundError` or `ValueError` for what is no such file.
    """
    if file is None:
        return {}
    if not file.is_file():
        raise FileNotFoundError(f"--groups: {file} is no file")
    try:
        with np.load(file, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged header raises whatever its parser does
        what = " ".join(str(error).split())
        raise ValueError(
            f"--groups: {file} cannot be read as an .npz of plain arrays ({what:.200})"
        ) from error
    if not columns:
        raise ValueError(f"--groups: {file} holds no column")
    source = f"--groups: {file.name}"
    return {name: fields.group(source, name, v, count) for name, v in columns.items()}


def save(file: Path, groups: Mapping[str, np.ndarray]) -> None:
    """Writes what `groups_of` reads, whatever the columns are called."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, column in groups.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asarray(column), allow_pickle=False)
