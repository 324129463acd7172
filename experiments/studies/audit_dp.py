"""Does DP-SGD keep what its accountant promises? Near-tight and valid audits, on digits.

    python -m experiments.studies.audit_dp

Thousands of models are trained by jaxmia's own trainer, each with a canary by a fair coin
(`design.canaries`); jax-privacy clips and adds the noise, and its accountant promises epsilon.
A lower bound of epsilon above the promise refutes it. Parts:

- bound: full batches, one start for all models, an empty scan with the label that the start thinks
  least likely; the score is the canary's phi at the end, one black-box query. The threshold is
  chosen on a fifth of the runs, the bound is that of the others: Clopper-Pearson and the joint
  exact test; the area under the ROC is asymptotic. Beside them stands what an ideal attack would
  show with as many runs: what lies between it and the promise is statistics, the rest the attack's.
- networks: the same of a perceptron and of a network that convolves, and of another canary.
- sampled: Poisson batches of a tenth of the records, by the accountant's profile inverted.
- one_run: one training with 1000 canaries that do not meet, from inside.
- mistakes: wrong implementations, each from outside and from inside.

What came out, and how long it took: docs/results/audit_dp.md.
"""

import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import rows
from experiments.studies import audit_dp_canaries as canaries
from experiments.studies import audit_dp_parts as parts
from experiments.studies.audit_dp_bounds import median
from experiments.studies.audit_dp_wrong import MISTAKES
from jaxmia.command.terminal import guarded, parsed
from jaxmia.storage.files import write_json

PARTS = ("bound", "networks", "sampled", "one_run", "mistakes")
ONCE = ("networks", "mistakes")  # parts with one audit of each row
WORDS = {
    "clopper_pearson": "Clopper-Pearson", "joint": "joint", "auc": "AUC", "profile": "profile",
    "any": "any mechanism", "independent": "independent", "gaussian": "Gaussian", "pure": "pure",
}  # fmt: skip


