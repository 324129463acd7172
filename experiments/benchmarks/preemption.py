"""What preemptions cost: wasted time against block size and time between checkpoints, simulated.

    python -m experiments.benchmarks.preemption [--out docs/preemption.svg]

A worker trains one block of models after the other, makes a checkpoint whenever `every` seconds of
work have gone by, and writes a block's signals when it is trained. Machines are taken away at the
times of a Poisson process, one in `mtbp` seconds on average; the next start costs `restart`
seconds, in which it may be taken away again, and goes on from the last checkpoint or finished
block. Wasted is all that is no training: work done twice, checkpoints, starts.

Beside the simulation stands what is exact for exponential times (Daly 2006, section 4): a stretch
of t seconds takes e^(R/M) M (e^(t/M) - 1) on average, M the mean time between preemptions, R the
restart; and, for the best time between checkpoints of C seconds, sqrt(2 C M) (Young 1974).

The times are assumptions, to be replaced by one's own; 12 s are a model of `cnn16` at 297 an hour
(experiments/results/throughput.jsonl).
"""

import bisect
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxmia.command.terminal import parsed
from jaxmia.report.figures import COLOURS, blank, saved


@dataclass(frozen=True)
class Flags:
    """What is simulated."""

    model_seconds: float = 12.0
    """Training time of one model."""
    save_seconds: float = 0.05
    """What a checkpoint takes for each model of the block."""
    mtbp: float = 7200.0
    """Mean seconds between preemptions of a worker."""
    restart: float = 120.0
    """Seconds from a preemption until work goes on: queue, imports, compiling."""
    blocks: tuple[int, ...] = (4, 16, 64, 256)
    """Block sizes, in models."""
    every: tuple[float, ...] = (15, 60, 240, 960)
    """Seconds of work between checkpoints; Young's time and none at all are added."""
    preemptions: int = 20_000
    """Simulated for each row."""
    seed: int = 0
    """Of the preemptions."""
    json: bool = False
    """A row of JSON a line instead of the table."""
    out: Path | None = None
    """Draw the figure there (.svg, .png)."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for times and counts that cannot be."""
        times = ("model_seconds", "save_seconds", "mtbp", "restart")
        for name, values in [(k, (getattr(self, k),)) for k in times] + [("every", self.every)]:
            for value in values:
                if not (0 < value < math.inf):
                    raise ValueError(f"{name}={value} must be above 0 and finite")
        for name, values in (("blocks", self.blocks), ("preemptions", (self.preemptions,))):
            if not values or min(values) < 1:
                raise ValueError(f"{name}={values} must be 1 or more")


class Block(NamedTuple):
    """A block as a worker goes through it: stretches, each of which ends in something lasting."""

    work: list[float]  # seconds of training in each stretch
    save: float  # seconds that its checkpoint, or the signals at its end, take

    @classmethod
    def of(cls, seconds: float, every: float, save: float) -> "Block":
        """`seconds` of training with a checkpoint after each `every` seconds."""
        whole = max(0, math.ceil(seconds / every - 1e-9) - 1)
        return cls([every] * whole + [seconds - whole * every], save)

    @property
    def stretches(self) -> list[float]:
        """Wall time of each stretch without a preemption."""
        return [t + self.save for t in self.work]


def expected(block: Block, mtbp: float, restart: float) -> float:
    """Mean wall time of a block, in closed form."""
    return sum(math.exp(restart / mtbp) * mtbp * math.expm1(t / mtbp) for t in block.stretches)


def simulated(block: Block, up: np.ndarray, restart: float) -> float:
    """The wasted share of all time, given how long each machine was there, one after the other.

    `reached` is a place on the time line of a run without preemptions; a preemption throws it back
    to the last thing on it that lasts.
    """
    ends = [0.0, *np.cumsum(block.stretches).tolist()]
    progress = [0.0, *np.cumsum(block.work).tolist()]
    number, at = 0, 0  # blocks finished, and stretches of the one that is worked on
    for machine, seconds in enumerate(up.tolist()):
        remaining = seconds - (restart if machine else 0.0)
        if remaining <= 0:
            continue
        blocks, rest = divmod(ends[at] + remaining, ends[-1])
        number, at = number + int(blocks), bisect.bisect_right(ends, rest) - 1
    return 1 - (number * progress[-1] + progress[at]) / float(up.sum())


