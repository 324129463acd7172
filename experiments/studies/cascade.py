"""What an attacker gains who trains for one target: the cascading attack on digits.

    python -m experiments.studies.cascade

Targets are models of `experiments.digits` that no shadow model knows of; their members are used to
measure with, and for nothing else. Each is attacked by CMIA (`jaxmia.cascade`): round 1 is the same
shadow models for all, every further round trains as many for this target alone, around what the
rounds before were surest of. What that is worth is said against LiRA with the *same total* of
shadow models, all of them ordinary. Two parts:

- `cascade`: the attack, on all records and without those that became anchors;
- `oracle`: the true membership of a tenth of the records, drawn at random, fixed in one further
  round; measured on the other nine tenths.

Intervals are 95 %, of records drawn with all targets, for both attacks alike; shadow models are not
drawn anew, and `auc_of_sets` says what others of them would have changed. With `--results` the rows
are kept, in place of those that the parts had; what came out: docs/results/cascade.md.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import digits, paired, rows
from jaxmia import metrics
from jaxmia.attacks import anchors
from jaxmia.attacks.anchors import FREE
from jaxmia.attacks.cascading import Shadows, score_of, together
from jaxmia.cascade import Cascade, anchored, cascade, shadows_of
from jaxmia.command.terminal import guarded, parsed
from jaxmia.experiment import Experiment
from jaxmia.options import Options
from jaxmia.training.progress import Progress
from jaxmia.types import Signals

PARTS = ("cascade", "oracle")
LEVELS = (1e-2, 1e-3)
TENTH = 0.1  # of the records are anchors of the oracle
APART = {"targets": 1, "more": 2}  # seeds of models that are no round's


@dataclass(frozen=True)
class Flags:
    """How many targets, rounds and shadow models."""

    parts: tuple[str, ...] = PARTS
    """Of cascade, oracle."""
    targets: int = 16
    """Models that are attacked."""
    models: int = 64
    """Shadow models of a round."""
    rounds: int = 3
    """Rounds of a cascade."""
    references: int = 1
    """Shadow models of a round whose errors set the thresholds of its anchors."""
    attack: str = "lira_online"
    """The attack that scores."""
    epochs: int = digits.experiment.recipe.epochs
    """Epochs each network is trained."""
    seed: int = 0
    """All that is random comes from it."""
    draws: int = 400
    """Draws of the paired bootstrap."""
    workdir: Path = Path("checkpoints/cascade")
    """Folder for the runs."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    quiet: bool = False
    """No progress."""


class Attacked(NamedTuple):
    """Scores `[T, N]` of all targets, and their anchors in the last round, if any."""

    attack: np.ndarray
    baseline: np.ndarray
    member: np.ndarray
    anchor: np.ndarray
    models: list[int]


class Study(NamedTuple):
    """What both parts share: targets, and ordinary shadow models, those of round 1 first."""

    flags: Flags
    experiment: Experiment
    targets: Shadows
    ordinary: Shadows

    def target(self, t: int) -> Signals:
        """The signals of a target."""
        return self.targets.signals.models(t)

    def some(self, at: slice) -> Shadows:
        """Some of the ordinary shadow models."""
        return Shadows(self.ordinary.signals.models(at), self.ordinary.member[at])

    def baseline(self, t: int, models: int) -> np.ndarray:
        """A target's score by so many ordinary shadow models."""
        return score_of(self.target(t), self.some(slice(models)), self.flags.attack)


def study(flags: Flags) -> Study:
    """The targets, round 1, and as many ordinary models as the other rounds have."""
    recipe = replace(digits.experiment.recipe, epochs=flags.epochs)
    experiment = replace(
        digits.experiment, recipe=recipe, models=flags.models, seed=flags.seed,
        attacks=(flags.attack,),
    )  # fmt: skip
    more = max(flags.rounds - 1, 1) * flags.models
    ordinary = [shadows_of(experiment, options(flags, "round_1"))]
    ordinary.append(shadows_of(apart(experiment, "more", more), options(flags, "more")))
    targets = shadows_of(apart(experiment, "targets", flags.targets), options(flags, "targets"))
    return Study(flags, experiment, targets, together(ordinary))


