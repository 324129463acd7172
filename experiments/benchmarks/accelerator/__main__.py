"""What a lent accelerator should be asked, in nine minutes, whatever happens.

    python -m experiments.benchmarks.accelerator --only reference         (before, on any CPU)
    python -m experiments.benchmarks.accelerator --cifar10 FILE.npz       (on the device)

In this order, each part a process that is over when its time is, each row written at once:

- device: what it is, and the versions.
- reference, agreement: phi of three recipes, of DP-SGD and of 18 views, beside a CPU's.
- widths: models an hour of fast, resnet20 and mlp_446 by width, beside a matrix product and a copy.
- headline: `experiments.cifar10_fast` as far as the time reaches; beside it, on the host's CPU,
  bound: the best width of each recipe against what its compiled program takes at least.

The rows lie in --out, as do the CPU's answers and the run; started again with that folder, on the
same or another machine of the kind, it goes on where it was.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.benchmarks.accelerator import agreement, headline, record, widths, within
from jaxmia.command.terminal import guarded, parsed

CACHE = "programs"  # compiled, in --out
START = 20.0  # seconds that the headline may take to save what it has
SHARES = {"device": 0.15, "reference": 0.25, "agreement": 0.25, "widths": 0.4}  # of what is left


@dataclass(frozen=True)
class Flags:
    """How long, and of what."""

    minutes: float = 9.0
    """All of it is over after so many."""
    cifar10: Path | None = None
    """An .npz with CIFAR-10 images: x [N, 32, 32, 3] uint8, y; without it there is no headline."""
    models: int = 256
    """Shadow models of the headline."""
    epochs: int = 0
    """Epochs of the headline; those of experiments.cifar10_fast without it."""
    only: Literal["all", "reference"] = "all"
    """reference: the CPU's answers alone, to be carried to the device with the folder."""
    quick: bool = False
    """Small sizes, one round, to see that it works: no measurement."""
    out: Path = Path("checkpoints/accelerator")
    """Folder of rows, answers and run."""


def checked(flags: Flags) -> None:
    """Raises `ValueError` for what cannot be."""
    if not 0 < flags.minutes < math.inf:
        raise ValueError(f"--minutes: {flags.minutes} must be above 0 and finite")
    for name, least in (("models", 2), ("epochs", 0)):
        if getattr(flags, name) < least:
            raise ValueError(f"--{name}: {getattr(flags, name)} must be {least} or more")
    if flags.cifar10 is not None and not flags.cifar10.is_file():
        raise ValueError(f"--cifar10: {flags.cifar10} is no file")


def main(flags: Flags) -> None:
    """All parts, one after the other; what did not end well has a row that says how."""
    checked(flags)
    end = time.monotonic() + 60 * flags.minutes
    flags.out.mkdir(parents=True, exist_ok=True)
    parts = {
        "device": (record.device, ""),
        "reference": (agreement.reference, "cpu"),
        "agreement": (agreement.compare, ""),
        "widths": (widths.sweep, ""),
    }
    cache = flags.out / CACHE
    for name, (work, platform) in parts.items():
        if flags.only not in ("all", name):
            continue
        child = within.started(work, flags.out, flags.quick, cache=cache, platform=platform)
        share = SHARES[name] if flags.only == "all" else 1.0
        if how := within.waited_for(child, share * (end - time.monotonic())):
            if name == "device":
                raise SystemExit(child.exitcode)
            record.add(flags.out, name, "all of it", ended=how)
    if flags.only == "all":
        _headline(flags, end)


def _headline(flags: Flags, end: float) -> None:
    """The headline on the device, and beside it the compiled programs' bounds on the CPU."""
    cache = flags.out / CACHE
    bounds = within.started(widths.bounds, flags.out, flags.quick, cache=cache, platform="cpu")
    if flags.cifar10 is None:
        record.add(flags.out, headline.PART, headline.WHAT, left_out="without --cifar10")
    elif headline.summary_of(flags.out, flags.models) is None:
        start = time.monotonic()
        before = headline.finished(flags.out / headline.FOLDER)
        arguments = (flags.out, flags.cifar10, flags.models, flags.epochs)
        child = within.started(headline.train, *arguments, cache=cache)
        grace = min(START, 0.3 * (end - start))
        how = within.waited_for(child, end - start - grace - 1, grace)
        headline.keep(flags.out, flags.models, time.monotonic() - start, before, how)
    if how := within.waited_for(bounds, end - time.monotonic(), 0.0):
        record.add(flags.out, widths.BOUND, "all of it", ended=how)


if __name__ == "__main__":
    options = parsed(
        Flags, None, prog="python -m experiments.benchmarks.accelerator", description=__doc__
    )
    guarded(lambda: main(options))
