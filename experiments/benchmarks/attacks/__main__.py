"""Which attack, with how many references, on real sets, networks and boosted trees.

    python -m experiments.benchmarks.attacks --cifar10 FILE.npz --genotypes FILE.npz
    python -m experiments.benchmarks.attacks --sets wine digits --kinds trees --references 4 8

Needs `pip install 'jaxmia[sets]'` and Debian's `dataset-fashion-mnist`; without the two files
their sets are left out. A row is kept as it is finished: started again, the command takes finished
models and rows as they are, and makes what is missing or was made by other settings.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import rows
from experiments.benchmarks.attacks import cells
from experiments.benchmarks.attacks.sets import SETS, groups, pool
from jaxmia.command.terminal import guarded, parsed
from jaxmia.training.progress import Progress

MODULE = "experiments.benchmarks.attacks"


@dataclass(frozen=True)
class Flags:
    """Which cells, and where models and rows are kept."""

    sets: tuple[str, ...] = ()
    """Some of the sets; all without it."""
    kinds: tuple[str, ...] = cells.KINDS
    """Of networks and trees."""
    references: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    """Numbers of references of a target; even."""
    attacks: tuple[str, ...] = cells.EVERY
    """Names of attacks."""
    examples: int = 1000
    """Rows of a set at most, a fifth of them set aside."""
    rounds: int = 50
    """Epochs of networks, rounds of boosting."""
    targets: int = 130
    """Models attacked at most with each number of references."""
    draws: int = 400
    """Draws of the bootstrap."""
    fashion_mnist: Path | None = Path("/usr/share/datasets/fashion-mnist")
    """Folder of the four files of Fashion-MNIST."""
    cifar10: Path | None = None
    """An .npz with CIFAR-10 images: x [N, 32, 32, 3] uint8, y."""
    genotypes: Path | None = None
    """An .npz with genotypes: packed [SNPs, people / 4] uint8, n, pop."""
    out: Path = Path("checkpoints/attacks")
    """Folder for the models."""
    results: Path = rows.RESULTS
    """Folder of the rows."""
    quiet: bool = False
    """No progress."""


def checked(flags: Flags) -> list[str]:
    """The sets to be done; raises `ValueError` for what cannot be."""
    for flag, values, allowed in (
        ("sets", flags.sets, SETS), ("kinds", flags.kinds, cells.KINDS),
        ("attacks", flags.attacks, cells.EVERY),
    ):  # fmt: skip
        for value in values:
            if value not in allowed:
                raise ValueError(f"--{flag}: {value[:80]!r} is not one of {', '.join(allowed)}")
    if not flags.references or any(r < 2 or r % 2 for r in flags.references):
        raise ValueError(f"--references: {flags.references} must be even numbers from 2 up")
    for name in ("examples", "rounds", "targets", "draws"):
        least = {"examples": 40, "draws": 2}.get(name, 1)
        if getattr(flags, name) < least:
            raise ValueError(f"--{name}: {getattr(flags, name)} must be {least} or more")
    lacking = [n for n, of in SETS.items() if of.file and getattr(flags, of.file) is None]
    for name in flags.sets:
        if name in lacking:
            raise ValueError(f"--sets: {name} needs its file, as --{SETS[name].file} FILE")
    return [name for name in flags.sets or SETS if name not in lacking]


def settings(flags: Flags, name: str, kind: str, references: int) -> dict[str, Any]:
    """What a row depends on: one that agrees is not made again."""
    return {
        "set": name, "kind": kind, "references": references, "models": _models(flags),
        "asked": flags.examples, "rounds": flags.rounds, "draws": flags.draws,
        "most_targets": flags.targets,
    }  # fmt: skip


def _models(flags: Flags) -> int:
    return max(flags.references) + cells.PARTNER


def lines_of(file: Path) -> list[dict[str, Any]]:
    """The rows that there are."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def keep(file: Path, line: dict[str, Any]) -> None:
    """Puts a row among the others, in the place of that of the same cell and number."""
    place = ("set", "kind", "references")
    others = [r for r in lines_of(file) if any(r[k] != line[k] for k in place)]
    order = {name: i for i, name in enumerate(SETS)}
    lines = sorted([*others, line], key=lambda r: (order[r["set"]], r["kind"], r["references"]))
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text("".join(json.dumps(r) + "\n" for r in lines))
    os.replace(new, file)


def missing(flags: Flags, file: Path, name: str, kind: str) -> list[int]:
    """The numbers of references of a cell that are to be done."""
    there = lines_of(file)

    def is_there(references: int) -> bool:
        own = settings(flags, name, kind, references).items()
        return any(
            all(r.get(k) == v for k, v in own) and set(flags.attacks) <= set(r["asked_of"])
            for r in there
        )

    return [r for r in sorted(set(flags.references)) if not is_there(r)]


def main(flags: Flags) -> None:
    """Trains, attacks, keeps a row for each number of references of each cell."""
    names = checked(flags)
    file, progress = flags.results / "attacks.jsonl", Progress(flags.quiet)
    for name in names:
        for kind in flags.kinds:
            todo = missing(flags, file, name, kind)
            if not todo:
                progress.say(f"{name}, {kind}: done")
                continue
            path = str(getattr(flags, SETS[name].file)) if SETS[name].file else ""
            source = pool(name, flags.examples, path)
            by = groups(name, flags.examples, path)
            folder = flags.out / f"{name}_{kind}"
            with progress.stage(f"{name}, {kind}: {_models(flags)} models"):
                of = cells.shadows(source, kind, _models(flags), flags.rounds, folder, progress)
            for references in todo:
                with progress.stage(f"{name}, {kind}: {references} references"):
                    own = cells.row(of, flags.attacks, references, flags.targets, flags.draws, by)
                alone = {"sets": (name,), "kinds": (kind,)}
                command = rows.command(MODULE, Flags(**{**vars(flags), **alone}))
                about = {"asked_of": list(flags.attacks), "command": command, **rows.about()}
                keep(file, settings(flags, name, kind, references) | own | about)


if __name__ == "__main__":
    options = parsed(Flags, None, prog=f"python -m {MODULE}", description=__doc__)
    guarded(lambda: main(options))
