"""Files that are whole or absent, and JSON that vouches for itself by a digest."""

import contextlib
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

SEAL = "sha256"


class UnwritableError(OSError):
    """The run folder could not be written: the disk is full, or the folder is read-only."""


class UnreachableError(RuntimeError):
    """An object store gave no answer, or none to this user: what it holds is not known."""


def reason(error: Exception) -> str:
    """What went wrong, in one line, without the settings that TensorStore adds."""
    return " ".join(re.split(r" \[\w+=", str(error))[0].split())[:400]


def writable(*folders: Path) -> None:
    """Raises `UnwritableError` for a folder that could not be made or written into; makes none.

    It is told by the nearest one above it that is there.
    """
    for folder in folders:
        there = next((p for p in (folder, *folder.parents) if p.exists()), Path())
        if not there.is_dir():
            raise UnwritableError(f"cannot write {folder}: {there} is no folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise UnwritableError(f"cannot write {folder}: {there} is not writable")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A whole file or none: written beside its place, then renamed.

    Raises `UnwritableError`, naming file and reason; an older file stays as it was.
    """
    beside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        if not isinstance(error, OSError):
            raise
        raise UnwritableError(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """The same with all its bytes at once."""
    with writing(path) as out:
        out.write(content)


def as_json(content: Any) -> bytes:
    """JSON as a file holds it."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def write_json(path: Path, content: Any) -> None:
    """JSON, atomically."""
    write_bytes(path, as_json(content))


def read_json(path: Path) -> Any:
    """JSON from a file; raises `ValueError` if it is absent or broken."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The content and its digest; what JSON does not tell apart is made equal first."""
    plain = json.loads(json.dumps({k: v for k, v in content.items() if k != SEAL}))
    return plain | {SEAL: _digest(plain)}


def unsealed(text: bytes, required: bool = True) -> dict[str, Any]:
    """What was `sealed`, of its JSON, without the seal.

    Raises `ValueError` for anything else; a text without a seal is taken unless one is `required`.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("is no JSON object")
    digest = content.pop(SEAL, None)
    if digest is None and required:
        raise ValueError("has no digest")
    if digest is not None and digest != _digest(content):
        raise ValueError("does not match its digest")
    return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
