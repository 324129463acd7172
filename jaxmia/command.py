"""The command line: `jaxmia ...`, and `cli(experiment)` for an experiment's own module."""

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from jaxmia import data, design, pipeline, report
from jaxmia.experiment import Experiment
from jaxmia.explain import explain
from jaxmia.export import VIEWS, export
from jaxmia.interrupt import Stopped
from jaxmia.pipeline import Options, Run
from jaxmia.progress import Progress
from jaxmia.score import Score, score
from jaxmia.store import Held, Unwritable
from jaxmia.values import parse


@dataclass(frozen=True)
class Flags:
    """Every field of an experiment, and how it is carried out. Rerunning resumes."""

    models: int
    """Shadow models; a rerun with more adds the missing ones."""
    epochs: int
    """Epochs each model is trained."""
    batch_size: int
    """Examples of a training step."""
    dtype: str
    """What networks compute in: float32 or bfloat16 (masters and signals stay float32)."""
    seed: int
    """All that is random comes from it and from a model's number."""
    design: str
    """Who is in which training set, as in `poisson(0.5)`."""
    views: str
    """Views a model is queried with: itself, mirror(), shifted_views(4, 4)."""
    copies: str
    """Changed copies for label_only: none, noised(0.1, 0.2), shifted_views(2, 1)."""
    attacks: tuple[str, ...]
    """Names of attacks."""
    data: Path | None = None
    """An .npz with x, y and optional x_test, y_test instead of the experiment's data."""
    workdir: Path | None = None
    """The run folder; checkpoints/NAME by default."""
    width: str = "auto"
    """How many models are vmapped together; auto measures it once."""
    block: int | None = None
    """How many models are trained, saved and queried as one."""
    shard_index: int | None = None
    """This worker's number; a Slurm array's or a Kubernetes job's by default."""
    shard_count: int | None = None
    """How many workers share the work."""
    checkpoint_seconds: float = 60.0
    """Time between checkpoints of a block in training."""
    keep_shadows: bool = False
    """Keep the trained models in shadows/."""
    keep_logits: bool = False
    """Keep the logits of every model on every example (shadow_classifier needs them)."""
    target_signals: Path | None = None
    """phi [N] or [N, Q] of a target of yours on the pool (.npy): attacked by all the models."""
    target_logits: Path | None = None
    """Its logits [N, C] instead."""
    target_member: Path | None = None
    """0/1 [N]: the target's training set, if known; without it there are scores, but no metrics."""
    explain: bool = False
    """Say how the run would be carried out, and stop."""
    json: bool = False
    """Print the summary as JSON on stdout."""
    quiet: bool = False
    """No progress."""


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
        design=_written(experiment.design),
        views=_written(experiment.views),
        copies=_written(experiment.copies),
        attacks=experiment.attacks,
    )
    flags = _parsed(Flags, args, default=default, prog=f"python -m experiments.{experiment.name}")
    _guarded(lambda: _run(experiment, default, flags))


