"""What a process does before JAX makes its devices."""

import functools
import os
from pathlib import Path

import jax

from jaxmia.machine import cores
from jaxmia.training import launcher
from jaxmia.training.launcher import Processes


def start(cache: Path | None = None) -> Processes:
    """Prepares this process, before JAX has made its devices: call it first; again is harmless.

    A CPU counts as as many devices as it has cores. Compiled programs are kept in `cache`. One of
    several processes of a launcher takes the devices of its own host, and its own GPU of those that
    share a host; processes never meet. Raises `RuntimeError` where there is no device of the
    platforms that JAX is confined to, `ValueError` for a launcher's numbers that do not fit.
    """
    here = _of_this()
    if "JAX_NUM_CPU_DEVICES" not in os.environ and "xla_force_host" not in os.environ.get(
        "XLA_FLAGS", ""
    ):
        _set("jax_num_cpu_devices", cores())
    jax.config.update("jax_threefry_partitionable", True)  # or the same keys give other models
    if cache and not getattr(jax.config, "jax_compilation_cache_dir", None):
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if here.count > 1 and not jax.distributed.is_initialized():
        os.environ.update(launcher.own_chips(os.environ))
        if (gpu := launcher.own_gpu(here, os.environ)) is not None:
            _set("jax_cuda_visible_devices", gpu)
    try:
        jax.local_devices()
    except AssertionError as error:  # all that JAX says where it finds none of the platforms
        platforms = os.environ.get("JAX_PLATFORMS") or jax.config.jax_platforms  # pyright: ignore
        raise RuntimeError(
            f"JAX_PLATFORMS={platforms}: JAX has no such device here; unset it for the devices "
            "that there are, or install what drives it (for NVIDIA: pip install 'jax[cuda13]')"
        ) from error
    return here


def _set(name: str, value: object) -> None:
    try:
        jax.config.update(name, value)
    except RuntimeError:  # the devices are made already: take them as they are
        return


@functools.cache  # the environment is changed for libtpu below: it is read once
def _of_launcher() -> Processes:
    return launcher.of_environment()


def _of_this() -> Processes:
    """Where the caller's own program has its processes meet, they are as JAX knows them."""
    if jax.distributed.is_initialized():
        return Processes(jax.process_index(), jax.process_count())
    return _of_launcher()