@dataclass(frozen=True)
class Flags:
    """What is promised, and how it is tried."""

    epsilons: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 10.0)
    """The epsilons that the noise is calibrated to, of the part bound."""
    epsilon: float = 4.0
    """That of the other parts."""
    rates: tuple[float, ...] = (0.01, 1.0)
    """Learning rates, each with every epsilon, of the part bound."""
    parts: tuple[str, ...] = PARTS
    """Which parts: bound networks sampled one_run mistakes."""
    delta: float = 1e-5
    """The delta of all of them."""
    runs: int = 2000
    """Models of one audit, about half of them with the canary."""
    repetitions: int = 12
    """Audits of each row, but of networks and mistakes, which have one each."""
    others: int = 100
    """Records beside the canary."""
    steps: int = 20
    """Training steps."""
    clip: float = 1.0
    """The norm that each example's gradient is clipped to."""
    seed: int = 0
    """All that is random comes from it."""
    out: Path = Path("checkpoints/audit_dp")
    """Folder for the starts, each row as it is done, and rows.json; a rerun goes on."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    quiet: bool = False
    """No progress."""


def run(flags: Flags) -> list[dict[str, Any]]:
    """The rows of all parts; raises `ValueError` for flags that do not fit."""
    for part in flags.parts:
        if part not in PARTS:
            raise ValueError(f"--parts: {part!r} is not one of {', '.join(PARTS)}")
    if not flags.epsilons or not flags.rates:
        raise ValueError("--epsilons, --rates: give one or more of each")
    if flags.runs < 50 or flags.repetitions < 1:
        raise ValueError(
            f"--runs: {flags.runs} must be 50 or more, --repetitions: {flags.repetitions} 1 or more"
        )
    out = []
    for row in _all(flags):
        out.append(row)
        if not flags.quiet:
            print(_line(row), file=sys.stderr)
    flags.out.mkdir(parents=True, exist_ok=True)
    (flags.out / "rows.json").write_text(json.dumps(out, indent=1))
    if flags.results:
        common = {
            "runs": flags.runs, "others": flags.others,
            "steps": flags.steps, "delta": flags.delta, "clip": flags.clip, "seed": flags.seed,
            "command": rows.command("experiments.studies.audit_dp", flags),
        }  # fmt: skip
        rows.keep(flags.results, "audit_dp", out, common | rows.about())
    return out


def _all(flags: Flags) -> Iterator[dict[str, Any]]:
    """Every row; those that lie in the folder are taken as they are."""
    for part, seed, arguments, make in _cells(flags):
        setting = _setting(flags, 1000 * flags.seed + seed)
        if part in ONCE:
            setting = setting._replace(repetitions=1)
        facts = json.dumps([part, arguments, setting._replace(folder=Path())], default=str)
        name = hashlib.sha256(facts.encode()).hexdigest()[:16]
        file = flags.out / "cells" / f"{part}_{name}.json"
        if file.exists():
            row = json.loads(file.read_text())
        else:
            row = make(setting, *arguments) | {"part": part}
            write_json(file, row)
        yield row


def _cells(flags: Flags) -> Iterator[tuple[str, int, tuple, Callable[..., dict[str, Any]]]]:
    """Part, seed, arguments and function of every row: each has a seed of its own."""
    own = iter(range(1, 1000))
    if "bound" in flags.parts:
        for case in itertools.product(flags.rates, flags.epsilons):
            yield "bound", next(own), (parts.HEAD, "blank", *case), parts.bound
    own = iter(range(100, 1000))
    if "networks" in flags.parts:
        cases = [(parts.HEAD, "component"), *((n, "blank") for n in list(canaries.NETWORKS)[1:])]
        for case in cases:
            yield "networks", next(own), (*case, parts.SMALL, flags.epsilon), parts.bound
    own = iter(range(200, 1000))
    if "sampled" in flags.parts:
        yield "sampled", next(own), (flags.epsilon, parts.SMALL), parts.sampled
    if "one_run" in flags.parts:
        yield "one_run", 300, (flags.epsilon,), parts.one_run
    own = iter(range(400, 1000))
    if "mistakes" in flags.parts:
        for name in MISTAKES:
            for kind in canaries.KINDS if name in parts.LARGE_GRADIENT else canaries.KINDS[:1]:
                yield "mistakes", next(own), (name, kind, flags.epsilon), parts.from_outside
            for view, how in parts.VIEWS.items():
                if name in how.mistakes:
                    yield "mistakes", next(own), (name, view, flags.epsilon), parts.from_inside


def _setting(flags: Flags, seed: int) -> parts.Setting:
    return parts.Setting(
        flags.delta, flags.clip, flags.steps, flags.others, flags.runs, flags.repetitions, seed,
        flags.out,
    )  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    return f"{' | '.join(_what(row))}: " + ", ".join(
        f"{WORDS[name]} {_span(values)}" for name, values in row["bounds"].items()
    )


def _what(row: dict[str, Any]) -> list[str]:
    names = ("part", "network", "canary", "rate", "mistake", "access", "view")
    return [str(row[k]) for k in names if k in row] + [f"promised {row['epsilon']:g}"]


def _span(values: list[float | None]) -> str:
    numbers = [np.inf if v is None else v for v in values]
    return f"{median(values):.2f} [{min(numbers):.2f}, {max(numbers):.2f}]"


def main(flags: Flags) -> None:
    """Runs, and prints promise and bounds."""
    results = run(flags)
    if flags.json:
        print(json.dumps(results))
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False)
    table = Table(box=None, pad_edge=False)
    for head in ("what", "lower bounds of epsilon, median [least, most]", "ideal attack: joint"):
        table.add_column(head)
    for row in results:
        bounds = ", ".join(f"{WORDS[k]} {_span(v)}" for k, v in row["bounds"].items())
        ideal = f"{row['ideal']['joint']:.2f}" if "ideal" in row else ""
        table.add_row(" | ".join(_what(row)), bounds, ideal)
    console.print(table)
    console.print(
        f"Each bound holds at 95 %, at delta {flags.delta:g}, from {flags.runs} runs; the AUC's is "
        "asymptotic. A bound above the promise refutes it."
    )


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.audit_dp")
    guarded(lambda: main(flags))
