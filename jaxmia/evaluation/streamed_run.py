"""The signals of a finished run, as flat files of which panels and rows are read, for a while."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxmia.evaluation import evidence
from jaxmia.evaluation.streamed_signals import ROW_BYTES
from jaxmia.evaluation.summary import Stage
from jaxmia.storage.files import UnwritableError
from jaxmia.storage.sources import Source, panels
from jaxmia.storage.store import Store


class References(NamedTuple):
    """Reference models whose phi and membership stay on disk; labels and doubts where known."""

    phi: Source
    member: Source
    y: Int[np.ndarray, " N"] | None = None
    doubts: Sequence[str] = ()
    """Sentences that say why the models are no evidence (`evidence.of_models`)."""


@contextlib.contextmanager
def of_run(
    store: Store, models: int, out: Path, stage: Stage = contextlib.nullcontext
) -> Iterator[References]:
    """A run's first models, each row compared with its digest; its files go at the end.

    They lie in a folder beside the scores that are made of them. Raises `ValueError` where signals
    are not what was written, `UnwritableError` where there is no room.
    """
    with contextlib.ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".signals.", dir=out))
            with stage("reading the run's signals"):
                run = _flat(store, models, Path(folder))
        except OSError as error:
            raise UnwritableError(f"cannot write {out}: {error.strerror or error}") from error
        yield run


def _flat(store: Store, models: int, folder: Path) -> References:
    phi, member = (_source(store, name, models, folder) for name in ("phi", "member"))
    y = store.read("y")
    return References(phi, member, y, [] if y is None else _doubts(store, member, y, folder))


def _source(store: Store, name: str, models: int, folder: Path) -> Source:
    file = folder / f"{name}.npy"
    if not store.flatten(name, models, file):
        raise ValueError(f"{store.folder}: {name} cannot be read; run the experiment again")
    return Source(name, file, "fb", (2, 3))


def _doubts(store: Store, member: Source, y: np.ndarray, folder: Path) -> list[str]:
    """What the margins say of the models, where they were taken; some rows at a time."""
    file, (models, examples) = folder / "margin.npy", member.shape
    if not store.flatten("margin", models, file):
        return []
    margin = Source("margin", file, "f", (2,))
    parts = (
        evidence.answers(margin.rows(at), member.rows(at), y)
        for at in panels(models, 4 * examples, ROW_BYTES)
    )
    counts = reduce(add, parts)
    file.unlink()
    return evidence.of_answers(counts, y)
