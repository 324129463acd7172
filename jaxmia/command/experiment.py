"""`cli(experiment)`: the command of an experiment's own module."""

import sys
from dataclasses import replace
from pathlib import Path

from jaxmia import machine, pipeline
from jaxmia.attacks import ATTACKS
from jaxmia.command import cascade
from jaxmia.command.device import about_device
from jaxmia.command.explain import explain
from jaxmia.command.flags import Flags, command, flag_text, overridden, shard, width
from jaxmia.command.inputs import Score
from jaxmia.command.score import score
from jaxmia.command.terminal import guarded, parsed, show
from jaxmia.experiment import Experiment
from jaxmia.options import Options
from jaxmia.storage.run import Run
from jaxmia.storage.sources import opened as source_opened
from jaxmia.storage.urls import local
from jaxmia.training import processes
from jaxmia.training.progress import Progress


def cli(experiment: Experiment, args: list[str] | None = None) -> None:
    """Runs an experiment from the command line, each of its fields overridden by a flag.

    Ends the process: 0 done, 2 the input or the command was wrong, 1 anything else.
    """
    recipe = experiment.networks
    default = Flags(
        models=experiment.models,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        dtype=recipe.dtype,
        seed=experiment.seed,
        design=flag_text(experiment.design),
        views=flag_text(experiment.views),
        copies=flag_text(experiment.copies),
        attacks=experiment.attacks,
        init_from=None if recipe.init_from is None else Path(recipe.init_from),
        tune=flag_text(recipe.tune),
        repeat_sets=experiment.repeat_sets,
    )
    flags = parsed(Flags, args, default=default, prog=f"python -m experiments.{experiment.name}")
    guarded(lambda: _run(experiment, default, flags))


def _run(experiment: Experiment, default: Flags, flags: Flags) -> None:
    experiment = overridden(experiment, default, flags)
    if flags.on or flags.price:
        about_device(experiment, flags)
        return
    index, count = shard(flags)
    here = processes.start(machine.cache_folder() / "programs")
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
        stream=flags.stream,
        command=command(_module(experiment), default, flags),
        retrain_diverged=flags.retrain_diverged,
        progress=progress,
    )
    target = _target(experiment, flags, progress)
    workers = replace(options, shard_count=count * here.count)
    cascading = cascade.settings(flags.cascade, target, experiment, workers)
    if flags.explain:
        print("\n".join(explain(experiment, options)))
        return
    run = pipeline.run(experiment, options)
    if not run.folder.has("summary.json"):
        return  # other workers are not done
    if run.evaluated or here.index == 0:
        show(run.summary, flags.json and not target, flags.quiet)
    progress.say(f"report: {run.folder}/report/index.html, scores: {run.folder}/scores.npz")
    if target and here.index == 0:
        _attack_target(run, target, flags, progress)
        if cascading:
            cascade.attack_target(run, experiment, target, cascading, options)


def _module(experiment: Experiment) -> str:
    """The module that was run, as `python -m` takes it."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and not spec.name.startswith("pytest"):
        return spec.name.removesuffix(".__main__")
    return (
        Path(sys.argv[0]).stem if sys.argv[0].endswith(".py") else f"experiments.{experiment.name}"
    )


def _target(experiment: Experiment, flags: Flags, progress: Progress) -> Score | None:
    """How a target of one's own is attacked, checked before anything is trained.

    By the experiment's attacks, but for those that need more of it than was given, which is said.
    """
    if not (flags.target_signals or flags.target_logits):
        if flags.target_member:
            raise ValueError("--target-member needs --target-signals or --target-logits")
        return None
    if experiment.shadow_data is not None:
        raise ValueError(
            "--shadow-data: a target of your own is attacked by models of the experiment's data "
            "alone; leave one of the two out"
        )
    local(flags.workdir or "", "--workdir (with a target)")
    if flags.target_signals and flags.target_logits:
        raise ValueError("--target-signals and --target-logits do not go together")
    for name in ("target_signals", "target_logits", "target_member"):
        if file := getattr(flags, name):
            source_opened(f"--{name.replace('_', '-')}", file)
    there = {"phi", "y"} | ({"margin", "logits"} if flags.target_logits else set())
    able = tuple(n for n in experiment.attacks if there.issuperset(ATTACKS[n].needs))
    if not able:
        raise ValueError(f"attacks: {experiment.attacks} all need more of a target than was given")
    for name in set(experiment.attacks) - set(able):
        progress.say(f"the target is not attacked by {name}, which needs more of it")
    return Score(
        out=Path(),
        run=Path(),
        target=flags.target_signals,
        target_logits=flags.target_logits,
        target_member=flags.target_member,
        attacks=able,
        stream=flags.stream if flags.target_signals else "never",
    )


def _attack_target(run: Run, target: Score, flags: Flags, progress: Progress) -> None:
    """The run's models as references for one that was trained elsewhere."""
    out = run.path / "target"
    show(score(replace(target, out=out, run=run.path)), flags.json, flags.quiet)
    progress.say(f"the target's scores: {out / 'scores.npz'}")
