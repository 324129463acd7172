"""Locks that name their holder, survive his death, and work on a shared folder."""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from jaxmia.storage.files import UnwritableError, write_bytes

STALE = 600.0  # seconds without a sign of life, after which a lock of another host is taken over


class LockHeldError(RuntimeError):
    """Something is being worked on by another process."""


class Lock:
    """A file that names who works on something, made by an atomic link, taken over by a rename."""

    def __init__(self, file: Path, what: str = "", doing: str = "held") -> None:
        """Takes the lock; raises `LockHeldError` if a living process has it.

        A thread says every half minute that the holder is alive, however long an epoch takes.
        """
        self.file, self.what, self.doing = file, what or file.stem, doing
        self.holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": start_of(os.getpid()),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "token": os.urandom(8).hex(),
        }
        beside = file.with_name(f".{file.name}.{self.holder['token']}")
        write_bytes(beside, json.dumps(self.holder).encode())
        try:
            while not self._linked(beside) and not self._taken_over(beside):
                pass
        except OSError as error:
            raise UnwritableError(f"cannot write {file}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
        self._released = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def _linked(self, beside: Path) -> bool:
        try:
            os.link(beside, self.file)
            return True
        except FileExistsError:
            return False

    def _taken_over(self, beside: Path) -> bool:
        """Replaces a dead holder's file; false if it is gone; `LockHeldError` if he lives."""
        with _one_at_a_time(self.file.parent):
            try:
                holder = _living(self.file)
            except FileNotFoundError:
                return False
            if holder:
                raise LockHeldError(f"{self.what} is being {self.doing} by {holder}")
            os.replace(beside, self.file)
            return True

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def refresh(self) -> None:
        """Says that the holder is alive."""
        with contextlib.suppress(OSError):
            os.utime(self.file)

    def _beat(self) -> None:
        while not self._released.wait(STALE / 20):
            self.refresh()

    def _is_mine(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self.file.read_text())["token"] == self.holder["token"]
        return False

    def check(self) -> None:
        """Raises `LockHeldError` if another process has taken it over."""
        if not self._is_mine():
            raise LockHeldError(f"{self.what} was taken over by another process meanwhile")

    def release(self) -> None:
        """Gives the lock back, if it is still this process's."""
        self._released.set()
        if self._is_mine():
            with contextlib.suppress(OSError):
                self.file.unlink()


def holder(file: Path) -> str | None:
    """Who holds a lock, in words; None if nobody alive does."""
    try:
        return _living(file)
    except OSError:
        return None


def clear(file: Path) -> None:
    """Removes a lock that a process left behind when it was killed."""
    if file.exists():
        with _one_at_a_time(file.parent), contextlib.suppress(FileNotFoundError):
            if not _living(file):
                file.unlink()


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Makes looking at a lock and changing it one step for all who try.

    The lock of the kernel on `.takeover` ends with the process that holds it.
    """
    with open(folder / ".takeover", "wb") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def _living(file: Path) -> str | None:
    content, age = file.read_bytes(), time.time() - file.stat().st_mtime
    try:
        holder = json.loads(content)
        host, pid, started = holder["host"], int(holder["pid"]), holder["started"]
    except (ValueError, KeyError, TypeError):
        return "an unknown process" if age < STALE else None
    if host == socket.gethostname():
        alive = pid > 0 and started is not None and start_of(pid) == started
    else:
        alive = age < STALE
    return f"process {pid} on {host}, since {holder.get('since')}" if alive else None


def start_of(pid: int) -> str | None:
    """When a process of this machine started, by its own clock; None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return None if fields[0] in "ZX" else fields[19]  # dead, and not yet buried
    except (OSError, IndexError):
        if Path("/proc/self").exists():
            return None
    try:
        os.kill(pid, 0)
        return "alive"
    except ProcessLookupError:
        return None
    except PermissionError:
        return "alive"
