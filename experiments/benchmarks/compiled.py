"""What the compilers of devices that are not here say of the experiments: bounds, no measurements.

    python -m experiments.benchmarks.compiled --on h100 tpu-v5e-8 --experiments cifar10_fast

Each experiment is asked about each device as `--explain --on DEVICE` asks; a row of each answer is
kept in experiments/results/compiled.jsonl, in place of an earlier one of the same.
"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from experiments import rows
from jaxmia import machine
from jaxmia.command.flags import width
from jaxmia.command.terminal import guarded, parsed
from jaxmia.roofline import words
from jaxmia.roofline.ask import Answer, ask
from jaxmia.roofline.devices import accelerator

NAME = "compiled"
COMPILERS = ("jax-cuda13-plugin", "jax-cuda12-plugin", "libtpu")


@dataclass(frozen=True)
class Flags:
    """What is asked about what."""

    on: tuple[str, ...] = ("h100", "tpu-v5e-8")
    """Devices."""
    experiments: tuple[str, ...] = ("digits", "cifar10_small", "cifar10_fast", "cifar10_lira")
    """Modules of experiments."""
    width: str = "auto"
    """How many models are vmapped together; auto compiles 1 and 8, and takes the better bound."""
    results: Path = rows.RESULTS
    """Folder to keep the rows in."""


def row(name: str, answer: Answer) -> dict[str, Any]:
    """An answer's figures, of its training program the cost of a model's step."""
    whole = words.as_json(answer)
    out: dict[str, Any] = {"experiment": name, "on": answer.device.name, "models": answer.models}
    out |= {
        k: whole[k] for k in ("chips", "refusals", "too_large", "largest_width", "largest_block")
    }
    out |= {k: whole[k] for k in ("bound_models_per_hour", "bound_hours")}
    if answer.programs:
        train = answer.programs[0]
        step = train.costs.total.times(1 / train.steps / train.models)
        out |= {"width": train.width, "memory": train.memory.total, "step": step._asdict()}
        out["collectives"] = sum(sum(p.collectives.values()) for p in answer.programs)
        out["limits"] = answer.whole._asdict()
    return out


def main(flags: Flags) -> None:
    """Asks, and keeps the rows."""

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    jax.config.update("jax_platforms", "cpu")  # no plugin is to look for devices here
    common = {"command": rows.command("experiments.benchmarks.compiled", Flags())}
    common |= rows.about() | {"versions": machine.versions(COMPILERS)}
    for name in flags.experiments:
        experiment = importlib.import_module(f"experiments.{name}").experiment
        for device in flags.on:
            answer = ask(experiment, accelerator(device), width(flags.width), say=say)
            print("\n".join([f"{name}:", *words.lines(answer), ""]), flush=True)
            new = row(name, answer) | common
            old = rows.read(NAME) if rows.there(NAME) else []
            same = ("experiment", "on")
            others = [r for r in old if any(r[k] != new[k] for k in same)]
            rows.keep(flags.results, NAME, [*others, new], {})


if __name__ == "__main__":
    options = parsed(
        Flags, None, prog="python -m experiments.benchmarks.compiled", description=__doc__
    )
    guarded(lambda: main(options))