def apart(experiment: Experiment, name: str, models: int) -> Experiment:
    """The experiment with another seed."""
    seed = np.random.SeedSequence([experiment.seed, APART[name]]).generate_state(1)[0]
    return replace(experiment, models=models, seed=int(seed))


def options(flags: Flags, folder: str) -> Options:
    """Where a run lies."""
    return Options(flags.workdir / folder, progress=Progress(flags.quiet))


def cascades(of: Study) -> list[dict[str, Any]]:
    """Every target attacked by a cascade."""
    flags = of.flags
    settings = Cascade(flags.rounds, flags.references, flags.attack)
    first, ends, counts = [], [], []
    for t in range(flags.targets):
        *_, last = every = list(cascade(
            of.experiment, of.target(t), settings, options(flags, f"target_{t:02d}"),
            number=t, first=flags.workdir / "round_1",
        ))  # fmt: skip
        first.append(every[0].score)
        ends.append((last.score, of.baseline(t, last.models), last.anchor, last.models))
        counts.append(anchors_of(every[1:], of.targets.member[t]))
    score, baseline, anchor, models = zip(*ends, strict=True)
    attacked = Attacked(
        np.stack(score), np.stack(baseline), of.targets.member, np.stack(anchor), list(models)
    )
    alone = {"case": "round 1", "records": "all", "models": [flags.models] * flags.targets}
    alone["auc_of_sets"] = auc_of_sets(of)
    return [
        *figures_of(attacked, flags),
        alone | figures(np.stack(first), of.targets.member, flags.draws),
        {"case": "anchors", "by_target": counts},
    ]


def auc_of_sets(of: Study) -> list[float]:
    """The AUC by each disjoint set of a round's number of ordinary models, round 1 first."""
    flags, out = of.flags, []
    for start in range(0, len(of.ordinary.member), flags.models):
        shadows = of.some(slice(start, start + flags.models))
        score = [score_of(of.target(t), shadows, flags.attack) for t in range(flags.targets)]
        out.append(float(metrics.auc(np.stack(score), of.targets.member)))
    return out


def anchors_of(later: list[Any], member: np.ndarray) -> list[dict[str, int]]:
    """By round, how many examples became anchors of either kind, and how many of them wrongly."""
    before, out = np.full(len(member), FREE), []
    for one in later:
        new = (one.anchor != FREE) & (before == FREE)
        kinds = {"out": new & (one.anchor == anchors.OUT), "in": new & (one.anchor == anchors.IN)}
        out.append(
            {k: int(at.sum()) for k, at in kinds.items()}
            | {"wrong": int((new & (member != one.anchor)).sum())}
        )
        before = one.anchor
    return out


def oracles(of: Study) -> list[dict[str, Any]]:
    """Every target attacked in two rounds, the second around a tenth of its true membership."""
    flags, ends = of.flags, []
    first = of.some(slice(flags.models))
    for t in range(flags.targets):
        member, rng = of.targets.member[t], np.random.default_rng([flags.seed, t])
        anchor = np.where(rng.random(len(member)) < TENTH, member, FREE)
        second = anchored(of.experiment, anchor, 2, t)
        second = shadows_of(second, options(flags, f"oracle_{t:02d}"))
        score = score_of(of.target(t), together([first, second]), flags.attack)
        ends.append((score, of.baseline(t, 2 * flags.models), anchor))
    score, baseline, anchor = (np.stack(parts) for parts in zip(*ends, strict=True))
    models = [2 * flags.models] * flags.targets
    attacked = Attacked(score, baseline, of.targets.member, anchor, models)
    return [row for row in figures_of(attacked, flags) if row["records"] != "all"]


def figures_of(of: Attacked, flags: Flags) -> list[dict[str, Any]]:
    """A row for attack and baseline on all records, and on those that are no anchors."""
    out = []
    for records, at in (("all", np.full(of.anchor.shape, True)), ("no anchors", of.anchor == FREE)):
        score, baseline = (np.where(at, s, np.nan) for s in (of.attack, of.baseline))
        unlike = np.isnan(score) != np.isnan(baseline)  # neither is given what the other lacks
        score, baseline = (np.where(unlike, np.nan, s) for s in (score, baseline))
        same = {"records": records, "models": of.models}
        out.append(
            {"case": "attack"} | same | figures(score, of.member, flags.draws)
            | {"more": more(score, baseline, of.member, flags.draws)}
        )  # fmt: skip
        out.append({"case": "baseline"} | same | figures(baseline, of.member, flags.draws))
    return out


