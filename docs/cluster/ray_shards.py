"""An experiment's shards as Ray tasks: each runs the command, again where its worker dies.

    python docs/cluster/ray_shards.py 8 experiments.digits --workdir /shared/run

Ray (RAY_ADDRESS, or the cluster of this machine) places the tasks and repeats those that were lost;
a repeated one goes on from the run folder's last checkpoint. The last to be done writes the report.
"""

import os
import subprocess
import sys

import ray

KILLED_WITH_ME = ("setpriv", "--pdeathsig", "KILL")  # else it would go on, holding its block


class Lost(Exception):
    """The command was ended by something that another start may outlive."""


@ray.remote(num_cpus=1, max_retries=5, retry_exceptions=[Lost])
def shard(index: int, count: int, command: list[str], folder: str) -> str:
    """Runs one shard's command; raises `ValueError` with its last line if it is a mistake."""
    share = ["--shard-index", str(index), "--shard-count", str(count), "--quiet"]
    call = [*KILLED_WITH_ME, sys.executable, "-m", *command, *share]
    done = subprocess.run(call, cwd=folder, stderr=subprocess.PIPE, text=True, check=False)
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if done.returncode == 2:
        raise ValueError(last)
    if done.returncode:
        raise Lost(f"shard {index} ended with status {done.returncode}: {last}")
    return last


def main() -> None:
    """Starts a task for each shard, and waits for all."""
    if len(sys.argv) < 3 or not sys.argv[1].isdigit() or int(sys.argv[1]) < 1:
        print("usage: ray_shards.py SHARDS MODULE [FLAGS]", file=sys.stderr)
        raise SystemExit(2)
    count, command = int(sys.argv[1]), sys.argv[2:]
    ray.init(address=os.environ.get("RAY_ADDRESS", "auto"))
    tasks = [shard.remote(i, count, command, os.getcwd()) for i in range(count)]
    for index, task in enumerate(tasks):
        try:
            print(f"shard {index}: {ray.get(task) or 'done'}")
        except ray.exceptions.RayTaskError as error:
            wrong = isinstance(error.cause, ValueError)
            print(error.cause, file=sys.stderr)
            raise SystemExit(2 if wrong else 1) from None


if __name__ == "__main__":
    main()
