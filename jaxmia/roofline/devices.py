"""Accelerators by name, as their makers' data sheets know them.

| chip | source                                                                        |
| ---- | ----------------------------------------------------------------------------- |
| a100 | NVIDIA A100 data sheet (SXM, 80 GB)                                           |
| h100 | NVIDIA H100 data sheet (SXM), dense rates, half of those with sparsity        |
| h200 | NVIDIA H200 data sheet (SXM), dense rates                                     |
| v4   | Google Cloud documentation, "TPU v4"; v5e, v5p, v6e likewise                   |
"""

import re
from dataclasses import dataclass
from typing import NamedTuple


class Chip(NamedTuple):
    """What one chip can do at most.

    `float32` is the rate of float32 products as JAX computes them unless told otherwise: TF32 on
    NVIDIA's, one pass in bfloat16 on Google's.
    """

    platform: str
    memory: float  # bytes
    bandwidth: float  # bytes a second
    bfloat16: float  # operations a second
    float32: float  # operations a second
    cores: int = 1  # in the number that Google gives a slice


CHIPS = {
    "a100": Chip("cuda", 80e9, 2.039e12, 312e12, 156e12),
    "h100": Chip("cuda", 80e9, 3.35e12, 989.5e12, 494.7e12),
    "h200": Chip("cuda", 141e9, 4.8e12, 989.5e12, 494.7e12),
    "v4": Chip("tpu", 32e9, 1.228e12, 275e12, 275e12, cores=2),
    "v5e": Chip("tpu", 16e9, 0.819e12, 197e12, 197e12),
    "v5p": Chip("tpu", 95e9, 2.765e12, 459e12, 459e12, cores=2),
    "v6e": Chip("tpu", 32e9, 1.640e12, 918e12, 918e12),
}
NAMES = "a100, h100, h200 (h100-8 for eight), tpu-v4-32, tpu-v5e-8, tpu-v5p-8, tpu-v6e-8"


@dataclass(frozen=True)
class Accelerator:
    """So many chips of one kind. Models never communicate: each chip has its own."""

    name: str
    kind: str
    chips: int

    @property
    def chip(self) -> Chip:
        """What one of the chips can do."""
        return CHIPS[self.kind]


def accelerator(name: str) -> Accelerator:
    """The accelerator of a name such as h100, h100-8 or tpu-v5e-256.

    A TPU slice's number is Google's: of chips, but for v4 and v5p of cores, two a chip. Raises
    `ValueError` for a name that is none.
    """
    match = re.fullmatch(r"(?:([a-z]\d+)(?:-([1-9]\d{0,5}))?|tpu-(v\d[a-z]?)-([1-9]\d{0,5}))", name)
    kind, number = (match[1] or match[3], int(match[2] or match[4] or 1)) if match else ("", 0)
    platform = "tpu" if name.startswith("tpu-") else "cuda"
    if kind not in CHIPS or CHIPS[kind].platform != platform:
        raise ValueError(f"--on: {name[:80]!r} must be a device such as {NAMES}")
    cores = CHIPS[kind].cores
    if number % cores:
        raise ValueError(f"--on: {name[:80]!r} counts cores, {cores} a chip: the number is even")
    return Accelerator(name, kind, number // cores)
