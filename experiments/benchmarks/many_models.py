"""Ten thousand models in one folder, killed twenty times on the way, and then their report.

    python -m experiments.benchmarks.many_models

`python -m experiments.digits --models 10000`, killed (SIGKILL, the whole process group) at twenty
moments drawn over all models, while it starts or trains a block, and started again each time; the
last start goes on to the report.
Beside it the first models once more, never killed: their signals must be the same, bit for bit.
The run lies in a folder for temporary files, removed at the end. Prints a row of JSON: seconds of
all starts and of the report, the highest resident memory, files and bytes, what was said on
resuming, and how many models were trained more than once or lost. With `--results` it is kept.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments import rows
from experiments.benchmarks.streaming import watch
from jaxmia.command.terminal import guarded, parsed
from jaxmia.storage.run import Run
from jaxmia.storage.store import Store

LAST = 0.97  # of the models are finished at most when the last kill comes
WAIT = 4.0  # seconds into a block, which takes longer


@dataclass(frozen=True)
class Flags:
    """How many models, and how often they are killed."""

    models: int = 10_000
    """Shadow models of the digits experiment."""
    kills: int = 20
    """Times that the process is killed while it trains."""
    again: int = 256
    """The first models that are trained once more, by a process that is not killed."""
    attacks: tuple[str, ...] = ("lira_online", "lira_offline", "base", "global_threshold")
    """What the report is of."""
    seed: int = 0
    """Of the moments."""
    folder: Path | None = None
    """Where there is room for temporary files."""
    results: Path | None = None
    """Folder to keep the row in, such as experiments/results; none by default."""


@dataclass
class Starts:
    """What the processes took and said, one after the other."""

    seconds: list[float] = field(default_factory=list)
    highest: list[int] = field(default_factory=lambda: [0])  # KiB
    lines: list[str] = field(default_factory=list)

    def go(
        self, flags: Flags, workdir: Path, models: int, until: int | None = None, wait: float = 0
    ) -> None:
        """One process: to its end, or killed so long after so many models are finished."""
        words = ["--models", str(models), "--workdir", str(workdir), "--attacks", *flags.attacks]
        start = time.perf_counter()
        with open(workdir.with_suffix(".txt"), "w+") as said:
            child = subprocess.Popen(
                [sys.executable, "-m", "experiments.digits", *words],
                stdout=subprocess.DEVNULL, stderr=said, start_new_session=True,
            )  # fmt: skip
            peak = threading.Thread(target=watch, args=(child.pid, self.highest))
            peak.start()
            while child.poll() is None:
                if until is not None and finished(workdir) >= until:
                    time.sleep(wait)  # into the next block
                    os.killpg(child.pid, signal.SIGKILL)
                    break
                time.sleep(0.1)
            status = child.wait()
            peak.join()
            said.seek(0)
            text = said.read()
        self.seconds.append(time.perf_counter() - start)
        if until is None and status:
            raise SystemExit(f"a start that nobody killed ended with status {status}: {text}")
        if until is not None and status != -signal.SIGKILL:
            raise SystemExit(f"a start ended by itself before {until} models: {status}: {text}")
        self.lines += [line for line in text.splitlines() if is_loss(line)]


def is_loss(line: str) -> bool:
    """Whether a line of a start tells that something was lost or mended."""
    return any(word in line for word in ("broken", "digest", "again", "is gone"))


def finished(workdir: Path) -> int:
    """Models whose signals are written, by a run's records."""
    if not (workdir / "experiment.json").exists():
        return 0
    return sum(len(record["models"]) for record in Store(workdir).records())


def size_of(folder: Path) -> dict[str, int]:
    """Files and bytes of a folder."""
    files = [f for f in folder.rglob("*") if f.is_file()]
    return {"files": len(files), "bytes": sum(f.stat().st_size for f in files)}


def same(run: Path, again: Path, models: int) -> bool:
    """Whether the first models' signals are the same bits."""
    of, other = Store(run), Store(again)
    names = ("phi", "margin", "member")
    return all(
        of.arrays.digests(name, range(models)) == other.arrays.digests(name, range(models))
        for name in names
    )


def measured(flags: Flags, folder: Path) -> dict[str, Any]:
    """The row."""
    run, starts = folder / "run", Starts()
    rng = np.random.default_rng(flags.seed)
    most = int(LAST * flags.models)
    moments = np.sort(rng.choice(np.arange(1, most), flags.kills, replace=False))
    for until, wait in zip(moments.tolist(), rng.uniform(0, WAIT, flags.kills), strict=True):
        starts.go(flags, run, flags.models, until, float(wait))
        print(f"killed after {finished(run)} models", file=sys.stderr)
    starts.go(flags, run, flags.models)
    unkilled = Starts()
    unkilled.go(flags, folder / "again", min(flags.again, flags.models))
    summary, store = Run.open(run).summary, Store(run)
    signals = size_of(run / "signals.zarr")
    return {
        "models": flags.models,
        "kills": flags.kills,
        "examples": summary["examples"],
        "seconds": round(sum(starts.seconds), 1),
        "seconds_of_last_start": round(starts.seconds[-1], 1),
        "models_per_hour": summary["models_per_hour"],
        "peak_resident_gib": round(starts.highest[0] / 2**20, 3),
        "peak_of_few_gib": round(unkilled.highest[0] / 2**20, 3),
        "streamed": "streamed" in summary,
        "blocks": len(store.records()),
        "block": store.block,
        "run": size_of(run),
        "signals": signals,
        "lost": starts.lines,
        "broken": store.verify(),
        "same_bits_as_not_killed": same(run, folder / "again", min(flags.again, flags.models)),
        "auc": {name: attack["auc"] for name, attack in summary["attacks"].items()},
    }


def main(flags: Flags) -> None:
    """Measures, prints, keeps."""
    with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
        row = measured(flags, Path(folder))
    common = {"command": rows.command("experiments.benchmarks.many_models", flags)} | rows.about()
    if flags.results is not None:
        rows.keep(flags.results, "many_models", [row], common)
    print(json.dumps(row | common))


if __name__ == "__main__":
    flags = parsed(
        Flags, None, prog="python -m experiments.benchmarks.many_models", description=__doc__
    )
    guarded(lambda: main(flags))