def _run(experiment: Experiment, default: Flags, flags: Flags) -> None:
    changed = _overridden(experiment, default, flags)
    index, count = _shard(flags)
    progress = Progress(flags.quiet)
    options = Options(
        workdir=flags.workdir,
        width=_width(flags.width),
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
        _show(run.summary, flags.json and not target, flags.quiet)
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
    _show(found, flags.json, flags.quiet)
    progress.say(f"the target's scores: {out / 'scores.npz'}")


def _overridden(experiment: Experiment, default: Flags, flags: Flags) -> Experiment:
    recipe = replace(
        experiment.recipe, epochs=flags.epochs, batch_size=flags.batch_size, dtype=flags.dtype
    )
    changed = replace(
        experiment,
        recipe=recipe,
        models=flags.models,
        seed=flags.seed,
        attacks=tuple(flags.attacks),
    )
    if flags.design != default.design:
        known = {name: getattr(design, name) for name in DESIGNS}
        changed = replace(changed, design=parse(flags.design, known, "--design"))
    if flags.views != default.views:
        changed = replace(changed, views=parse(flags.views, VIEWS, "--views"))
    if flags.copies != default.copies:
        copies = None if flags.copies == "none" else parse(flags.copies, VIEWS, "--copies")
        changed = replace(changed, copies=copies)
    if flags.data is not None:
        changed = replace(changed, data=data.arrays(str(flags.data)))
    return changed


DESIGNS = (
    "complementary_halves",
    "poisson",
    "fixed_size",
    "balanced_columns",
    "official_lira",
    "one_unknown",
    "canaries",
)


def _written(value: Any) -> str:
    if value is None:
        return "none"
    return getattr(value, "__name__", None) or repr(value)


def _width(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"--width: {text[:80]!r} must be a whole number from 1 up, or auto")
    return int(text)


def _shard(flags: Flags) -> tuple[int, int]:
    """This worker's share: as given, or as Slurm and Kubernetes say in the environment."""
    env = os.environ
    count = flags.shard_count or int(env.get("SLURM_ARRAY_TASK_COUNT", 1))
    first = int(env.get("SLURM_ARRAY_TASK_MIN", 0)) if "SLURM_ARRAY_TASK_ID" in env else 0
    given = env.get("SLURM_ARRAY_TASK_ID", env.get("JOB_COMPLETION_INDEX", "0"))
    index = flags.shard_index if flags.shard_index is not None else int(given) - first
    if flags.shard_index is None and flags.shard_count is None and count == 1:
        index = 0
    if not 0 <= index < count:
        raise ValueError(f"--shard-index: {index} must be from 0 to {count - 1} (--shard-count)")
    return index, count


def _show(summary: dict[str, Any], as_json: bool, quiet: bool = False) -> None:
    if as_json:
        print(json.dumps(summary))
    if not quiet:
        console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
        if not summary["attacks"]:
            console.print("scores only: whether the target was trained on them was not told")
            return
        console.print(report.table(summary))
        for line in report.remarks(summary):
            console.print(line)


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
    chosen = _parsed(commands[args[0]], args[1:], prog=f"{prog} {args[0]}")
    work: dict[type, Callable[[Any], None]] = {
        ScoreCommand: _score,
        Export: _export,
        Report: _report,
        Prepare: lambda o: print(data.prepare(o.name, o.data_dir).folder),
        List: _list,
    }
    _guarded(lambda: work[type(chosen)](chosen))


def _score(options: ScoreCommand) -> None:
    _show(score(options), options.json)
    print(f"scores, summary and figures: {options.out}", file=sys.stderr)


def _export(options: Export) -> None:
    export(Run.open(options.run), options.out, options.data)
    print(options.out)


def _report(options: Report) -> None:
    run = Run.open(options.run)
    seen = run.signals
    phi = np.asarray(seen.phi)[..., 0]
    report.write(run.path, run.scores, run.member, phi, run.summary, seen.y)
    _show(run.summary, options.json)
    print(f"report: {run.path / 'report' / 'index.html'}", file=sys.stderr)


def _list(options: List) -> None:
    found = data.ready(options.data_dir)
    for p in found:
        print(f"{p.name:<24} {p.version:<8} {p.examples:>10} examples  {p.format:<13} {p.folder}")
    if not found:
        print("none is ready; `jaxmia data prepare NAME` prepares one", file=sys.stderr)


def _parsed(kind: type, args: list[str] | None, **settings: Any) -> Any:
    """The options; a wrong one is told in one line, with exit status 2."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(kind, args=args, **settings)
    except SystemExit as end:
        if end.code in (0, None):
            raise
        words = re.sub(r"[─│╭╮╰╯]+", " ", told.getvalue())
        print(f"{settings['prog']}: {' '.join(words.split())[:600]}", file=sys.stderr)
        raise SystemExit(2) from None


def _guarded(work: Callable[[], None]) -> None:
    """Ends the process with one clear line for a user's mistake, and no traceback."""
    try:
        work()
    except Stopped as stopped:
        print(f"jaxmia: {stopped}", file=sys.stderr)
        raise SystemExit(128 + stopped.number) from None
    except (ValueError, FileNotFoundError, Held, Unwritable, RuntimeError) as error:
        if isinstance(error, RuntimeError) and type(error) not in (RuntimeError, Held):
            raise
        line = " ".join(str(error).split())
        print(f"jaxmia: {line[:1000]}", file=sys.stderr)
        raise SystemExit(2) from None
