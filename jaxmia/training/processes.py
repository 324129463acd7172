"""Several processes of one program: how they meet, know each other, and part."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax

from jaxmia.machine import cores

MEET_SECONDS = 300
PART_SECONDS = 30  # that a process that is done waits for the others


class Processes(NamedTuple):
    """This process's number among those that run one program, and how many they are."""

    index: int
    count: int


@dataclass(frozen=True)
class Cluster:
    """Where the processes of one program meet, for clusters that JAX does not know by itself."""

    coordinator: str  # host:port of process 0
    index: int
    count: int


def start(cache: Path | None = None, cluster: Cluster | None = None) -> Processes:
    """Prepares this process, before JAX has made its devices: call it first; again is harmless.

    A CPU counts as as many devices as it has cores. Compiled programs are kept in `cache`. Where
    a cluster started several processes of one program, or a `cluster` is given, they find each
    other; each goes on alone if another dies. Raises `RuntimeError` if they do not meet, and where
    there is no device of the platforms that JAX is confined to.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ and "xla_force_host" not in os.environ.get(
        "XLA_FLAGS", ""
    ):
        try:
            jax.config.update("jax_num_cpu_devices", cores())
        except RuntimeError:  # the devices are made already: take them as they are
            pass
    jax.config.update("jax_threefry_partitionable", True)  # or the same keys give other models
    if cache and not getattr(jax.config, "jax_compilation_cache_dir", None):
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if not jax.distributed.is_initialized():
        if cluster is not None and cluster.count > 1:
            _meet(cluster)
        elif cluster is None and several():
            _meet(None)
    try:
        return Processes(jax.process_index(), jax.process_count())
    except AssertionError as error:  # all that JAX says where it finds none of the platforms
        platforms = os.environ.get("JAX_PLATFORMS") or jax.config.jax_platforms  # pyright: ignore
        raise RuntimeError(
            f"JAX_PLATFORMS={platforms}: JAX has no such device here; unset it for the devices "
            "that there are, or install what drives it (for NVIDIA: pip install 'jax[cuda13]')"
        ) from error


def several(env: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher says that it started several processes of one program.

    Slurm's srun (not the tasks of an array, which are jobs of their own), Open MPI, a TPU pod.
    """
    tasks = env.get("SLURM_STEP_NUM_TASKS") if "SLURM_PROCID" in env else None
    hosts = env.get("TPU_PROCESS_ADDRESSES") or env.get("TPU_WORKER_HOSTNAMES") or ""
    world = env.get("OMPI_COMM_WORLD_SIZE")
    if any(n and n.isdigit() and int(n) > 1 for n in (tasks, world)) or "," in hosts:
        return True
    # a Cloud TPU's workers are told in its metadata, which JAX asks
    return "TPU_ACCELERATOR_TYPE" in env and "TPU_SKIP_MDS_QUERY" not in env


def _meet(cluster: Cluster | None) -> None:
    with contextlib.suppress(AttributeError, ValueError):  # a later jax may have it otherwise
        jax.config.update("jax_enable_recoverability", True)
    place = {} if cluster is None else {
        "coordinator_address": cluster.coordinator,
        "num_processes": cluster.count,
        "process_id": cluster.index,
    }  # fmt: skip
    try:
        jax.distributed.initialize(
            **place, initialization_timeout=MEET_SECONDS, shutdown_timeout_seconds=PART_SECONDS
        )
    except (RuntimeError, ValueError) as error:
        if "must be called before" in str(error):  # the devices are made: they know all there is
            return
        raise RuntimeError(
            f"the processes of this program did not meet ({error!s:.300}); several workers need "
            "not: --shard-index and --shard-count"
        ) from error


def part() -> None:
    """Takes leave of the other processes of this program."""
    with contextlib.suppress(RuntimeError):
        jax.distributed.shutdown()
