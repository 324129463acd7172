"""This machine: versions, devices, the revision of the code, cores, memory, the cache folder."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import jax

PACKAGES = ("jaxmia", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions(more: Sequence[str] = ()) -> dict[str, str]:
    """The packages that a result depends on, and more."""
    out = {"python": platform.python_version()}
    for name in (*PACKAGES, *more):
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def device() -> str:
    """The kind and number of this process's devices."""
    devices = jax.local_devices()
    return f"{len(devices)} x {devices[0].device_kind}"


def revision() -> str | None:
    """The git revision of the code, with "+" if it was changed since; None outside a checkout."""
    here = Path(__file__).parent
    try:
        run = [
            subprocess.run(
                ["git", "-C", str(here), *words],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return run[0].strip() + ("+" if run[1].strip() else "")


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_folder() -> Path:
    """Where compiled programs and measured choices are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "jaxmia"


def free_memory() -> int:
    """Bytes of memory that nobody uses."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(w.split()[1]) * 1024 for w in lines if w.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
