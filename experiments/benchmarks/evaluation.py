"""How long `jaxmia score` takes from signals to report: seconds by stage, and memory.

    python -m experiments.benchmarks.evaluation [--against FOLDER]

Signals drawn at random (complementary halves, a little to find), one view, in a folder for
temporary files. The command runs in a process of its own; a stage is timed by the lines that it
prints, and memory is the highest that the system counts. `--against` names a checkout of another
version, which attacks the same signals in turn, round by round: its row has the ratio to it. Rows
are appended to experiments/results/evaluation.jsonl.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.streaming import draw, watch
from experiments.rows import RESULTS, about
from jaxmia.command.inputs import DEFAULT
from jaxmia.command.terminal import parsed
from jaxmia.machine import cores

COMMAND = "import sys; from jaxmia.{} import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Flags:
    """What is timed."""

    models: int = 256
    """Shadow models, each attacked by the others."""
    examples: int = 50_000
    """Examples of the pool."""
    attacks: tuple[str, ...] = DEFAULT
    """Names of attacks."""
    rounds: int = 3
    """Rounds, of which the median is taken."""
    against: Path | None = None
    """A checkout of another version, timed in turn with this one."""
    folder: Path | None = None
    """Where there is room for signals and scores."""
    out: Path = RESULTS / "evaluation.jsonl"
    """The file that rows are appended to."""


def scored(checkout: Path, folder: Path, attacks: tuple[str, ...]) -> dict[str, Any]:
    """One run of the command: `seconds` in all, by stage, `peak_bytes`, size of the scores."""
    home = "command.app" if (checkout / "jaxmia" / "command").is_dir() else "command"
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(home), "score",
         "--signals", str(folder / "phi.npy"), "--member", str(folder / "member.npy"),
         "--stream", "never", "--out", str(folder / "out"), "--json", "--attacks", *attacks],
        cwd=checkout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stderr is not None
    peak = threading.Thread(target=watch, args=(child.pid, highest := [0]))
    peak.start()
    stages: dict[str, float] = {}
    starts, name = {}, ""
    for line in child.stderr:
        now, name = time.perf_counter() - start, line.strip()
        if (ended := re.sub(r": took [0-9:]+$", "", name)) in starts and ended != name:
            stages[ended] = round(now - starts[ended], 2)
        starts[name] = now
    _, status, used = os.wait4(child.pid, 0)
    peak.join()
    if status:
        raise SystemExit(f"jaxmia score ended with status {status}: {name}")
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "stages": stages,
        "peak_bytes": highest[0] * 1024,
        "scores_bytes": (folder / "out" / "scores.npz").stat().st_size,
    }


def measured(flags: Flags) -> list[dict[str, Any]]:
    """A row for this version, and one for the other where there is one."""
    here = Path(__file__).parents[2]
    checkouts = {"this": here, **({"other": flags.against} if flags.against else {})}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory(dir=flags.folder) as name:
        draw(Path(name), flags.models, flags.examples)
        for number in range(flags.rounds):
            for version, checkout in checkouts.items():
                run = scored(checkout.resolve(), Path(name), flags.attacks)
                print(f"round {number + 1}, {version}: {run['seconds']:.1f} s", flush=True)
                runs[version].append(run)
    rows = []
    for version, of in runs.items():
        order = np.argsort([r["seconds"] for r in of])
        middle = of[int(order[(len(of) - 1) // 2])]
        rows.append(
            {
                "work": "score",
                "version": version,
                "models": flags.models,
                "examples": flags.examples,
                "attacks": list(flags.attacks),
                "cores": cores(),
                "git": _revision(checkouts[version]),
                "rounds": [round(r["seconds"], 1) for r in of],
                **middle,
            }
        )
    for row in rows[:-1]:
        row["ratio"] = row["seconds"] / rows[-1]["seconds"]
    return rows


def _revision(checkout: Path) -> str:
    words = ["git", "-C", str(checkout), "describe", "--always", "--dirty=+", "--abbrev=12"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Times, prints, appends."""
    flags = parsed(
        Flags, None, prog="python -m experiments.benchmarks.evaluation", description=__doc__
    )
    rows = measured(flags)
    for r in rows:
        text = f"{r['version']}: {r['seconds']:.1f} s, {r['peak_bytes'] / 2**30:.2f} GiB"
        print(text + (f", {r['ratio']:.2f} of the other" if "ratio" in r else ""))
        for stage, seconds in r["stages"].items():
            print(f"  {stage:<40}{seconds:>8.1f} s")
    with flags.out.open("a") as out:
        out.writelines(json.dumps(about() | r) + "\n" for r in rows)


if __name__ == "__main__":
    main()
