"""This machine: versions, devices, the revision of the code, cores, memory, the cache folder."""

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import jax

PACKAGES = ("jaxmia", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# by controllers, as the kernel names them (version 2: ""): folder; limit, usage, cached files
LIMITS = {
    "": ("", "memory.max", "memory.current", "inactive_file"),
    "memory": (
        "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
    ),
}  # fmt: skip


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
    """Bytes of memory that nobody uses, and that this process may have.

    Containers, Slurm and Kubernetes may give it less than the machine has, by control groups.
    """
    return max(0, min([_free_of_machine(), *_free_of_groups()]))


def _free_of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(w.split()[1]) * 1024 for w in lines if w.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _free_of_groups() -> Iterator[int]:
    """What each of this process's control groups leaves it, the groups above them too."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in LIMITS:
            root, *files = LIMITS[controllers]
            names = [name for name in path.split("/") if name not in ("", "..")]
            for above in range(len(names) + 1):
                yield from _free_of_group(GROUPS.joinpath(root, *names[:above]), *files)


def _free_of_group(folder: Path, limit: str, usage: str, cached: str) -> Iterator[int]:
    """What a group leaves, if it has a limit: files that were read are given back at need."""
    try:
        most, used = (int((folder / name).read_text()) for name in (limit, usage))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        yield most - used + int(stat.get(cached, 0))
    except (OSError, ValueError):  # no such group, or no limit: "max"
        return