def row(flags: Flags, models: int, every: float, note: str = "") -> dict:
    """One block size and time between checkpoints: simulated and in closed form."""
    seconds, save = models * flags.model_seconds, models * flags.save_seconds
    block = Block.of(seconds, every, save)
    rng = np.random.default_rng([flags.seed, models, int(every)])
    up = rng.exponential(flags.mtbp, flags.preemptions)
    return {
        "block": models,
        "every": every,
        "note": note,
        "wasted": simulated(block, up, flags.restart),
        "exact": 1 - seconds / expected(block, flags.mtbp, flags.restart),
    }


def rows(flags: Flags) -> list[dict]:
    """Every block size with every time that is shorter than it, Young's, and no checkpoints."""
    entries = []
    for models in flags.blocks:
        whole = models * flags.model_seconds
        times = {t: "" for t in flags.every if t < whole}
        if (best := young(flags, models)) < whole:
            times[best] = "Young"
        times[whole] = "none"
        entries += [row(flags, models, t, times[t]) for t in sorted(times)]
    return entries


def young(flags: Flags, models: int) -> float:
    """Young's time between checkpoints of a block."""
    return math.sqrt(2 * models * flags.save_seconds * flags.mtbp)


def table(entries: list[dict]) -> str:
    """Markdown: a line for each row."""
    lines = [
        "| models in a block | seconds between checkpoints | wasted, simulated | exact |",
        "| --- | --- | --- | --- |",
    ]
    for r in entries:
        when = {"none": "no checkpoints", "Young": f"{r['every']:.0f} (Young)"}
        interval = when.get(r["note"], f"{r['every']:.0f}")
        lines.append(f"| {r['block']} | {interval} | {r['wasted']:.1%} | {r['exact']:.1%} |")
    return "\n".join(lines)


def figure(flags: Flags, entries: list[dict], path: Path) -> Path:
    """Lines in closed form, simulated dots; the best time between checkpoints, and Young's."""
    chart, axes = blank(7.2, 4.4)
    for models, colour in zip(flags.blocks, COLOURS * len(flags.blocks), strict=False):
        seconds, save = models * flags.model_seconds, models * flags.save_seconds
        times = np.geomspace(min(5.0, seconds / 2), seconds, 200)
        blocks = [Block.of(seconds, float(t), save) for t in times]
        waste = [1 - seconds / expected(b, flags.mtbp, flags.restart) for b in blocks]
        axes.plot(times, np.multiply(100, waste), color=colour, lw=1.4, label=f"{models} models")
        for r in (r for r in entries if r["block"] == models):
            mark = {"Young": "*", "none": "s"}.get(r["note"], "o")
            size = 11 if mark == "*" else 5
            axes.plot(r["every"], 100 * r["wasted"], mark, color=colour, ms=size, mec="white")
    for mark, label in (("o", "simulated"), ("*", "Young's time"), ("s", "no checkpoints")):
        axes.plot([], [], mark, color="#555555", label=label)
    axes.set(xscale="log", yscale="log", xlabel="seconds of work between checkpoints")
    axes.set_ylabel("wasted time, % of all time")
    ticks = [t for t in (1, 2, 5, 10, 20, 50) if axes.get_ylim()[0] <= t <= axes.get_ylim()[1]]
    axes.set_yticks(ticks, [f"{t} %" for t in ticks])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    return saved(chart, path)


def main() -> None:
    """Simulates, prints, draws."""
    prog = "python -m experiments.benchmarks.preemption"
    try:
        flags = parsed(Flags, None, prog=prog, description=__doc__)
    except ValueError as error:
        raise SystemExit(f"{prog}: {error}") from error
    entries = rows(flags)
    print("\n".join(map(json.dumps, entries)) if flags.json else table(entries))
    if flags.out:
        figure(flags, entries, flags.out)


if __name__ == "__main__":
    main()
