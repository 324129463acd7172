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
    """Reference models whose signals and membership stay on disk; what else is known of them."""

    phi: Source
    member: Source
    margin: Source | None = None
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
    margin, y = _source(store, "margin", models, folder), store.read("y")
    if phi is None or member is None:
        raise ValueError(f"{store.folder}: phi cannot be read; run the experiment again")
    doubts = [] if margin is None or y is None else _doubts(margin, member, y)
    return References(phi, member, margin, y, doubts)


def _source(store: Store, name: str, models: int, folder: Path) -> Source | None:
    """A flat copy of what was taken of the models; None if it was not."""
    file = folder / f"{name}.npy"
    return Source(name, file, "fb", (2, 3)) if store.flatten(name, models, file) else None


def _doubts(margin: Source, member: Source, y: np.ndarray) -> list[str]:
    """What the margins say of the models; some rows at a time."""
    models, examples = member.shape
    parts = (
        evidence.answers(margin.rows(at), member.rows(at), y)
        for at in panels(models, 4 * examples, ROW_BYTES)
    )
    return evidence.of_answers(reduce(add, parts), y)
