"""What a run of many models on many examples takes: bytes, files, hours.

    python -m experiments.benchmarks.scale_plan [--models 100000 --examples 1000000]

Bytes and chunks are those of the run folder's arrays. Hours are step and asking times of
experiments/results/throughput.jsonl (the width that was chosen there, and the query of one view)
times the steps of a training on half of the examples: arithmetic on rates of 2 CPU cores, no run.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxmia.command.terminal import parsed
from jaxmia.storage.arrays import Arrays
from jaxmia.storage.local import LocalFolder

ROWS = Path(__file__).parents[1] / "results" / "throughput.jsonl"
ARRAYS = {"member": ("bool", 1), "phi": ("float32", 4), "margin": ("float32", 4),
          "entropy": ("float32", 4), "modified_entropy": ("float32", 4)}  # fmt: skip
BATCH = {"mlp_digits": 64, "mlp_446": 64, "cnn16": 128, "cnn32": 128, "resnet20": 128,
         "fast": 1024, "wrn28_2": 256}  # fmt: skip


@dataclass(frozen=True)
class Flags:
    """The run that is planned."""

    models: int = 100_000
    """Shadow models."""
    examples: int = 1_000_000
    """Of the pool; a model is trained on half of them."""
    block: int = 64
    """Models of a block."""
    queries: int = 1
    """Views that phi is taken of."""
    epochs: int = 20
    """Of each training."""
    workers: int = 1000
    """That share the models."""
    json: bool = False
    """Print the plan as JSON."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for counts below 1."""
        for name in ("models", "examples", "block", "queries", "epochs", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more")


def stored(flags: Flags, name: str) -> dict[str, Any]:
    """Bytes, chunk and files of one array of the run folder."""
    dtype, size = ARRAYS[name]
    shape = [flags.models, flags.examples, *([flags.queries] if name == "phi" else [])]
    chunk = Arrays(LocalFolder(Path()), flags.block).chunks(shape, dtype)
    return {
        "array": name,
        "bytes": size * math.prod(shape),
        "chunk": chunk,
        "chunk_bytes": size * math.prod(chunk),
        "files": math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True)),
    }


def rates() -> dict[str, dict[str, Any]]:
    """By recipe, milliseconds of a step at the chosen width and microseconds of a query."""
    by_recipe: dict[str, dict[str, Any]] = {}
    for row in map(json.loads, ROWS.read_text().splitlines()):
        if row["method"] == "jaxmia":
            own = by_recipe.setdefault(row["recipe"], {})
            own |= {"step_ms": row["step_ms"]} if row["auto"] else {}
            own |= {"ask_us": row["ask_us"]} if row["ask_us"] is not None else {}
    return by_recipe


def hours(flags: Flags, recipe: str, step_ms: float, ask_us: float) -> dict[str, Any]:
    """Hours of one model, and days of the whole run on so many workers of 2 such cores."""
    steps = flags.examples // 2 // BATCH[recipe] * flags.epochs
    train, ask = steps * step_ms / 3.6e6, flags.examples * flags.queries * ask_us / 3.6e9
    share = -(-flags.models // flags.workers)
    return {
        "recipe": recipe,
        "steps": steps,
        "train_hours": train,
        "ask_hours": ask,
        "days": share * (train + ask) / 24,
    }


def main() -> None:
    """Prints the plan."""
    flags = parsed(
        Flags, None, prog="python -m experiments.benchmarks.scale_plan", description=__doc__
    )
    arrays = [stored(flags, name) for name in ARRAYS]
    times = [hours(flags, recipe, **rate) for recipe, rate in rates().items()]
    if flags.json:
        print(json.dumps({"arrays": arrays, "times": times}))
        return
    print("| array | bytes | chunk | files |\n| --- | --- | --- | --- |")
    for a in arrays:
        chunk = " × ".join(f"{n:_}".replace("_", " ") for n in a["chunk"])
        size = f"{a['chunk_bytes'] / 2**20:.1f} MiB"
        print(f"| {a['array']} | {a['bytes'] / 1e9:,.0f} GB | {chunk}, {size} | {a['files']} |")
    print(f"\n| recipe | steps of a model | hours of a model | asking it | days on {flags.workers} "
          "workers |\n| --- | --- | --- | --- | --- |")  # fmt: skip
    for t in times:
        print(
            f"| `{t['recipe']}` | {t['steps']} | {t['train_hours']:.3g} | {t['ask_hours']:.2g} "
            f"| {t['days']:.2g} |"
        )


if __name__ == "__main__":
    main()
