"""A program compiled for a device that is not here, and what that says of it."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxmia.roofline import cost, hlo, target
from jaxmia.roofline.cost import Cost, Costs
from jaxmia.roofline.devices import Accelerator
from jaxmia.roofline.programs import Program


class Memory(NamedTuple):
    """Bytes on one chip while a program runs."""

    arguments: int
    results: int  # beyond those that take the place of arguments
    temporary: int

    @property
    def total(self) -> int:
        """All that must fit."""
        return sum(self)


class Compiled(NamedTuple):
    """What the compiler made of a `Program`, whose fields it has; `costs` are those of one call."""

    name: str
    width: int
    models: int
    calls: int
    steps: int
    own: float
    seconds: float  # that compiling took
    memory: Memory
    costs: Costs
    collectives: dict[str, int]

    @property
    def of_model(self) -> Cost:
        """What all calls cost, for one of the models."""
        return self.costs.total.times(self.calls / self.models)


def compiled(build: Callable[[Mesh], Program], device: Accelerator) -> Compiled:
    """Compiles the program that `build(mesh)` makes for the chips of one process.

    For a process of its own (`child.in_child`): what a compiler refuses it raises, or its process
    ends.
    """
    start = time.perf_counter()
    program, executable = _executable(build, device)
    module = hlo.parse(executable.as_text())
    return Compiled(
        program.name,
        program.width,
        program.models,
        program.calls,
        program.steps,
        program.own,
        time.perf_counter() - start,
        memory(executable),
        cost.costs(module),
        dict(cost.collectives(module)),
    )


def text(build: Callable[[Mesh], Program], device: Accelerator) -> str:
    """The optimised HLO of a program; for a process of its own."""
    return _executable(build, device)[1].as_text()


def memory(executable: Any) -> Memory:
    """What a compiled program takes on one chip."""
    sizes = executable.memory_analysis()
    more = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return Memory(sizes.argument_size_in_bytes, more, sizes.temp_size_in_bytes)


def _executable(build: Callable[[Mesh], Program], device: Accelerator) -> tuple[Program, Any]:
    jax.config.update("jax_threefry_partitionable", True)  # as runs have it
    jax.config.update("jax_enable_compilation_cache", False)
    program = build(target.mesh(device))
    return program, program.lower().compile()
