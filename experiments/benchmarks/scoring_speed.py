"""How fast every model is attacked by all the others: leave-one-out LiRA on arrays of noise.

    python -m experiments.benchmarks.scoring_speed [--quick]

Against refitting for each target, example by example, as scripts around the published attack do,
and against copying the array once. One process, rounds interleaved, medians; the refit is timed on
a few targets and multiplied. Rows are appended to experiments/results/scoring_speed.jsonl.
"""

import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.rows import RESULTS, about
from jaxmia import design
from jaxmia.attacks import lira
from jaxmia.command.terminal import parsed

TARGETS = 2  # that are refitted


@dataclass(frozen=True)
class Flags:
    """What is timed."""

    rounds: int = 5
    """Rounds, of which the median is taken."""
    quick: bool = False
    """Small arrays, one round, nothing kept: to see that it works."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    out: Path = RESULTS / "scoring_speed.jsonl"
    """The file that rows are appended to."""


VARIANTS = {
    "online": {"mode": "online", "variance": "per_example"},
    "offline": {"mode": "offline", "variance": "per_example"},
    "online_global": {"mode": "online", "variance": "global"},
    "online_student_t": {"mode": "online", "variance": "student_t"},
    "online_median": {"mode": "online", "variance": "per_example", "centre": "median"},
}


def cases(quick: bool) -> list[tuple[int, int, int, tuple[str, ...]]]:
    """M, N, Q and the variants: the paper's size, its 18 queries, growth with M and with N."""
    if quick:
        return [(16, 500, 1, tuple(VARIANTS))]
    return [
        (256, 50_000, 1, tuple(VARIANTS)),
        (256, 50_000, 18, ("online",)),
        *((m, 20_000, 1, ("online",)) for m in (32, 64, 128, 256, 512, 1024)),
        *((128, n, 1, ("online",)) for n in (5_000, 10_000, 40_000, 160_000)),
    ]


def refit(phi: np.ndarray, member: np.ndarray) -> Callable[[], float]:
    """Seconds of attacking all targets by lists of references, fitted anew for each target."""

    def seconds() -> float:
        start = time.perf_counter()
        for t in range(TARGETS):
            others = np.arange(len(phi)) != t
            keep, reference = member[others], phi[others]
            for j in range(phi.shape[1]):
                fits = [
                    (g.mean(0), g.std(0) + 1e-30)
                    for g in (reference[keep[:, j], j], reference[~keep[:, j], j])
                ]
                z = [((phi[t, j] - mean) / s) ** 2 / 2 + np.log(s) for mean, s in fits]
                float((z[1] - z[0]).mean())
        return (time.perf_counter() - start) / TARGETS * len(phi)

    return seconds


def measured(
    models: int, examples: int, queries: int, names: tuple[str, ...], rounds: int
) -> list[dict[str, Any]]:
    """A row for each variant of one size."""
    rng = np.random.default_rng(0)
    phi = rng.standard_normal((models, examples, queries), np.float32)
    member = design.complementary_halves(0, models, examples)
    target = np.empty_like(phi)

    def timed(work: Callable[[], Any]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    jobs = {
        name: lambda name=name: lira.leave_one_out(phi, member, **VARIANTS[name]) for name in names
    }
    took: dict[str, list[float]] = {name: [] for name in (*jobs, "copy")}
    for number in range(rounds + 1):
        for name, job in {**jobs, "copy": lambda: np.copyto(target, phi)}.items():
            seconds = timed(job)
            if number:  # the first one warms up
                took[name].append(seconds)
    middle = {name: float(np.median(v)) for name, v in took.items()}
    few = examples if examples <= 1000 else examples // 10
    again = refit(phi[:, :few], member[:, :few])() * examples / few
    rows = []
    for name, job in jobs.items():
        tracemalloc.start()
        job()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append(
            {
                "work": f"lira_leave_one_out_{name}",
                "models": models,
                "examples": examples,
                "queries": queries,
                "seconds": middle[name],
                "copies": middle[name] / middle["copy"],
                "refits": again / middle[name],
                "ns_per_number": 1e9 * middle[name] / phi.size,
                "peak_bytes": peak,
            }
        )
    return rows


HEAD = (
    f"{'work':<40}{'M':>5}{'N':>8}{'Q':>4}{'seconds':>9}{'copies':>8}"
    f"{'x refit':>9}{'ns/number':>11}{'memory':>11}"
)


def line(r: dict[str, Any]) -> str:
    """A row, for people."""
    return (
        f"{r['work']:<40}{r['models']:>5}{r['examples']:>8}{r['queries']:>4}{r['seconds']:>9.3f}"
        f"{r['copies']:>8.1f}{r['refits']:>9.0f}{r['ns_per_number']:>11.1f}"
        f"{r['peak_bytes'] / 2**20:>7.0f} MiB"
    )


def main() -> None:
    """Times, prints, appends."""
    flags = parsed(
        Flags, None, prog="python -m experiments.benchmarks.scoring_speed", description=__doc__
    )
    stream = sys.stderr if flags.json else sys.stdout
    print(HEAD, file=stream)
    for models, examples, queries, names in cases(flags.quick):
        rows = measured(models, examples, queries, names, 1 if flags.quick else flags.rounds)
        for r in rows:
            print(line(r), file=stream, flush=True)
            if flags.json:
                print(json.dumps(r), flush=True)
        if not flags.quick:
            flags.out.parent.mkdir(parents=True, exist_ok=True)
            with flags.out.open("a") as out:
                out.writelines(json.dumps(r | about()) + "\n" for r in rows)


if __name__ == "__main__":
    main()
