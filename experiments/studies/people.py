"""People, not rows: what changes where records belong to persons. On synthetic persons.

    python -m experiments.studies.people

Persons have 1 to 7 records each, which share an offset and, now and then, a label of the person's
own. The same records are drawn into training sets row by row, as if nobody knew whose they are, and
person by person; in both cases every model is attacked by LiRA online. Three things change:

- drawn by rows, a record that is out has siblings that are in, and looks like a member by them:
  "false alarms" below counts, at the threshold of 1 % FPR of records without a sibling inside, the
  records out whose siblings are in;
- a person is found by all records together, more surely than any of them is;
- the sum of a person's log-ratios is no posterior as it stands, for they are estimates and depend
  on each other: over 1 + (n - 1) rho it is calibrated, rho and the line fitted on other models.

2 min on 2 shared CPU cores; what came out: docs/results/people.md.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import expit

import jaxmia
from experiments import rows
from jaxmia import Experiment, data, metrics, recipes
from jaxmia.attacks import calibration
from jaxmia.attacks import people as persons
from jaxmia.command.terminal import guarded, parsed
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.report import figures
from jaxmia.storage.run import Run
from jaxmia.training.progress import Progress

ATTACK = "lira_online"
LEVELS = (1e-2, 1e-3)


@dataclass(frozen=True)
class Flags:
    """Persons, and how their models are trained."""

    persons: int = 600
    """How many persons there are."""
    habit: float = 0.2
    """The chance that a record's label is its person's own."""
    models: int = 64
    """Models of each design."""
    epochs: int = 8
    """Epochs each is trained."""
    seed: int = 0
    """All that is random comes from it."""
    out: Path = Path("checkpoints/people")
    """Folder for both runs, rows.json and the figure."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""
    quiet: bool = False
    """No progress."""


def trained(flags: Flags, by_person: bool) -> Run:
    """A run whose design draws persons if it knows them, else records."""
    experiment = Experiment(
        name="people",
        data=data.people(flags.persons, habit=flags.habit, known=by_person, seed=flags.seed),
        recipe=recipes.sgd(mlp(32), epochs=flags.epochs, batch_size=32, rate=0.05),
        models=flags.models,
        attacks=(ATTACK, "global_threshold"),
        seed=flags.seed,
    )
    folder = flags.out / ("by_person" if by_person else "by_row")
    return jaxmia.run(experiment, Options(workdir=folder, progress=Progress(flags.quiet)))


def run(flags: Flags) -> dict[str, Any]:
    """Both runs, the figures of each, and the picture."""
    by_row, whole = trained(flags, by_person=False), trained(flags, by_person=True)
    assert whole.person is not None
    who = persons.people(whole.person)
    total = persons.score_of_people(whole.scores[ATTACK], who, ratio=True)
    count = persons.records_of_people(whole.scores[ATTACK], who)
    inside = persons.member_of_people(whole.member, who)
    pairs = np.arange(flags.models) // 2
    stated = {
        "sum, as if independent": expit(total),
        "calibrated": expit(persons.crossed_people(total, count, inside, pairs)),
    }
    curves = {name: calibration.reliability(p, inside) for name, p in stated.items()}
    fitted = persons.fit_people(total, count, inside)
    by_count = []
    for n in range(1, int(count.max()) + 1):
        at = count[0] == n
        if (inside[:, at].sum() and (~inside[:, at]).sum()) > 0:
            rates = metrics.figures(total[:, at], inside[:, at], LEVELS)
            spans = metrics.bootstrap(total[:, at], inside[:, at], LEVELS)
            tpr, ends = float(rates.tpr_at_fpr[0]), spans.tpr_at_fpr[0].tolist()
            by_count.append({"records": n, "persons": int(at.sum()), "tpr": tpr, "interval": ends})
    out = {
        "models": flags.models,
        "persons": len(who.ids),
        "records": len(whole.person),
        "rows drawn, records attacked": _figures(by_row.scores[ATTACK], by_row.member),
        "persons drawn, records attacked": _figures(whole.scores[ATTACK], whole.member),
        "persons drawn, persons attacked": _figures(total, inside),
        "false_alarms": false_alarms(by_row, whole.person),
        "rho": fitted.rho,
        "calibration_error": {name: c.error for name, c in curves.items()},
        "reliability": {
            k: {n: v.tolist() for n, v in c._asdict().items()} for k, c in curves.items()
        },
        "by_count": by_count,
    }
    for ending in ("svg", "png"):
        figures.saved(picture(out), flags.out / f"people.{ending}")
    (flags.out / "rows.json").write_text(json.dumps(out, indent=1))
    if flags.results:
        keep(out, flags)
    return out


