"""What knowing the pool is worth to an attacker, and whether the correction for it is right.

    python -m experiments.studies.finite_pool

All shadow models draw their training sets from one pool, half of which the target was trained on:
the other records move phi less than fresh data would, and an attacker who has only data of the same
distribution finds fewer than the figures say (`jaxmia.evaluation.finite_pool`). Three parts, LiRA
online if nothing else is said:

- `toy`: a model is the mean of n vectors of 300 coordinates with heavy-tailed norms, and noise of
  its training; the truth with fresh data is drawn beside samples of a pool, and their correction;
- `small_pool`: the same 360 digits asked of networks that were trained on 180 records of a pool of
  360, of 720 and of 1617, which are members 1/2, 1/4 and 1/9 of the time, attacked with 50 + 50
  references each; and those of the smallest pool, corrected to the largest;
- `digits`: the models of `experiments.digits` with 64 of the sets trained on twice.

With `--results` the parts' rows are kept, in place of those that they had; what came out:
docs/results/finite_pool.md.
"""

import json
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import jaxmia
from experiments import digits, rows
from experiments.studies.finite_pool_queries import Size, small_pools
from experiments.studies.finite_pool_toy import toys
from jaxmia.attacks import attack_every_model
from jaxmia.command.terminal import guarded, parsed
from jaxmia.evaluation.finite_pool import Sides, data_share, fresh_signals
from jaxmia.options import Options
from jaxmia.training.progress import Progress
from jaxmia.types import Signals

PARTS = ("toy", "small_pool", "digits")


@dataclass(frozen=True)
class Flags:
    """Which parts, and how large they are."""

    parts: tuple[str, ...] = PARTS
    """Of toy, small_pool, digits."""
    draws: int = 8
    """Toys of each kind that are drawn."""
    models: int = 128
    """Targets of each part."""
    epochs: int = digits.experiment.recipe.epochs
    """Epochs each network is trained."""
    references: int = 50
    """References of the small pools on each side."""
    workdir: Path = Path("checkpoints/finite_pool")
    """Folder for the runs."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    quiet: bool = False
    """No progress."""


def repeated_digits(flags: Flags) -> list[dict[str, Any]]:
    """A row: the digits' own models with 64 repeated sets, as their report has it."""
    twice = replace(
        digits.experiment,
        models=flags.models,
        recipe=replace(digits.experiment.recipe, epochs=flags.epochs),
        attacks=("lira_online", "lira_offline", "base", "global_threshold"),
        repeat_sets=min(64, flags.models),
    )
    run = jaxmia.run(twice, _options(flags, "digits"))
    pool = run.summary["finite_pool"]
    assert run.repeats is not None
    phi, again = (np.asarray(r.signals.phi) for r in (run, run.repeats))
    fewer = {k: data_share(phi[:k], again[:k], run.member[:k]) for k in (8, 16, 32) if k < len(phi)}
    rho = Sides(pool["rho_in"], pool["rho_out"])
    names = [name for name in twice.attacks if name in pool["attacks"]]
    return [
        {
            "part": "digits",
            "models": flags.models,
            **{k: pool[k] for k in ("repeat_sets", "f_in", "f_out", "rho_in", "rho_out", "kind")},
            "f_by_fewer_sets": {str(k): list(share) for k, share in fewer.items()},
            "pool": {name: _brief(run.summary["attacks"][name]) for name in names},
            "corrected": {name: _brief(pool["attacks"][name]) for name in names},
            "by_p_value": {
                "pool": by_p_value(phi, run.member),
                "corrected": by_p_value(
                    np.asarray(fresh_signals(Signals(phi), run.member, rho).phi), run.member
                ),
            },
        }
    ]


def _brief(attack: dict[str, Any]) -> dict[str, Any]:
    return {k: attack.get(k) for k in ("auc", "tpr_at_fpr", "intervals")} | {
        "intervals": {
            k: v for k, v in (attack.get("intervals") or {}).items() if k in ("auc", "tpr_at_fpr")
        }
    }


def by_p_value(phi: np.ndarray, member: np.ndarray, level: float = 1e-3) -> dict[str, float]:
    """What is found if an example is called a member where chance would rarely put it so high.

    LiRA offline's Student-t score is minus the logarithm of that chance, for each example by its
    own OUT law: nobody is accused wrongly more often than by `level`, and `fpr` says how often.
    """
    name = "lira_offline_student_t"
    score = attack_every_model(Signals(phi), member, [name])[name]
    above = score > -np.log(level)
    return {"tpr": float(above[member].mean()), "fpr": float(above[~member].mean())}


def _options(flags: Flags, name: str) -> Options:
    return Options(workdir=flags.workdir / name, progress=Progress(flags.quiet))


def table(lines: list[dict[str, Any]]) -> Table:
    """The rows, for people."""
    out = Table(box=None, pad_edge=False)
    for head in ("part", "case", "AUC", "TPR@1%", "TPR@0.1%"):
        out.add_column(head, justify="left" if head in ("part", "case") else "right")
    for row in lines:
        name = row["part"] + (f", noise {row['noise']:g}" if "noise" in row else "")
        name += f" (f {row['f_in']:.2f}, {row['f_out']:.2f})"
        cases = row.get("cases") or {
            f"{attack}, {case}": row[case][attack]
            for attack in row["pool"]
            for case in ("pool", "corrected")
        }
        for case, of in cases.items():
            rates = [f"{100 * of['tpr_at_fpr'][k]:.2f} %" for k in ("0.01", "0.001")]
            out.add_row(name, case, f"{of['auc']:.3f}", *rates)
            name = ""
    return out


def keep(part: list[dict[str, Any]], flags: Flags) -> list[dict[str, Any]]:
    """The rows of a part with what they were measured by, kept beside those of the others."""
    common = rows.about() | {"command": rows.command("experiments.studies.finite_pool", flags)}
    part = [row | common for row in part]
    if flags.results:
        file = flags.results / "finite_pool.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        others = [row for row in map(json.loads, lines) if row["part"] != part[0]["part"]]
        order = sorted(others + part, key=lambda row: PARTS.index(row["part"]))
        rows.keep(flags.results, "finite_pool", order, {})
    return part


def main(flags: Flags) -> None:
    """Runs the parts, keeps their rows, prints them."""
    size = Size(flags.models, flags.references, flags.epochs)
    work = {
        "toy": lambda: toys(flags.draws, flags.models),
        "small_pool": lambda: small_pools(size, partial(_options, flags)),
        "digits": lambda: repeated_digits(flags),
    }
    for name in flags.parts:
        if name not in work:
            raise ValueError(f"--parts: {name[:80]!r} is not one of {', '.join(PARTS)}")
    lines = [row for name in flags.parts for row in keep(work[name](), flags)]
    if flags.json:
        print(json.dumps(lines))
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False, width=140)
    console.print(table(lines))
    for row in lines:
        for case, of in row.get("by_p_value", {}).items():
            console.print(f"{case}, by p-values below 0.001: {of['tpr']:.2%} at {of['fpr']:.3%}")


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.finite_pool")
    guarded(lambda: main(flags))
