"""Rows of results: a line of JSON for each figure, with the command and the machine it is from.

    python -m experiments.rows checkpoints/digits checkpoints/randhie   (runs that are done)

Keeps the figures of finished runs in experiments/results/NAME.jsonl, a row for each attack; studies
keep theirs by `--results experiments/results`. The pages of docs/results and the tables of the
README are made of these rows: `python -m experiments.pages`.
"""

import json
import platform
import re
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments import paired
from jaxmia import machine
from jaxmia.command.terminal import guarded, parsed
from jaxmia.storage.run import Run

RESULTS = Path(__file__).parent / "results"
BEST = "lira_online"  # that others are compared with, on the same draws
WORDY = ("states", "leak", "attacker")  # what summary.json says in sentences, or estimates besides
SILENT = ("results", "out", "workdir", "json", "quiet")  # flags that change no number


def about() -> dict[str, Any]:
    """What rows were measured on, and when."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "device": machine.device(),
        "hardware": hardware(),
        "versions": machine.versions(),
        "git": machine.revision(),
    }


def hardware() -> str:
    """The cores this process may use, and whose they are."""
    cores = f"{machine.cores()} core{'s' * (machine.cores() != 1)}"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{cores}, {platform.processor() or platform.machine()}"
    facts = dict(line.replace("\t", "").split(": ", 1) for line in lines if ": " in line)
    name = facts.get("model name", platform.machine())
    family = f" (family {facts['cpu family']})" if "cpu family" in facts else ""
    return f"{cores} of an {name}{family}"


def command(module: str, flags: Any) -> str:
    """The command whose numbers these are: flags that differ from the defaults, files by name."""
    words = [f"python -m {module}"]
    for field in fields(flags):
        value = getattr(flags, field.name)
        if value == field.default or field.name in SILENT:
            continue
        many = value if isinstance(value, tuple) else (value,)
        words.append(f"--{field.name.replace('_', '-')}")
        if value is not True:
            words += [v.name if isinstance(v, Path) else str(v) for v in many]
    return " ".join(words)


def keep(folder: Path, name: str, rows: list[dict[str, Any]], common: dict[str, Any]) -> Path:
    """Writes rows, in place of those that there were, each with what they have in common."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row | common) + "\n" for row in rows))
    return file


def read(name: str) -> list[dict[str, Any]]:
    """The rows of a name; raises `FileNotFoundError` where none are kept."""
    return [json.loads(line) for line in (RESULTS / f"{name}.jsonl").read_text().splitlines()]


def there(name: str) -> bool:
    """Whether rows of a name are kept."""
    return (RESULTS / f"{name}.jsonl").exists()


def of_run(run: Run) -> list[dict[str, Any]]:
    """A row for each attack of a finished run, on records and on the people whose they are.

    `below` is how much less an attack on records finds than `BEST` does.
    """
    summary, identity = run.summary, run.summary["experiment"]
    when = time.localtime((run.path / "summary.json").stat().st_mtime)
    common = {
        "run": identity["name"],
        **{k: summary[k] for k in ("models", "examples", "queries", "train_accuracy",
                                   "test_accuracy", "finite_pool") if k in summary},
        "command": re.sub(r"\S*/", "", summary.get("command", "")),  # files by name
        "seed": identity["seed"],
        "epochs": identity["recipe"]["epochs"],
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z", when),
        **{k: identity[k] for k in ("device", "versions", "git")},
        "hardware": hardware(),
    }  # fmt: skip
    less = paired.below(run.scores, run.member, BEST, run.person) if BEST in run.scores else {}
    out = []
    for name, figures in summary["attacks"].items():
        out.append({"attack": name, "unit": "records"} | terse(figures) | common)
        if name in less:
            out[-1]["below"] = less[name]
    people = summary.get("people", {"attacks": {}})
    count = {"people": people.get("count")}
    for name, figures in people["attacks"].items():
        out.append({"attack": name, "unit": "people"} | terse(figures) | count | common)
    return out


def terse(figures: dict[str, Any]) -> dict[str, Any]:
    """An attack's part of summary.json without sentences and estimates."""
    return {k: v for k, v in figures.items() if k not in WORDY}


@dataclass(frozen=True)
class Flags:
    """Which runs."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders that are done."""
    results: Path = RESULTS
    """Folder of the rows."""


def main(flags: Flags) -> None:
    """Keeps the rows of every run under its name."""
    for folder in flags.runs:
        rows = of_run(Run.open(folder))
        print(keep(flags.results, rows[0]["run"], rows, {}), file=sys.stderr)


if __name__ == "__main__":
    options = parsed(Flags, None, prog="python -m experiments.rows", description=__doc__)
    guarded(lambda: main(options))
