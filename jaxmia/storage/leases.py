"""Locks in an object store: leases that are renewed, and a number that tells late writers off.

Who takes a lease writes it only where it is still what he read, with the next number. What he
writes later is conditional, too (`Bucket.replace`), and made after a look at the lease: a holder
who was thought dead, and wakes up, is refused. A lease that was given back stays, for its number.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

from jaxmia.storage.files import UnreachableError, UnwritableError
from jaxmia.storage.locks import STALE, LockHeldError, start_of

BEAT = STALE / 20  # seconds between two signs of life
WATCH = 2 * BEAT  # seconds for which a stale lease is watched: clocks of two machines may differ
LOOK = 1.0  # seconds between two looks at it
UNKNOWN = (ValueError, KeyError, TypeError, AttributeError)  # of what is no lease


@runtime_checkable
class Objects(Protocol):
    """Where a lease is kept."""

    def read(self, name: str) -> bytes:
        """An object; raises `FileNotFoundError`."""
        ...

    def replace(self, name: str, old: bytes | None, new: bytes) -> bool:
        """Writes where the object is `old` (None: where none is); whether it did."""
        ...


class Lease:
    """An object that names who works on something, and is renewed while he lives."""

    def __init__(self, objects: Objects, name: str, what: str, doing: str) -> None:
        """Takes the lease; raises `LockHeldError` if a living process has it."""
        self.objects, self.name, self.what, self.doing = objects, name, what, doing
        self.holder: dict[str, Any] = {
            "host": socket.gethostname(),
            "machine": machine(),
            "pid": os.getpid(),
            "started": start_of(os.getpid()),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "token": os.urandom(8).hex(),
        }
        self._released = threading.Event()
        while True:
            there = self._content()
            self.holder["number"] = self._last(there) + 1
            if self._claim(there):
                break
        threading.Thread(target=self._beat, daemon=True).start()

    def _claim(self, there: bytes | None) -> bool:
        try:
            return self.objects.replace(self.name, there, self._signed())
        except (UnwritableError, UnreachableError):
            self.release()  # it may have been written, and only its answer be lost
            raise

    def _content(self) -> bytes | None:
        try:
            return self.objects.read(self.name)
        except FileNotFoundError:
            return None

    def _signed(self, **more: Any) -> bytes:
        return json.dumps({**self.holder, "beat": time.time(), **more}).encode()

    def _last(self, content: bytes | None) -> int:
        """The number of a lease that is free; raises `LockHeldError` if its holder lives."""
        if content is None:
            return 0
        try:
            lease = json.loads(content)
            number = int(lease["number"])
            free = bool(lease.get("released")) or _is_dead(lease)
            words = f"process {lease['pid']} on {lease['host']}, since {lease['since']}"
        except UNKNOWN:
            number, free, words = 0, None, "an unknown process"
        if free is None:
            free = self._rests(content)
        if not free:
            raise LockHeldError(f"{self.what} is being {self.doing} by {words}")
        return number

    def _rests(self, content: bytes) -> bool:
        """Whether a lease shows no sign of life while it is watched."""
        end = time.monotonic() + WATCH
        while time.monotonic() < end:
            time.sleep(LOOK)
            if self._content() != content:
                return False
        return True

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def _mine(self) -> bytes | None:
        """The lease as it is there, if it is this process's."""
        content = self._content()
        with suppress(*UNKNOWN):
            lease = json.loads(content or b"")
            if lease["token"] == self.holder["token"] and not lease.get("released"):
                return content
        return None

    def check(self) -> None:
        """Raises `LockHeldError` if another process has taken it over."""
        if self._mine() is None:
            raise LockHeldError(f"{self.what} was taken over by another process meanwhile")

    def refresh(self) -> None:
        """Says that the holder is alive; what the store does not take is said again later."""
        with suppress(UnwritableError, UnreachableError):
            if there := self._mine():
                self.objects.replace(self.name, there, self._signed())

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            self.refresh()

    def release(self) -> None:
        """Gives the lease back, if it is still this process's."""
        self._released.set()
        with suppress(UnwritableError, UnreachableError):
            while there := self._mine():
                if self.objects.replace(self.name, there, self._signed(released=True)):
                    return


def machine() -> str:
    """What tells processes apart that have the same number: the boot, and the space of numbers."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _is_dead(lease: dict[str, Any]) -> bool | None:
    """Whether a holder is gone; None where only watching him can tell."""
    if lease["machine"] == machine():
        return start_of(int(lease["pid"])) != lease["started"]
    return False if abs(time.time() - float(lease["beat"])) < STALE else None
