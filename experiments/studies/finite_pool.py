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
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

import jaxmia
from experiments import digits, rows
from jaxmia import Experiment, data, design, metrics
from jaxmia.attacks import attack_every_model, lira
from jaxmia.command.terminal import guarded, parsed
from jaxmia.evaluation.finite_pool import Sides, data_share, fresh_signals, inflation
from jaxmia.options import Options
from jaxmia.training.progress import Progress
from jaxmia.types import Data, Signals
from jaxmia.values import factory

ATTACK = "lira_online"
LEVELS = (1e-2, 1e-3)
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


class Toy(NamedTuple):
    """phi `[M, N, 1]` of models with fresh data, of samples of a pool, and of these once more."""

    truth: np.ndarray
    pool: np.ndarray
    again: np.ndarray
    member: np.ndarray


def toy(seed: int, noise: float, models: int = 128, examples: int = 1440, size: int = 300) -> Toy:
    """Models that are the mean of half of the vectors; phi is the product with an example.

    Directions are uniform, the logarithms of norms normal with a deviation of 0.5. `noise` is the
    variance of the training's noise over that of the mean of fresh vectors.
    """
    rng, half = np.random.default_rng(seed), examples // 2

    def vectors(count: int) -> np.ndarray:
        directions = rng.standard_normal((count, size))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return directions * np.exp(0.5 * rng.standard_normal((count, 1)))

    def trained(sums: np.ndarray) -> np.ndarray:
        spread = np.sqrt(noise * np.exp(2 * 0.5**2) * half / size)
        return sums + spread * rng.standard_normal(sums.shape)

    x = vectors(examples)
    member = design.complementary_halves(seed, models, examples)
    sums = member.astype(np.float64) @ x
    others = np.stack([vectors(half - 1).sum(0) for _ in range(models)])
    last = vectors(models)  # in the place of an example that is out
    fresh = trained(others) @ x.T + np.where(member, (x * x).sum(1), last @ x.T)
    return Toy(fresh[..., None], (trained(sums) @ x.T)[..., None], (trained(sums) @ x.T)[..., None],
               member)  # fmt: skip


def figures(phi: np.ndarray, member: np.ndarray) -> list[float]:
    """AUC, and TPR at each level, every model attacked in turn."""
    score = attack_every_model(Signals(phi), member, [ATTACK])[ATTACK]
    return _figures(score, member)


def _figures(score: np.ndarray, member: np.ndarray) -> list[float]:
    whole = metrics.figures(score, member, LEVELS)
    return [whole.auc, *whole.tpr_at_fpr.tolist()]


def toys(flags: Flags) -> list[dict[str, Any]]:
    """A row for each noise: the truth, samples of a pool, and these corrected."""
    lines = []
    for noise in (0.0, 1.0):
        cases: dict[str, list[list[float]]] = {"fresh": [], "pool": [], "corrected": []}
        shares = []
        for seed in range(flags.draws):
            one = toy(seed, noise, flags.models)
            shares.append(data_share(one.pool, one.again, one.member))
            rho = inflation(shares[-1], 0.5)
            corrected = fresh_signals(Signals(one.pool), one.member, rho, seed)
            for name, phi in zip(cases, (one.truth, one.pool, corrected.phi), strict=True):
                cases[name].append(figures(np.asarray(phi), one.member))
        f_in, f_out = np.mean(shares, 0).tolist()
        lines.append(
            {"part": "toy", "noise": noise, "draws": flags.draws, "models": flags.models,
             "f_in": f_in, "f_out": f_out, "cases": {k: _summary(v) for k, v in cases.items()}}
        )  # fmt: skip
    return lines


def _summary(several: list[list[float]]) -> dict[str, Any]:
    """Mean and standard deviation over draws."""
    mean, deviation = np.mean(several, 0), np.std(several, 0)
    return {
        "auc": float(mean[0]),
        "tpr_at_fpr": {f"{level:g}": float(r) for level, r in zip(LEVELS, mean[1:], strict=True)},
        "deviation": deviation.tolist(),
    }


