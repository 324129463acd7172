"""oneDNN made callable from XLA's CPU programs: compiled once for this machine, tried, and kept.

The extra `jaxmia[cpu]` brings oneDNN; the machine's compiler builds `onednn.cc` on it, in seconds,
when a plan first could use it, and a process of its own tries every product. Library and verdict
lie in the cache folder under a name made of all that they depend on: a new version, a changed
source or another processor gets its own.
"""

import contextlib
import ctypes
import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata, resources
from pathlib import Path
from typing import NamedTuple

import jax

from jaxmia.machine import cache_folder
from jaxmia.storage.files import reason, write_json

TARGETS = ("jaxmia_product", "jaxmia_layer", "jaxmia_layer_gradient")
PATIENCE = 240  # seconds that compiling may take, and so may trying
_LIBRARY = ("onednn-cpu-gomp", "libdnnl.so")
_HEADERS = ("onednn-devel-cpu-gomp", "oneapi/dnnl/dnnl.hpp")
_SOURCES = ("onednn.h", "onednn.cc", "passes.h", "layer.cc")
_OPTIONS = ("-O3", "-march=native", "-std=c++17", "-w", "-fPIC", "-shared", "-fopenmp")


class Native(NamedTuple):
    """The library, registered with XLA; None where there is none, and why in one line."""

    library: ctypes.CDLL | None
    reason: str


def installed() -> bool:
    """Whether the extra `jaxmia[cpu]` is here; compiles nothing."""
    return bool(_file(*_LIBRARY) and _file(*_HEADERS))


@functools.cache
def native() -> Native:
    """The library: taken from the cache folder, or built, tried and put there."""
    if not installed():
        return Native(None, "not installed (on Linux x86-64: pip install 'jaxmia[cpu]')")
    try:
        where = cache_folder() / "native" / f"{_name()}.so"
        verdict = _verdict(where)
        if verdict is None:
            verdict = _built(where)
        return Native(None, verdict) if verdict else Native(load(where), str(where))
    except (OSError, subprocess.SubprocessError) as error:
        return Native(None, reason(error))


def needed() -> ctypes.CDLL:
    """The library; raises `ValueError` where there is none."""
    library, why = native()
    if library is None:
        raise ValueError(
            f"convolution='onednn' is not ready on this machine: {why}; a run that was begun with "
            "it goes on only where it is"
        )
    return library


def load(where: Path) -> ctypes.CDLL:
    """Makes a library's products known to XLA."""
    library = ctypes.CDLL(str(where))
    library.jaxmia_scratch.restype = ctypes.c_int64
    library.jaxmia_layer_scratch.restype = ctypes.c_int64
    for target in TARGETS:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(library[target]), platform="cpu")
    return library


@functools.cache
def processor() -> str:
    """The processor's name and instructions, as Linux tells them."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        return "\n".join(w for w in lines if w.startswith(("model name", "flags")))
    return platform.machine()


def _file(package: str, name: str) -> Path | None:
    """A file that a package has put wherever its installer puts such files."""
    try:
        files = metadata.distribution(package).files or ()
    except metadata.PackageNotFoundError:
        return None
    where = (Path(str(f.locate())).resolve() for f in files if f"/{f}".endswith(f"/{name}"))
    return next((p for p in where if p.exists()), None)


def _sources() -> dict[str, bytes]:
    return {n: resources.files(__package__).joinpath(n).read_bytes() for n in _SOURCES}


def _name() -> str:
    versions = [metadata.version(p) for p in ("jaxlib", _LIBRARY[0], _HEADERS[0])]
    facts = [str(_file(*_LIBRARY)), *versions, *_OPTIONS, processor()]
    tried_by = resources.files(__package__).joinpath("trial.py").read_bytes()
    content = "\n".join(facts).encode() + b"".join((*_sources().values(), tried_by))
    return hashlib.sha256(content).hexdigest()[:24]


def _verdict(where: Path) -> str | None:
    """What was found wrong with a library, "" if nothing; None if it was not tried yet."""
    try:
        verdict = json.loads(where.with_suffix(".json").read_text())["wrong"]
        return verdict if verdict or where.exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _built(where: Path) -> str:
    """Builds and tries a library beside its place, then renames it: what was wrong, or "".

    Two processes may do so at once; the later of two equal libraries stays. Only what would go
    wrong again is written down.
    """
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        return "no C++ compiler (c++, g++, clang++) on the PATH"
    library, header = _file(*_LIBRARY), _file(*_HEADERS)
    assert library is not None and header is not None
    where.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=where.parent) as folder:
        candidate = Path(folder) / where.name
        for name, content in _sources().items():
            (Path(folder) / name).write_bytes(content)
        units = [str(Path(folder) / n) for n in _SOURCES if n.endswith(".cc")]
        wrong = _ran(
            compiler, *_OPTIONS, f"-I{jax.ffi.include_dir()}", f"-I{header.parents[2]}",
            *units, "-o", str(candidate), str(library), f"-Wl,-rpath,{library.parent}",
        )  # fmt: skip
        if not wrong:
            wrong = _ran(sys.executable, "-m", "jaxmia.models.trial", str(candidate))
        if not wrong:
            os.replace(candidate, where)
    write_json(where.with_suffix(".json"), {"wrong": wrong})
    return wrong


def _ran(*command: str) -> str:
    """What a command complained about; "" if it did not fail."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    process = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
    )
    if not process.returncode:
        return ""
    lines = process.stderr.strip().splitlines() or ["nothing was said"]
    complaint = next((line for line in lines if "error" in line.lower()), lines[-1])
    return (
        f"{Path(command[0]).name} ended with status {process.returncode}: {complaint.strip()[:300]}"
    )
