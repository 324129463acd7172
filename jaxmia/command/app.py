"""The command line: `jaxmia ...`, and `cli(experiment)` for an experiment's own module."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from jaxmia import data, machine, pipeline
from jaxmia.command import compare
from jaxmia.command.doctor import doctor
from jaxmia.command.explain import explain
from jaxmia.command.export import export, pool_of
from jaxmia.command.flags import Flags, cluster, command, overridden, shard, width, written
from jaxmia.command.score import Score, score
from jaxmia.command.terminal import guarded, parsed, plain, show
from jaxmia.experiment import Experiment
from jaxmia.metrics import rank_all
from jaxmia.options import Options
from jaxmia.report import inputs
from jaxmia.report.write import write
from jaxmia.storage.run import Run
from jaxmia.storage.store import Store
from jaxmia.training import processes
from jaxmia.training.progress import Progress


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
    here = processes.start(machine.cache_folder() / "programs", cluster(flags))
    progress = Progress(flags.quiet or here.index > 0)
    options = Options(
        workdir=flags.workdir,
        width=width(flags.width),
        block=flags.block,
        shard_index=index,
        shard_count=count,
        checkpoint_seconds=flags.checkpoint_seconds,
        keep_shadows=flags.keep_shadows,
        keep_logits=flags.keep_logits,
        show_examples=flags.show_examples,
        command=command(_module(experiment), default, flags),
        retrain_diverged=flags.retrain_diverged,
        progress=progress,
    )
    if flags.explain:
        print("\n".join(explain(changed, options)))
        return
    run = pipeline.run(changed, options)
    target = flags.target_signals or flags.target_logits
    if not (run.path / "summary.json").exists():
        return  # other workers are not done
    if run.assessed or here.index == 0:
        show(run.summary, flags.json and not target, flags.quiet)
    progress.say(f"report: {run.path / 'report' / 'index.html'}, scores: {run.path / 'scores.npz'}")
    if target and here.index == 0:
        _attack_target(run, flags, progress)


def _module(experiment: Experiment) -> str:
    """The module that was run, as `python -m` takes it."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and not spec.name.startswith("pytest"):
        return spec.name.removesuffix(".__main__")
    return (
        Path(sys.argv[0]).stem if sys.argv[0].endswith(".py") else f"experiments.{experiment.name}"
    )


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
    """Draw the report of a run folder again, or of several side by side."""

    runs: Annotated[list[Path], tyro.conf.Positional]
    """Run folders, or folders that `jaxmia score` wrote."""
    out: Path | None = None
    """Where several are compared; the folder comparison by default."""
    show_examples: bool = False
    """Show the most exposed examples, also where they are not a public set's."""
    data: Path | None = None
    """The .npz, where the run was made from one that has moved."""
    price: float | None = None
    """What an hour of the device costs, in any currency: the page names the run's cost."""
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


@dataclass(frozen=True)
class Doctor:
    """What to paste into a bug report: devices, versions, room, and a tiny run."""

    self_test: bool = True
    """Train and attack eight small models."""
    json: bool = False
    """Print it as JSON on stdout."""


def main(args: list[str] | None = None) -> None:
    """The `jaxmia` command."""
    commands: dict[str, Any] = {
        "score": ScoreCommand,
        "export": Export,
        "report": Report,
        "doctor": Doctor,
    }
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
            else f"{plain(wrong)}; known: {', '.join(commands)}"
            + (", data" if prog == "jaxmia" else ""),
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
        Doctor: _doctor,
    }
    guarded(lambda: work[type(chosen)](chosen))


def _score(options: ScoreCommand) -> None:
    show(score(options), options.json)
    print(f"scores, summary and figures: {options.out}", file=sys.stderr)


def _export(options: Export) -> None:
    export(Run.open(options.run), options.out, options.data)
    print(options.out)


def _report(options: Report) -> None:
    if not options.runs:
        raise ValueError("report: name a run folder, or several to compare")
    if len(options.runs) > 1:
        _compare(options)
        return
    if options.price is not None and not 0 <= options.price < 1e9:
        raise ValueError(f"--price: {options.price} must be 0 or more")
    run = Run.open(options.runs[0])
    data = _examples(run, options)
    seen = run.signals
    phi = np.asarray(seen.phi)[..., 0]
    drawn = inputs.of_run(
        Store(run.path).records(), seen, run.member, None, data, options.show_examples
    )
    drawn = drawn._replace(price=options.price)
    write(run.path, rank_all(run.scores, run.member), run.member, phi, run.summary, drawn)
    show(run.summary, options.json)
    print(f"report: {run.path / 'report' / 'index.html'}", file=sys.stderr)


def _examples(run: Run, options: Report) -> Any:
    """The data of a run; without it, which is said, the page lacks pictures and label names."""
    try:
        return pool_of(run, options.data)
    except (ValueError, FileNotFoundError) as error:
        if options.data or options.show_examples:
            raise
        print(f"jaxmia: the report shows no examples: {error}", file=sys.stderr)
        return None


def _compare(options: Report) -> None:
    """Several runs side by side."""
    if given := [k for k in ("show_examples", "data", "price") if getattr(options, k)]:
        raise ValueError(f"--{given[0].replace('_', '-')}: is for one run, not for several")
    out = options.out or Path("comparison")
    summary = compare.write(out, options.runs)
    if options.json:
        print(json.dumps(summary))
    print(f"comparison: {out / 'index.html'}", file=sys.stderr)


def _list(options: List) -> None:
    found = data.ready(options.data_dir)
    for p in found:
        print(f"{p.name:<24} {p.version:<8} {p.examples:>10} examples  {p.format:<13} {p.folder}")
    if not found:
        print("none is ready; `jaxmia data prepare NAME` prepares one", file=sys.stderr)


def _doctor(options: Doctor) -> None:
    lines = []
    for line in doctor(options.self_test):
        lines.append(line)
        if not options.json:
            mark = " " if line.sound else "!"
            print(f"{mark} {line.what:<16} {line.told}", flush=True)
    if options.json:
        print(json.dumps([line._asdict() for line in lines]))
    if not all(line.sound for line in lines):
        raise SystemExit(1)
