"""What preemptions cost: wasted work against block size and time between checkpoints.

    python -m experiments.preemption

A worker trains `models` in blocks of `block`, `seconds` each; a checkpoint takes `save` seconds per
model of the block and is made every `every` seconds of work. It is preempted at the times of a
Poisson process (one in `mtbp` seconds on average), and `restart` seconds later it goes on from its
last checkpoint or finished block. Wasted is all time that is not training: what was lost, the
checkpoints, the restarts. For frequent checkpoints the optimum is Young's sqrt(2 save mtbp) (1974).
Beside the simulated share stands the one in closed form (Daly 2006, equation 13, exact for
exponential times): mtbp e^(restart/mtbp) (e^((every + save)/mtbp) - 1) / every - 1.
"""

import argparse
import json
import math

import numpy as np


def wasted(
    rng: np.random.Generator, seconds: float, save: float, every: float, mtbp: float, restart: float
) -> float:
    """Wasted time over training time, simulated, for so many seconds of work in all."""
    done = spent = 0.0
    until = rng.exponential(mtbp)  # working time that is left before the next preemption
    while done < seconds:
        part = min(every, seconds - done)
        needed = part + save
        if until >= needed:
            until -= needed
            spent += needed
            done += part
            continue
        spent += until
        while (until := rng.exponential(mtbp)) < restart:  # preempted while it starts again
            spent += until
        spent += restart
        until -= restart
    return spent / seconds - 1


def closed_form(save: float, every: float, mtbp: float, restart: float) -> float:
    """Daly's expected waste."""
    return mtbp * math.exp(restart / mtbp) * math.expm1((every + save) / mtbp) / every - 1


def main() -> None:
    """A row for each block size and time between checkpoints, and the optimum of each block."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model-seconds", type=float, default=36.0, help="to train one model")
    parser.add_argument("--save-seconds", type=float, default=0.01, help="checkpoint, per model")
    parser.add_argument("--mtbp", type=float, default=2 * 3600.0, help="between preemptions")
    parser.add_argument("--restart", type=float, default=180.0, help="until work goes on")
    parser.add_argument("--blocks", type=int, nargs="+", default=[4, 16, 64, 256])
    parser.add_argument("--every", type=float, nargs="+", default=[15, 60, 240, 960, 3840])
    parser.add_argument("--preemptions", type=int, default=4000, help="simulated for each row")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    for block in given.blocks:
        save, whole = given.save_seconds * block, given.model_seconds * block
        best = math.sqrt(2 * save * given.mtbp)
        for every in sorted({*given.every, round(best, 1), whole}):
            if every > whole:  # a finished block is as good as a checkpoint
                continue
            work = given.mtbp * given.preemptions
            found = wasted(rng, work, save, every, given.mtbp, given.restart)
            row = {
                "block": block,
                "every": every,
                "note": "Young" if every == round(best, 1) else "no checkpoints"
                if every == whole else "",
                "wasted": round(found, 4),
                "closed_form": round(closed_form(save, every, given.mtbp, given.restart), 4),
            }  # fmt: skip
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
