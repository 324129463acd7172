"""Which processes of one program are still at work on a run, told by files: the first goes last.

The others meet at the first (`training.processes`), and are ended when it ends. Each holds a lock
while it is at work; what tells one that has gone from one that has not come yet is a mark.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxmia.storage.locks import Lock, clear, holder

ABSENT = 300.0  # seconds after which one that never came is taken for dead
POLL = 0.05


@contextlib.contextmanager
def first(run: Path, processes: int) -> Iterator[None]:
    """The presence of process 0, which ends once every other process has gone or died.

    Raises `LockHeldError` if another process 0 is at work.
    """
    others = range(1, processes)
    for process in others:
        _forget(run, process)  # of an earlier program
    with _presence(run, 0):
        try:
            yield
        finally:
            start = time.time()
            while any(holder(_lock(run, p)) or _to_come(run, p, start + ABSENT) for p in others):
                time.sleep(POLL)
            for process in others:
                _forget(run, process)


@contextlib.contextmanager
def other(run: Path, process: int, leave: Callable[[], None]) -> Iterator[None]:
    """The presence of one of the others, which ends with a call of `leave`.

    Raises `LockHeldError` if another process of its number is at work.
    """
    with _presence(run, process):
        try:
            yield
        finally:
            start = time.time()
            while not holder(_lock(run, 0)) and time.time() - start < ABSENT:
                time.sleep(POLL)  # the first may be about to clear the marks
            leave()
            with contextlib.suppress(OSError):
                _mark(run, process).touch()


def _presence(run: Path, process: int) -> Lock:
    return Lock(_lock(run, process), f"process {process} of this program", "run")


def _forget(run: Path, process: int) -> None:
    """Removes what says that a process has gone, or died."""
    with contextlib.suppress(OSError):  # what cannot be written is told where it is written
        clear(_lock(run, process))
        _mark(run, process).unlink(missing_ok=True)


def _to_come(run: Path, process: int, until: float) -> bool:
    return time.time() < until and not (
        _lock(run, process).exists() or _mark(run, process).exists()
    )


def _lock(run: Path, process: int) -> Path:
    return run / "blocks" / f"process-{process:04d}.lock"


def _mark(run: Path, process: int) -> Path:
    return run / "blocks" / f"process-{process:04d}.gone"
