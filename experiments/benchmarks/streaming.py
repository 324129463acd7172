"""Scoring signals that do not fit in memory: `jaxmia score` from disk, its memory and its time.

    python -m experiments.benchmarks.streaming [--run]

1024 models x 1 000 000 examples (4.1 GB of phi, 1.0 GB of membership, drawn at random, in a folder
for temporary files, removed at the end; the scores take twice 4.1 GB for each attack while they are
made). With `--run` they lie in a run folder, with labels and 4.1 GB of margins, and flat copies of
them are made first. The command runs in a process of its own; what it took is printed as a line of
JSON, with its highest resident memory as the system counts it.

One run each, LiRA online with intervals and p-values, beside other work on the 2 cores of an AMD
EPYC (family 25), jax 0.10.2, Python 3.11:

| models x examples | seconds | CPU seconds | highest resident memory |
| --- | --- | --- | --- |
| 1024 x 1 000 000 (`--run`) | 1862 | 995 | 1.16 GiB |
| 64 x 200 000 (`--models 64 --examples 200000`) | 22 | 22 | 0.64 GiB |
| 64 x 200 000 (the same with `--run`) | 23 | 23 | 0.66 GiB |

Memory depends on a panel of all models and on a row of all examples, not on their product.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from jaxmia.machine import cores, versions
from jaxmia.storage.store import Store


def draw(folder: Path, models: int, examples: int, seed: int = 0) -> None:
    """Signals with a little to find, and complementary halves, written row by row."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(2, 2, examples).astype(np.float32)
    shapes = (("phi", np.float32), ("member", np.bool_))
    files = {n: np.lib.format.open_memmap(folder / f"{n}.npy", "w+", t, (models, examples))
             for n, t in shapes}  # fmt: skip
    for m in range(models):
        even = m % 2 == 0
        files["member"][m] = rng.random(examples) < 0.5 if even else ~files["member"][m - 1]
        noise = rng.standard_normal(examples, np.float32)
        files["phi"][m] = hard + noise + np.float32(0.7) * files["member"][m]
        if m % 64 == 63:
            for file in files.values():
                file.flush()


def draw_run(folder: Path, models: int, examples: int, block: int = 64, seed: int = 0) -> None:
    """The same with margins and labels, as a run folder whose models are trained."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(2, 2, examples).astype(np.float32)
    plan = {"width": block, "block": block, "convolution": "none"}
    store = Store.create(folder, {"examples": examples, "seed": seed}, plan, {})
    labels = store.write_fixed("y", rng.integers(10, size=examples).astype(np.int32))
    for start in range(0, models, block):
        rows = range(start, min(start + block, models))
        half = rng.random((-(-len(rows) // 2), examples)) < 0.5
        member = np.stack([half, ~half], 1).reshape(-1, examples)[: len(rows)]
        phi = rng.standard_normal(member.shape, np.float32)
        phi += hard
        phi += np.float32(0.7) * member
        arrays = {"phi": phi[..., None], "margin": phi, "member": member}
        store.finish(start // block, rows, arrays, models, fixed={"y": labels})


def watch(process: int, highest: list[int]) -> None:
    """Its highest resident memory in KiB; getrusage counts ours at the fork."""
    while True:
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
            highest[0] = max(
                highest[0], next(int(w.split()[1]) for w in lines if w.startswith("VmHWM"))
            )
        except (OSError, StopIteration):
            return
        time.sleep(0.02)


def main() -> None:
    """Draws, scores, measures, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=1024)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--attacks", nargs="+", default=["lira_online"])
    parser.add_argument("--folder", type=Path, default=None, help="where there is room")
    parser.add_argument("--run", action="store_true", help="of a run folder")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=flags.folder) as name:
        folder = Path(name)
        if flags.run:
            draw_run(folder / "run", flags.models, flags.examples)
            source = ["--run", str(folder / "run")]
        else:
            draw(folder, flags.models, flags.examples)
            source = ["--signals", str(folder / "phi.npy"), "--member", str(folder / "member.npy")]
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-c", "from jaxmia.command.app import main; main()", "score",
             *source, "--stream", "always", "--out", str(folder / "out"), "--json",
             "--attacks", *flags.attacks],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert child.stdout is not None
        peak = threading.Thread(target=watch, args=(child.pid, highest := [0]))
        peak.start()
        out = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        peak.join()
        seconds = time.perf_counter() - start
        if status:
            raise SystemExit(f"jaxmia score ended with status {status}")
        summary = json.loads(out)
        row = {
            "models": flags.models,
            "examples": flags.examples,
            "run": flags.run,
            "attacks": {k: a["auc"] for k, a in summary["attacks"].items()},
            "rounding": {k: a["rounding"] for k, a in summary["attacks"].items()},
            "seconds": round(seconds, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_resident_gib": round(highest[0] / 2**20, 3),
            "cores": cores(),
            "versions": versions(),
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