def keep(out: dict[str, Any], flags: Flags) -> None:
    """A row for each way of drawing and attacking, and one of what else was measured."""
    attacked = {k: v for k, v in out.items() if isinstance(v, dict) and "auc" in v}
    common = {k: out[k] for k in ("models", "persons", "records")} | {
        "seed": flags.seed, "command": rows.command("experiments.studies.people", flags)
    }  # fmt: skip
    also = {k: out[k] for k in ("false_alarms", "rho", "calibration_error", "by_count")}
    lines = [{"case": name} | row for name, row in attacked.items()] + [{"case": "also"} | also]
    rows.keep(flags.results, "people", lines, common | rows.about())


def _figures(score: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    rates, spans = metrics.figures(score, member, LEVELS), metrics.bootstrap(score, member, LEVELS)
    return {
        "n": int(np.isfinite(score).sum()),
        "auc": rates.auc,
        "auc_interval": spans.auc.tolist(),
        "tpr_at_fpr": dict(zip(("0.01", "0.001"), rates.tpr_at_fpr.tolist(), strict=True)),
        "tpr_interval": dict(zip(("0.01", "0.001"), spans.tpr_at_fpr.tolist(), strict=True)),
    }


def false_alarms(run: Run, person: np.ndarray) -> dict[str, float]:
    """How often a record that is out is called a member, by the share of its siblings inside."""
    who, score = persons.people(person), run.scores[ATTACK]
    inside = np.stack([np.bincount(who.index, w, len(who.ids)) for w in run.member.astype(float)])
    beside = inside[:, who.index] - run.member  # of the person's other records
    others = np.bincount(who.index)[who.index] - 1
    out = ~run.member & np.isfinite(score)
    alone = score[out & (beside == 0)]
    cut = np.sort(alone)[::-1][max(0, int(0.01 * len(alone)) - 1)]
    share = beside / np.maximum(others, 1)
    cases = {"no sibling inside": out & (beside == 0)}
    cases["some"] = out & (share > 0) & (share < 1)
    cases["all"] = out & (others > 0) & (share == 1)
    return {name: float((score[at] >= cut).mean()) for name, at in cases.items() if at.any()}


def picture(out: dict[str, Any]) -> Any:
    """How sure a stated probability is, and what every further record of a person tells."""
    figure, left = figures.blank(9.6, 4.4, 2)
    right = figure.axes[1]
    left.plot([0, 1], [0, 1], color="#888888", lw=1, ls=(0, (2, 3)))
    for i, (name, c) in enumerate(out["reliability"].items()):
        true, low, high = (np.array(c[k]) for k in ("true", "low", "high"))
        error = out["calibration_error"][name]
        left.errorbar(
            c["stated"], true, [true - low, high - true], marker="o", ms=4, lw=1.6, capsize=2,
            color=figures.COLOURS[1 - i], label=f"{name}, error {error:.3f}",
        )  # fmt: skip
    left.set(xlabel="stated probability of membership", ylabel="share that is", xlim=(0, 1))
    left.set_ylim(0, 1)
    left.legend(frameon=False, fontsize=8, loc="upper left")
    left.set_title("Posteriors of persons", loc="left", fontsize=11)
    n = [row["records"] for row in out["by_count"]]
    tpr = np.array([row["tpr"] for row in out["by_count"]])
    ends = np.array([row["interval"] for row in out["by_count"]])
    spread = np.abs(ends.T - tpr)
    right.errorbar(n, tpr, spread, marker="o", ms=4, lw=1.6, capsize=2, color=figures.COLOURS[2])
    right.axhline(0.01, color="#888888", lw=1, ls=(0, (2, 3)))
    right.set(xlabel="records of a person", ylabel="TPR at 1 % FPR")
    right.set_ylim(bottom=0)
    right.set_title("Persons found, by how many records they have", loc="left", fontsize=11)
    return figure


def main(flags: Flags) -> None:
    """Runs, and prints what was found."""
    out = run(flags)
    if flags.json:
        print(json.dumps(out))
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False)
    table = Table(box=None, pad_edge=False)
    for head in ("", "n", "AUC", "TPR@1%", "TPR@0.1%"):
        table.add_column(head, justify="left" if not head else "right")
    for name, row in out.items():
        if isinstance(row, dict) and "auc" in row:
            rates = [f"{100 * row['tpr_at_fpr'][k]:.2f} %" for k in ("0.01", "0.001")]
            table.add_row(name, f"{row['n']}", f"{row['auc']:.3f}", *rates)
    console.print(table)
    for name, share in out["false_alarms"].items():
        console.print(f"rows drawn, false alarms with {name}: {share:.2%}")
    console.print(f"rho {out['rho']:.2f}; calibration error " + ", ".join(
        f"{name} {error:.3f}" for name, error in out["calibration_error"].items()
    ))  # fmt: skip


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.people")
    guarded(lambda: main(flags))
