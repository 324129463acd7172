"""What a run needs of the place that it is kept in: whole contents by name, locks, arrays."""

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Hold(AbstractContextManager, Protocol):
    """Something that one process alone works on."""

    def check(self) -> None:
        """Raises `LockHeldError` if another process has taken it over."""
        ...


@runtime_checkable
class Folder(Protocol):
    """Contents by name, each whole or absent; names have `/` between their parts.

    What cannot be written raises `UnwritableError`; a store that gives no answer raises
    `UnreachableError`, which is never taken for damage.
    """

    @property
    def name(self) -> str:
        """The last part of where it is."""
        ...

    def under(self, name: str) -> "Folder":
        """The folder of that name in this one; it need not be there."""
        ...

    def check(self, *names: str) -> None:
        """Raises `UnwritableError` if nothing could be written here or under these names."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a content, or such a folder."""
        ...

    def names(self) -> list[str]:
        """What lies directly in it, contents and folders, in order; none if it is not there."""
        ...

    def read(self, name: str) -> bytes:
        """A content; raises `FileNotFoundError`."""
        ...

    def open(self, name: str) -> io.BufferedIOBase:
        """A content to be read in parts; raises `FileNotFoundError`."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """A content, whatever was there."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Writes where no content is, of all who try one alone; whether it did."""
        ...

    def replace(self, name: str, old: bytes | None, new: bytes) -> bool:
        """Writes where the content is `old` (None: where none is), under a lock; whether it did."""
        ...

    def append(self, name: str, line: str) -> None:
        """Adds a line to a text."""
        ...

    def remove(self, name: str = "") -> None:
        """Removes a content, or a folder with all that is in it; nothing where it is absent."""
        ...

    def lock(self, name: str, what: str, doing: str) -> Hold:
        """Takes a lock; raises `LockHeldError` if a living process has it."""
        ...

    def kvstore(self, name: str) -> Any:
        """A folder in it as a TensorStore `KvStore`."""
        ...

    def result(self, future: Any) -> Any:
        """What a future of an array gives; raises what TensorStore raises for what is not sound."""
        ...

    def packing(self, name: str) -> AbstractContextManager[Path]:
        """Where a tree of files is to be made on this machine, which then is the content."""
        ...

    def unpacked(self, name: str) -> AbstractContextManager[Path]:
        """Such a tree of files, on this machine."""
        ...

    def publishing(self) -> AbstractContextManager[Path]:
        """Where scores, summary and report are written on this machine; then they are here."""
        ...