def figures(score: np.ndarray, member: np.ndarray, draws: int) -> dict[str, Any]:
    """Pooled over targets, with intervals; and the AUC of each target."""
    weight = paired.weights(member.shape[1], draws)
    auc, tpr = paired.resampled(score, member, weight, LEVELS)
    rates = np.asarray(metrics.tpr_at_fpr(score, member, LEVELS))
    return {
        "targets": len(score), "examples": member.shape[1],
        "scores": int(np.isfinite(score).sum()),
        "auc": metrics.auc(score, member), "auc_interval": paired.ends(auc),
        "auc_of_targets": metrics.figures_per_target(score, member, LEVELS).auc.tolist(),
        "tpr": {
            f"{level:g}": {"value": float(v), "interval": paired.ends(draw)}
            for level, v, draw in zip(LEVELS, rates, tpr.T, strict=True)
        },
    }  # fmt: skip


def more(score: np.ndarray, baseline: np.ndarray, member: np.ndarray, draws: int) -> dict[str, Any]:
    """What the attack has over the baseline, on the same draws."""
    weight = paired.weights(member.shape[1], draws)
    (auc, tpr), (less, fewer) = (
        paired.resampled(s, member, weight, LEVELS) for s in (score, baseline)
    )
    gain = metrics.auc(score, member) - metrics.auc(baseline, member)
    rates, base = (np.asarray(metrics.tpr_at_fpr(s, member, LEVELS)) for s in (score, baseline))
    return {
        "auc": {"value": float(gain), "interval": paired.ends(auc - less)},
        "tpr": {
            f"{level:g}": {"value": float(v), "interval": paired.ends(draw)}
            for level, v, draw in zip(LEVELS, rates - base, (tpr - fewer).T, strict=True)
        },
    }


def table(lines: list[dict[str, Any]]) -> Table:
    """The rows, for people."""
    out = Table(box=None, pad_edge=False)
    for head in ("part", "case", "records", "models", "AUC", "TPR@1%", "TPR@0.1%", "more AUC"):
        out.add_column(head, justify="left" if head in ("part", "case", "records") else "right")
    for r in (row for row in lines if "auc" in row):
        rates = [f"{100 * t['value']:.2f} %" for t in r["tpr"].values()]
        gain = r.get("more", {}).get("auc")
        ends = "{:+.4f} [{:+.4f}, {:+.4f}]".format(gain["value"], *gain["interval"]) if gain else ""
        models = "-".join(str(m) for m in sorted({min(r["models"]), max(r["models"])}))
        out.add_row(r["part"], r["case"], r["records"], models, f"{r['auc']:.4f}", *rates, ends)
    return out


def keep(part: str, lines: list[dict[str, Any]], flags: Flags) -> list[dict[str, Any]]:
    """The rows of a part with what they were measured by, kept beside those of the other."""
    command = rows.command("experiments.studies.cascade", replace(flags, parts=(part,)))
    common = {"rounds": flags.rounds, "references": flags.references, "seed": flags.seed}
    lines = [{"part": part} | row | common | {"command": command} | rows.about() for row in lines]
    if flags.results:
        file = flags.results / "cascade.jsonl"
        there = file.read_text().splitlines() if file.exists() else []
        others = [row for row in map(json.loads, there) if row["part"] != part]
        order = sorted(others + lines, key=lambda row: PARTS.index(row["part"]))
        rows.keep(flags.results, "cascade", order, {})
    return lines


def main(flags: Flags) -> None:
    """Trains, attacks, keeps the rows, prints them."""
    for name in flags.parts:
        if name not in PARTS:
            raise ValueError(f"--parts: {name[:80]!r} is not one of {', '.join(PARTS)}")
    of = study(flags)
    work = {"cascade": cascades, "oracle": oracles}
    lines = [row for name in flags.parts for row in keep(name, work[name](of), flags)]
    if flags.json:
        print(json.dumps(lines))
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False, width=140)
    console.print(table(lines))


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.cascade", description=__doc__)
    guarded(lambda: main(flags))
