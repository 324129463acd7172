"""The command line: `jaxmia ...`, and `cli(experiment)` for an experiment's own module."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from jaxmia import data, pipeline, report
from jaxmia.experiment import Experiment
from jaxmia.explain import explain
from jaxmia.export import export
from jaxmia.flags import Flags, overridden, shard, width, written
from jaxmia.pipeline import Options, Run
from jaxmia.progress import Progress
from jaxmia.score import Score, score
from jaxmia.terminal import guarded, parsed, show


def cli(experiment: Experiment, args: list[str] | None = None) -> None:
    """Runs an experiment from the command line, each of its fields overridden by a flag.

    Ends the process: 0 done, 2 the input or the command was wrong, 1 anything else.
    """
    recipe = experiment.recipe
    default = Flags(
        models=experiment.models,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        dtype=recipe.dtype,
        seed=experiment.seed,
        design=written(experiment.design),
        views=written(experiment.views),
        copies=written(experiment.copies),
        attacks=experiment.attacks,
    )
    flags = parsed(Flags, args, default=default, prog=f"python -m experiments.{experiment.name}")
    guarded(lambda: _run(experiment, default, flags))


def _run(experiment: Experiment, default: Flags, flags: Flags) -> None:
    changed = overridden(experiment, default, flags)
    index, count = shard(flags)
    progress = Progress(flags.quiet)
    options = Options(
        workdir=flags.workdir,
        width=width(flags.width),
        block=flags.block,
        shard_index=index,
        shard_count=count,
        checkpoint_seconds=flags.checkpoint_seconds,
        keep_shadows=flags.keep_shadows,
        keep_logits=flags.keep_logits,
        progress=progress,
    )
    if flags.explain:
        print("\n".join(explain(changed, options)))
        return
    run = pipeline.run(changed, options)
    target = flags.target_signals or flags.target_logits
    if (run.path / "summary.json").exists():
        show(run.summary, flags.json and not target, flags.quiet)
    progress.say(f"report: {run.path / 'report' / 'index.html'}, scores: {run.path / 'scores.npz'}")
    if target:
        _attack_target(run, flags, progress)


def _attack_target(run: Run, flags: Flags, progress: Progress) -> None:
    """The run's models as references for one that was trained elsewhere."""
    out = run.path / "target"
    found = score(
        Score(
            out=out,
            run=run.path,
            target=flags.target_signals,
            target_logits=flags.target_logits,
            target_member=flags.target_member,
        )
    )
    show(found, flags.json, flags.quiet)
    progress.say(f"the target's scores: {out / 'scores.npz'}")


@dataclass(frozen=True)
class ScoreCommand(Score):
    """Attack models by what they said, whatever they were trained with."""

    json: bool = False
    """Print the summary as JSON on stdout."""


@dataclass(frozen=True)
class Export:
    """Pool, labels, row order and query views as arrays, for a target trained elsewhere."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder."""
    out: Path
    """The folder to write x.npy, y.npy, views.npy, member.npy and order.json into."""
    data: Path | None = None
    """The .npz, where the run was made from one that has moved."""


@dataclass(frozen=True)
class Report:
    """Draw the report of a run folder again."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder."""
    json: bool = False
    """Print the summary as JSON on stdout."""


@dataclass(frozen=True)
class Prepare:
    """Download and prepare a TFDS set (needs the extra `prepare`, and a network)."""

    name: Annotated[str, tyro.conf.Positional]
    """Its name, such as cifar10."""
    data_dir: str | None = None
    """Where; TFDS_DATA_DIR or ~/tensorflow_datasets by default."""


@dataclass(frozen=True)
class List:
    """The TFDS sets that lie ready."""

    data_dir: str | None = None
    """Where; TFDS_DATA_DIR or ~/tensorflow_datasets by default."""


def main(args: list[str] | None = None) -> None:
    """The `jaxmia` command."""
    commands: dict[str, Any] = {"score": ScoreCommand, "export": Export, "report": Report}
    args = sys.argv[1:] if args is None else args
    if args[:1] == ["data"]:
        commands, args, prog = {"prepare": Prepare, "list": List}, args[1:], "jaxmia data"
    else:
        prog = "jaxmia"
    if not args or args[0] in ("-h", "--help") or args[0] not in commands:
        lines = [
            f"usage: {prog} {{{','.join([*commands, *(['data'] if prog == 'jaxmia' else [])])}}}"
        ]
        lines += [f"  {k:<8} {v.__doc__.splitlines()[0]}" for k, v in commands.items()]
        asked = bool(args) and args[0] in ("-h", "--help")
        wrong = f"{prog}: {args[0][:80]!r} is no command" if args else f"{prog}: name a command"
        print(
            "\n".join(lines)
            if asked
            else f"{wrong}; known: {', '.join(commands)}" + (", data" if prog == "jaxmia" else ""),
            file=sys.stdout if asked else sys.stderr,
        )
        raise SystemExit(0 if asked else 2)
    chosen = parsed(commands[args[0]], args[1:], prog=f"{prog} {args[0]}")
    work: dict[type, Callable[[Any], None]] = {
        ScoreCommand: _score,
        Export: _export,
        Report: _report,
        Prepare: lambda o: print(data.prepare(o.name, o.data_dir).folder),
        List: _list,
    }
    guarded(lambda: work[type(chosen)](chosen))


def _score(options: ScoreCommand) -> None:
    show(score(options), options.json)
    print(f"scores, summary and figures: {options.out}", file=sys.stderr)


def _export(options: Export) -> None:
    export(Run.open(options.run), options.out, options.data)
    print(options.out)


def _report(options: Report) -> None:
    run = Run.open(options.run)
    seen = run.signals
    phi = np.asarray(seen.phi)[..., 0]
    report.write(run.path, run.scores, run.member, phi, run.summary, seen.y)
    show(run.summary, options.json)
    print(f"report: {run.path / 'report' / 'index.html'}", file=sys.stderr)


def _list(options: List) -> None:
    found = data.ready(options.data_dir)
    for p in found:
        print(f"{p.name:<24} {p.version:<8} {p.examples:>10} examples  {p.format:<13} {p.folder}")
    if not found:
        print("none is ready; `jaxmia data prepare NAME` prepares one", file=sys.stderr)
