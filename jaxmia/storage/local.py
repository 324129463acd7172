"""A folder of this machine, or of a file system that several share: hard links, renames, locks."""

import contextlib
import io
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxmia.storage.files import UnwritableError, writable, write_bytes
from jaxmia.storage.locks import Lock


@dataclass(frozen=True)
class LocalFolder:
    """A `Folder` of files; arrays never lead out of `root`, the run's own, by a symbolic link."""

    path: Path
    root: Path | None = None

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    def under(self, name: str) -> "LocalFolder":
        """A folder in it."""
        return LocalFolder(self.path / name, self.root or self.path)

    def check(self, *names: str) -> None:
        """Raises `UnwritableError` for what could not be made; makes nothing."""
        writable(self.path, *(self.path / name for name in names))

    def has(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.path / name).exists()

    def names(self) -> list[str]:
        """Files and folders in it."""
        return sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else []

    def read(self, name: str) -> bytes:
        """A file."""
        return (self.path / name).read_bytes()

    def open(self, name: str) -> io.BufferedIOBase:
        """A file, to be read."""
        return open(self.path / name, "rb")

    def write(self, name: str, content: bytes) -> None:
        """A file, by a rename."""
        write_bytes(self.path / name, content)

    def create(self, name: str, content: bytes) -> bool:
        """By a hard link."""
        file = self.path / name
        beside = file.with_name(f".{file.stem}.{socket.gethostname()}.{os.getpid()}")
        write_bytes(beside, content)
        try:
            os.link(beside, file)
            return True
        except FileExistsError:
            return False
        finally:
            beside.unlink()

    def replace(self, name: str, old: bytes | None, new: bytes) -> bool:
        """By a rename; that nobody else does it at the same moment is the lock's matter."""
        there = None
        with contextlib.suppress(FileNotFoundError):
            there = self.read(name)
        if there != old:
            return False
        self.write(name, new)
        return True

    def append(self, name: str, line: str) -> None:
        """At the end of a file."""
        try:
            with open(self.path / name, "a") as out:
                out.write(line + "\n")
        except OSError as error:
            raise UnwritableError(f"cannot write {self.path / name}: {error.strerror}") from error

    def remove(self, name: str = "") -> None:
        """A file, or a folder; what cannot be removed stays."""
        place = self.path / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                place.unlink()

    def lock(self, name: str, what: str, doing: str) -> Lock:
        """A file that names its holder."""
        return Lock(self.path / name, what, doing)

    def kvstore(self, name: str) -> Any:
        """A folder in it; raises `ValueError` for one that leads out of the run's."""
        import tensorstore as ts

        place, root = self.path / name, self.root or self.path
        if not place.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{place}: leads out of the run folder")
        return ts.KvStore.open({"driver": "file", "path": str(place) + "/"}).result()

    def result(self, future: Any) -> Any:
        """What it gives."""
        return future.result()

    @contextlib.contextmanager
    def packing(self, name: str) -> Iterator[Path]:
        """The place itself, emptied."""
        place = (self.path / name).absolute()
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            shutil.rmtree(place)
        yield place

    @contextlib.contextmanager
    def unpacked(self, name: str) -> Iterator[Path]:
        """The place itself."""
        yield (self.path / name).absolute()

    @contextlib.contextmanager
    def publishing(self) -> Iterator[Path]:
        """The folder itself."""
        yield self.path
