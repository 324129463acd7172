"""Devices to compile for that are not here: XLA's own compilers know them by description.

NVIDIA's compiler takes a text with the figures that CUDA reports of a device (data sheets and
NVIDIA's tuning guides), Google's the name of a slice. Either comes with the extra of its devices.
"""

import importlib.util
import os
from importlib import metadata

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from jaxmia.roofline.devices import Accelerator

PLUGINS = {
    "cuda": ("jax_cuda13_plugin", "jax_cuda12_plugin"),
    "tpu": ("libtpu",),
}
# multiprocessors, float32 units of each, their shared memory and the part one block may take,
# bytes of the cache, GHz, compute capability; bandwidth and bytes of memory
GPUS = {
    "a100": (108, 64, 167936, 166912, 41943040, 1.41, (8, 0), 2039000000000, 85197717504),
    "h100": (132, 128, 233472, 232448, 52428800, 1.98, (9, 0), 3352000000000, 84978434048),
    "h200": (132, 128, 233472, 232448, 62914560, 1.98, (9, 0), 4800000000000, 150120824832),
}
# one host's chips, which is what a process compiles for
HOST_CHIPS = 4
HOSTS = {"v4": "v4:2x2x1", "v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}
ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # others may compile at the same time
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


def installed(platform: str) -> bool:
    """Whether the compiler of a platform, cuda or tpu, is there."""
    return any(importlib.util.find_spec(name) for name in PLUGINS[platform])


def check(device: Accelerator) -> None:
    """Raises `ValueError`, saying what to install, where a device's compiler is not there."""
    platform = device.chip.platform
    if not installed(platform):
        what = f"--on {device.name}: its compiler is not installed here"
        raise ValueError(f"{what}: {remedy(platform)}")


def remedy(platform: str) -> str:
    """How a platform's compiler is installed; of CUDA's 5 GB it is two packages, 0.4 GB."""
    if platform == "tpu":
        return "pip install 'jaxmia[tpu]'"
    names = " ".join(
        f"jax-cuda13-{part}=={metadata.version('jaxlib')}" for part in ("plugin", "pjrt")
    )
    return f"pip install 'jaxmia[cuda]', or the compiler alone: pip install --no-deps {names}"


def mesh(device: Accelerator) -> Mesh:
    """The chips that one process compiles for, as a `models` axis.

    To be called in a process whose own devices JAX has not made yet.
    """
    # else the plugin would look for its devices, and leave when there are none
    jax.config.update("jax_platforms", "cpu")
    if device.chip.platform == "tpu":
        os.environ.update(ENVIRONMENT)
        topology = topologies.get_topology_desc(HOSTS[device.kind], "tpu")
    else:
        topology = topologies.get_topology_desc(
            topology_name="1x1x1",
            platform="cuda",
            target_config=_description(device.kind),
            topology="1x1x1",
        )
    return Mesh(np.array(topology.devices), ("models",), axis_types=(AxisType.Auto,))


def _description(kind: str) -> str:
    """XLA's `GpuTargetConfigProto` of a GPU, as text."""
    cores, units, shared, optin, cache, clock, (major, minor), bandwidth, memory = GPUS[kind]
    return f"""
gpu_device_info {{
  core_count: {cores} fpus_per_core: {units} clock_rate_ghz: {clock}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  registers_per_block_limit: 65536 registers_per_core_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_block_optin: {optin}
  shared_memory_per_core: {shared} l2_cache_size: {cache}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  device_memory_size: {memory} memory_bandwidth: {bandwidth}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
runtime_version {{ major: 13 minor: 0 patch: 0 }}
device_description_str: "{kind}"
"""
