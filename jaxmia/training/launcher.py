"""Which of several processes of one program this one is, as whatever started it says.

Processes never meet: models do not communicate, and the run folder is all that they share. So a
process needs its number and their count, and devices of its own, and nobody waits for anybody.
"""

import os
import re
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

# number, count, number on its host: of srun (the tasks of an array are jobs of their own), of
# Open MPI, of MPICH and Intel MPI, and of whoever says it to JAX
LAUNCHERS = (
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    ("JAX_PROCESS_ID", "JAX_NUM_PROCESSES", "JAX_LOCAL_PROCESS_ID"),
)
METADATA = "http://{}/computeMetadata/v1/instance/attributes/{}"
# how many chips a host of a TPU has, and how they lie
CHIPS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}


class Processes(NamedTuple):
    """This process's number among those that run one program, how many they are, and its devices.

    `local` is its number among those of its host, where the launcher says it.
    """

    index: int
    count: int
    local: int | None = None


def of_environment(env: Mapping[str, str] = os.environ) -> Processes:
    """What the launcher says of this process: number 0 of 1 where there is none.

    Raises `ValueError` for numbers that are none or do not fit.
    """
    for number, count, local in LAUNCHERS:
        if number in env and count in env:
            of = _checked(env, number, count)
            return of._replace(local=_number(env, local) if local in env else None)
    if hosts := _hosts(env):
        return hosts
    return Processes(0, 1)


def _checked(env: Mapping[str, str], number: str, count: str) -> Processes:
    index, of = _number(env, number), _number(env, count)
    if not 0 <= index < of:
        raise ValueError(f"{number}={index} must be from 0 to {of - 1} ({count}={of})")
    return Processes(index, of)


def _number(env: Mapping[str, str], name: str) -> int:
    if not re.fullmatch(r"\d{1,9}", env[name]):
        raise ValueError(f"{name}={env[name][:80]!r} in the environment must be a whole number")
    return int(env[name])


def _hosts(env: Mapping[str, str]) -> Processes | None:
    """Of a TPU's hosts, each of which runs the program: by Kubernetes' environment or by Google's.

    Where several slices are one job, they are numbered one after the other.
    """
    names, number = env.get("TPU_WORKER_HOSTNAMES", ""), env.get("TPU_WORKER_ID", "")
    if not (names and number) and "TPU_ACCELERATOR_TYPE" in env:
        if "TPU_SKIP_MDS_QUERY" in env:
            return None
        names, number = (
            _metadata(env, "worker-network-endpoints"),
            _metadata(env, "agent-worker-number"),
        )
    if not (names and number):
        return None
    hosts = len(names.split(","))
    slices = {
        "MEGASCALE_SLICE_ID": env.get("MEGASCALE_SLICE_ID", "0"),
        "MEGASCALE_NUM_SLICES": env.get("MEGASCALE_NUM_SLICES", "1"),
    }
    of = _checked({"TPU_WORKER_ID": number, "hosts": str(hosts)}, "TPU_WORKER_ID", "hosts")
    part = _checked(slices, *slices)
    return Processes(part.index * hosts + of.index, part.count * hosts)


def _metadata(env: Mapping[str, str], key: str) -> str:
    """What Google's server says of this machine; "" where it says nothing."""
    host = env.get("GCE_METADATA_IP", "metadata.google.internal")
    request = urllib.request.Request(
        METADATA.format(host, key), headers={"Metadata-Flavor": "Google"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode().strip()
    except OSError:
        return ""


def own_chips(env: Mapping[str, str], devices: Path = Path("/dev")) -> dict[str, str]:
    """What confines libtpu to the chips of this host, so that a host that is lost stops nobody.

    Empty where the host has no chips, or whoever started the process has confined it already.
    """
    chips = sorted(devices.glob("accel[0-9]*")) or sorted(devices.glob("vfio/[0-9]*"))
    if len(chips) not in CHIPS or "TPU_PROCESS_BOUNDS" in env or "TPU_VISIBLE_CHIPS" in env:
        return {}
    return {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_PROCESS_BOUNDS": "1,1,1",
        "TPU_CHIPS_PER_PROCESS_BOUNDS": CHIPS[len(chips)],
        "TPU_VISIBLE_CHIPS": ",".join(str(i) for i in range(len(chips))),
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
    }


def own_gpu(of: Processes, env: Mapping[str, str]) -> str | None:
    """The GPU of a process that shares its host with others, as JAX takes it; None for all.

    None where the launcher gave it GPUs of its own, or does not say which process it is here.
    """
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if of.count == 1 or of.local is None or not _together(env):
        return None
    if visible is not None and len(visible.split(",")) == 1:
        return None
    return str(of.local)


def _together(env: Mapping[str, str]) -> bool:
    """Whether there are several processes on this host."""
    tasks = env.get("SLURM_STEP_TASKS_PER_NODE", "")
    if "SLURM_PROCID" in env:  # 4(x2),3 : two nodes of four tasks, and one of three
        return any(int(n) > 1 for n in re.findall(r"(?:^|,)(\d+)", tasks))
    return any(
        env.get(name, "1") != "1" for name in ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
    )
