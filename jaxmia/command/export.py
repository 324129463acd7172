"""What a target trained elsewhere is queried on, as arrays: pool, labels, views, membership."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from jaxmia import augment, data
from jaxmia.storage.files import writable, write_bytes, write_json
from jaxmia.storage.run import Run
from jaxmia.types import Data
from jaxmia.values import factories, parse


@dataclass(frozen=True)
class Command:
    """Pool, labels, row order and query views as arrays, for a target trained elsewhere."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder."""
    out: Path
    """The folder to write x.npy, y.npy, views.npy, member.npy and order.json into."""
    data: Path | None = None
    """The .npz, where the run was made from one that has moved."""


def main(options: Command) -> None:
    """Writes them, and prints where."""
    writable(options.out)
    export(Run.open(options.run), options.out, options.data)
    print(options.out)


def pool_of(run: Run, file: Path | None = None) -> Data:
    """The data of a run, read again; `file` is the `.npz` of one whose data lay elsewhere.

    Raises `ValueError` if the data cannot be found again, or is no longer the pool of the run.
    """
    about, identity = run.experiment["about"], run.experiment["identity"]
    source: Any = data.arrays(str(file)) if file else parse(about["data"], factories(data), "data")
    pool = source()
    if data.digest(pool) != identity["pool"]:
        raise ValueError(f"{run.path}: {source!r} is not, or no longer, the pool of this run")
    return pool


def export(run: Run, out: Path, file: Path | None = None) -> list[Path]:
    """Writes `x.npy`, `y.npy`, `views.npy` [N, Q, ...], `member.npy` [M, N] and `order.json`.

    Views are of the values as stored; a network sees `(x - shift) / scale`. Row i of everything is
    example i. `file` is the `.npz` of a run whose data lay elsewhere. Raises `ValueError` if the
    data cannot be found again, or is no longer the pool of the run.
    """
    pool, identity = pool_of(run, file), run.experiment["identity"]
    views = parse(identity["views"], augment.VIEWS, "views")
    arrays = {
        "x": pool.x,
        "y": pool.y,
        "views": np.asarray(jax.vmap(views)(pool.x)),
        "member": run.member,
    }
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_bytes(out / f"{name}.npy", buffer.getvalue())
    order = {
        "pool": identity["pool"],
        "rows": "row i of x, y, views and member's columns is example i",
        "network_sees": "(x - shift) / scale",
        "shift": np.asarray(pool.shift).tolist(),
        "scale": np.asarray(pool.scale).tolist(),
    }
    write_json(out / "order.json", order)
    return [*(out / f"{name}.npy" for name in arrays), out / "order.json"]
