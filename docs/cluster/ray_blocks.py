"""A run's blocks as Ray tasks: each worker is one task, tried again where its node dies.

    python docs/cluster/ray_blocks.py --workers 4 -- experiments.digits --workdir /shared/run

Ray places the tasks and repeats those whose process was lost; jaxmia's run folder does the rest, so
a repeated task goes on from the last checkpoint. The last one to be done writes the report.
"""

import argparse
import os
import subprocess
import sys

import ray


@ray.remote(num_cpus=1, max_retries=5, retry_exceptions=True)
def work(module: str, flags: list[str], index: int, count: int, folder: str) -> str:
    """One worker's share, in a process of its own; raises what Ray repeats."""
    call = [sys.executable, "-m", module, *flags, "--shard-index", str(index)]
    done = subprocess.run(
        [*call, "--shard-count", str(count), "--quiet"], cwd=folder, stderr=subprocess.PIPE,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode == 2:  # a mistake: once more would be the same
        return done.stderr.strip()
    if done.returncode:
        raise RuntimeError(f"worker {index} ended with status {done.returncode}")
    return ""


def main() -> None:
    """Starts the tasks and waits for them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- MODULE FLAGS")
    given = parser.parse_args()
    module, *flags = [w for w in given.command if w != "--"]
    ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False)
    tasks = [
        work.remote(module, flags, i, given.workers, os.getcwd()) for i in range(given.workers)
    ]
    told = [line for line in ray.get(tasks) if line]
    if told:
        raise SystemExit("\n".join(told))


if __name__ == "__main__":
    main()
