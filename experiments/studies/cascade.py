"""What an attacker gains who trains for one target: the cascading attack on digits.

    python -m experiments.studies.cascade

Targets are models of `experiments.digits` that no shadow model knows of; their members are used to
measure with, and for nothing else. Each is attacked by CMIA (`jaxmia.cascade`): round 1 is the same
shadow models for all, every further round trains as many for this target alone, around what the
rounds before were surest of. What that is worth is said against LiRA with the *same total* of
shadow models, all of them ordinary. Three parts:

- `cascade`: the attack, on all records and without those that became anchors;
- `truth`: the same with the anchors' true membership, as if the attacker never erred: what perfect
  anchors would give;
- `oracle`: the true membership of a share of the records, drawn at random, fixed in one further
  round; measured on the other records.

Intervals are 95 %, of records drawn with all targets, for both attacks alike; shadow models are not
drawn anew, and `auc_of_sets` says what others of them would have changed. With `--results` the rows
are kept, in place of those that the parts had; what came out: docs/results/cascade.md.
"""

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import rows
from experiments.studies.cascade_figures import Attacked, figures, figures_of
from experiments.studies.cascade_models import PARTS, Flags, Study, cascade_of, costs, study
from experiments.studies.cascade_oracle import oracles, truths
from jaxmia import metrics
from jaxmia.attacks import anchors
from jaxmia.attacks.anchors import FREE
from jaxmia.attacks.cascading import score_of
from jaxmia.command.terminal import guarded, parsed


def cascades(of: Study) -> list[dict[str, Any]]:
    """Every target attacked by a cascade."""
    flags = of.flags
    first, ends, counts, own = [], [], [], []
    for t in range(flags.targets):
        every = cascade_of(of, t)
        last = every[-1]
        first.append(every[0].score)
        ends.append((last.score, of.baseline(t, last.models), last.anchor, last.models))
        counts.append(anchors_of(every[1:], of.targets.member[t]))
        own += [f"target_{t:02d}/round_{number}" for number in range(2, len(every) + 1)]
    score, baseline, anchor, models = zip(*ends, strict=True)
    attacked = Attacked(
        np.stack(score), np.stack(baseline), of.targets.member, np.stack(anchor), list(models)
    )
    alone = {"case": "round 1", "records": "all", "models": [flags.models] * flags.targets}
    alone["auc_of_sets"] = auc_of_sets(of)
    return [
        *figures_of(attacked, flags.draws),
        alone | figures(np.stack(first), of.targets.member, flags.draws),
        {"case": "anchors", "by_target": counts},
        costs(flags, own),
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
        part = f"{r['part']} {r.get('share', '')}".strip()
        out.add_row(part, r["case"], r["records"], models, f"{r['auc']:.4f}", *rates, ends)
    return out


def keep(part: str, lines: list[dict[str, Any]], flags: Flags) -> list[dict[str, Any]]:
    """The rows of a part with what they were measured by, kept beside those of the others."""
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
    if not all(0 < share < 1 for share in flags.shares):
        raise ValueError(f"--shares: {flags.shares} must be above 0 and below 1")
    of = study(flags)
    work = {"cascade": cascades, "truth": truths, "oracle": oracles}
    lines = [row for name in flags.parts for row in keep(name, work[name](of), flags)]
    if flags.json:
        print(json.dumps(lines))
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False, width=140)
    console.print(table(lines))


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.cascade", description=__doc__)
    guarded(lambda: main(flags))