@factory
def all_digits() -> Callable[[], Data]:
    """1617 digits in one random order, and 180 aside."""

    def load() -> Data:
        whole = data.digits()()
        x = np.concatenate([whole.x, whole.x_test])
        y = np.concatenate([whole.y, whole.y_test])
        order = np.random.default_rng(0).permutation(len(y))
        pool, aside = order[180:], order[:180]
        return replace(whole, x=x[pool], y=y[pool], x_test=x[aside], y_test=y[aside])

    return load


QUERIES, MEMBERS = 360, 180
# of each pool its records, and references for each on a side, so that every query has enough
POOLS = {"pool of 360": (360, 3.0), "pool of 720": (720, 6.0), "pool of 1617": (1617, 13.6)}
CORRECTED = "the first, corrected to the last"


def small_pools(flags: Flags) -> list[dict[str, Any]]:
    """A row: the same queries asked of models of three pools, and the smallest one corrected."""
    cases: dict[str, dict[str, Any]] = {}
    variances: dict[str, list[float]] = {}
    share = Sides(1.0, 1.0)
    for name, (records, factor) in POOLS.items():
        first = records == QUERIES
        small = Experiment(
            name="pool",
            data=data.first(all_digits(), records),
            recipe=replace(digits.experiment.recipe, epochs=flags.epochs),
            models=flags.models + round(factor * flags.references),
            design=design.fixed_size(MEMBERS),
            attacks=("global_threshold",),
            repeat_sets=min(64, flags.models) if first else 0,
        )
        run = jaxmia.run(small, _options(flags, name.replace(" ", "_")))
        phi, member = np.asarray(run.signals.phi)[:, :QUERIES], run.member[:, :QUERIES]
        variances[name] = [_variance(phi, member), _variance(phi, ~member)]
        several = [(name, phi)]
        if first:
            assert run.repeats is not None
            again = np.asarray(run.repeats.signals.phi)
            share = data_share(phi[: len(again)], again, member[: len(again)])
            rho = inflation(share, MEMBERS / QUERIES, MEMBERS / 1617)
            corrected = np.asarray(fresh_signals(Signals(phi), member, rho).phi)
            several.append((CORRECTED, corrected))
        for case, of in several:
            scores = [
                attacked(of, member, flags.models, flags.references, seed) for seed in range(5)
            ]
            cases[case] = _summary([_figures(*pair) for pair in scores])
    return [
        {"part": "small_pool", "queries": QUERIES, "members": MEMBERS, "targets": flags.models,
         "references": 2 * [flags.references], "draws": 5, "f_in": share.inside,
         "f_out": share.outside, "variance_in_out": variances, "cases": cases}
    ]  # fmt: skip


def _variance(phi: np.ndarray, side: np.ndarray) -> float:
    """The mean over queries of the variance of phi on one side."""
    n = side.sum(0)
    off = phi[..., 0] - phi[..., 0].sum(0, where=side) / np.maximum(n, 1)
    return float(((off**2).sum(0, where=side) / np.maximum(n - 1, 1)).mean())


def attacked(
    phi: np.ndarray, member: np.ndarray, targets: int, references: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and membership of so many targets, by equal numbers of IN and OUT references."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(phi))
    at, others = order[:targets], order[targets:]
    rank = rng.random((len(others), member.shape[1]))
    reference = []
    for side in (member[others], ~member[others]):
        places = np.argsort(np.where(side, rank, 2), axis=0)[:references]
        values = np.where(side, phi[others, :, 0], np.nan)  # NaN is no reference
        reference.append(np.take_along_axis(values, places, axis=0))
    inside = np.repeat([True, False], [len(side) for side in reference])
    both = np.concatenate(reference)
    inside = np.repeat(inside[:, None], both.shape[1], axis=1)
    scores = [lira.online(phi[target, :, 0], both, inside) for target in at]
    return np.stack(scores), member[at]


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
    work = {"toy": toys, "small_pool": small_pools, "digits": repeated_digits}
    for name in flags.parts:
        if name not in work:
            raise ValueError(f"--parts: {name[:80]!r} is not one of {', '.join(PARTS)}")
    lines = [row for name in flags.parts for row in keep(work[name](flags), flags)]
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
