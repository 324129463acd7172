"""A folder of an object store (S3, Google Cloud Storage), by TensorStore's drivers for them.

There are no renames and no links: a content is made by a conditional write (`If-None-Match: *`,
generation 0), and replaced where it is still what it was (`If-Match`, its generation).
"""

import contextlib
import io
import itertools
import os
import re
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxmia.storage.files import UnreachableError, UnwritableError, reason
from jaxmia.storage.leases import Lease

LARGEST = 5 << 30  # bytes of one request, as S3 and GCS take them
RACERS = 6  # writers of one content at the same moment, of whom a sound store lets one win
SUMMARY = "summary.json"  # arrives last: where it is, the report is whole
# TensorStore says the same of a store that gives no answer and of one that denies it
SILENT = re.compile(r"(ABORTED|UNAVAILABLE|DEADLINE_EXCEEDED|UNAUTHENTICATED|INTERNAL|UNKNOWN)\b")


class Bucket:
    """A `Folder` whose contents are objects of one prefix."""

    def __init__(self, store: Any, url: str) -> None:
        """`store` is a TensorStore `KvStore`; `url` is what messages call it."""
        self.store, self.url = store, url

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the prefix."""
        return self.url.rpartition("/")[2]

    def under(self, name: str) -> "Bucket":
        """Objects of a longer prefix."""
        return type(self)(self.store / f"{name}/", f"{self.url}/{name}")

    def check(self, *names: str) -> None:
        """Raises `UnwritableError` for a store that cannot be written to, or lets two create.

        Whose content is there did create it, also where the answer was lost and the repeated
        request found it made.
        """
        probe = f".experiment.{os.urandom(8).hex()}"
        try:
            absent = self.store.read(probe).result().stamp.generation
            racers = [
                self.store.write(probe, str(i).encode(), if_equal=absent) for i in range(RACERS)
            ]
            winners = {i for i, racer in enumerate(racers) if racer.result().generation != b""}
            there = self.store.read(probe).result()
        except ValueError as error:
            raise UnwritableError(f"cannot write {self.url}: {reason(error)}") from error
        self.remove(probe)
        winners |= {int(there.value)} if there.state == "value" else set()
        if len(winners) != 1:
            raise UnwritableError(
                f"cannot write {self.url}: the store lets {len(winners)} of {RACERS} writers "
                "create one object; a store with conditional writes is needed"
            )

    def has(self, name: str) -> bool:
        """Whether there is such an object."""
        return bool(self._listed(name, f"{name}\0"))

    def names(self) -> list[str]:
        """The first parts of the objects' names."""
        return sorted({key.partition("/")[0] for key in self._listed("", "")})

    def _listed(self, first: str, end: str) -> list[str]:
        import tensorstore as ts

        keys = self._answer(self.store.list(ts.KvStore.KeyRange(first, end)))
        return [key.decode() for key in keys]

    def read(self, name: str) -> bytes:
        """An object; raises `FileNotFoundError`."""
        answer = self._answer(self.store.read(name))
        if answer.state != "value":
            raise FileNotFoundError(f"{self.url}/{name}: there is no such object")
        return answer.value

    def open(self, name: str) -> io.BufferedIOBase:
        """An object, held in memory."""
        return io.BytesIO(self.read(name))

    def write(self, name: str, content: bytes) -> None:
        """An object, whatever was there."""
        if len(content) > LARGEST:
            raise UnwritableError(
                f"cannot write {self.url}/{name}: its {len(content):,} bytes are more than an "
                f"object may have in one request ({LARGEST:,})"
            )
        self._put(name, content)

    def create(self, name: str, content: bytes) -> bool:
        """By a conditional write."""
        return self.replace(name, None, content)

    def replace(self, name: str, old: bytes | None, new: bytes) -> bool:
        """By a conditional write; one that was repeated because its answer was lost did it, too."""
        answer = self._answer(self.store.read(name))
        if (answer.value if answer.state == "value" else None) != old:
            return False
        if self._put(name, new, if_equal=answer.stamp.generation).generation != b"":
            return True
        with contextlib.suppress(FileNotFoundError):
            return self.read(name) == new
        return False

    def _put(self, name: str, content: bytes | None, **condition: bytes) -> Any:
        try:
            return self.store.write(name, content, **condition).result()
        except ValueError as error:
            raise UnwritableError(f"cannot write {self.url}/{name}: {reason(error)}") from error

    def append(self, name: str, line: str) -> None:
        """By replacing the whole, again where another was faster."""
        for attempt in itertools.count():
            try:
                old = self.read(name)
            except FileNotFoundError:
                old = None
            if self.replace(name, old, (old or b"") + line.encode() + b"\n"):
                return
            time.sleep(min(5.0, 0.05 * 2**attempt) * (0.5 + os.urandom(1)[0] / 256))

    def remove(self, name: str = "") -> None:
        """An object, and all whose names go on after it by `/`."""
        import tensorstore as ts

        if name:
            self._put(name, None)
        end = (f"{name}/", f"{name}0") if name else ("", "")
        self._answer(self.store.delete_range(ts.KvStore.KeyRange(*end)))

    def lock(self, name: str, what: str, doing: str) -> Lease:
        """A lease."""
        return Lease(self, name, what, doing)

    def kvstore(self, name: str) -> Any:
        """The objects of a longer prefix."""
        return self.store / f"{name}/"

    def result(self, future: Any) -> Any:
        """What it gives; raises `UnreachableError` where that is not known."""
        return self._answer(future)

    def _answer(self, future: Any) -> Any:
        try:
            return future.result()
        except ValueError as error:
            if SILENT.match(str(error)) or "http_response_code" in str(error):
                raise UnreachableError(f"cannot reach {self.url}: {reason(error)}") from error
            raise

    @contextlib.contextmanager
    def packing(self, name: str) -> Iterator[Path]:
        """A temporary folder, which becomes one object in tar's format."""
        with tempfile.TemporaryDirectory() as place:
            yield Path(place) / "tree"
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as archive:
                archive.add(Path(place) / "tree", "tree")
            self.write(name, packed.getvalue())

    @contextlib.contextmanager
    def unpacked(self, name: str) -> Iterator[Path]:
        """A temporary folder; an object that is no such archive leaves it empty."""
        with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
            packed = stack.enter_context(self.open(name))
            with contextlib.suppress(tarfile.TarError, EOFError, OSError):
                with tarfile.open(fileobj=packed) as archive:
                    archive.extractall(place, filter="data")
            yield Path(place) / "tree"

    @contextlib.contextmanager
    def publishing(self) -> Iterator[Path]:
        """A temporary folder, whose files become objects; the summary goes first and comes last."""
        with tempfile.TemporaryDirectory() as place:
            yield Path(place)
            self.remove(SUMMARY)
            self.remove("report")
            files = [p for p in Path(place).rglob("*") if p.is_file()]
            for file in sorted(files, key=lambda p: (p.name == SUMMARY, p)):
                self.write(file.relative_to(place).as_posix(), file.read_bytes())
