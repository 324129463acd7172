"""The flags of an experiment's command: every field of it, and how it is carried out."""

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from jaxmia import augment, data, defences, design, tuning
from jaxmia.experiment import Experiment
from jaxmia.types import Recipe
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
    init_from: Path | None = None
    """Start every model from these parameters: a run's folder (its first model), or an .npz."""
    tune: str = "none"
    """Which of those parameters train, while the others stay: only("head"), lora(4); none: all."""
    repeat_sets: int = 0
    """Train on the first K training sets once more: what is left without knowing the pool."""
    defence: tuple[str, ...] = ()
    """Defences of training, one after the other: "mixup()" "dp_sgd(epsilon=8)"."""
    outputs: tuple[str, ...] = ()
    """Defences of what models tell, one after the other: "top_k(3)" "rounded(2)"."""
    data: Path | None = None
    """An .npz with x, y and optional x_test, y_test instead of the experiment's data."""
    shadow_data: Path | None = None
    """An .npz with x and y of other records: train as many models again on these, and say what
    attacks find whose shadow models they are."""
    workdir: str | None = None
    """The run folder, or s3://BUCKET/FOLDER, gs://BUCKET/FOLDER; checkpoints/NAME by default."""
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
    retrain_diverged: bool = False
    """Train models again, each with another key, whose loss or signals were no numbers."""
    target_signals: Path | None = None
    """phi [N] or [N, Q] of a target of yours on the pool (.npy): attacked by all the models."""
    target_logits: Path | None = None
    """Its logits [N, C] instead."""
    target_member: Path | None = None
    """0/1 [N]: the target's training set, if known; without it there are scores, but no metrics."""
    cascade: int = 0
    """Rounds of shadow models against that target (CMIA): the run is the first, and each further
    one is trained for it alone, around what those before were surest of."""
    show_examples: bool = False
    """Show the most exposed examples in the report, also where they are not a public set's."""
    stream: Literal["auto", "always", "never"] = "auto"
    """Attack the run's signals from disk; auto does so where they do not fit into memory."""
    explain: bool = False
    """Say how the run would be carried out, and stop."""
    on: str = ""
    """With --explain: compile for a device that is not here (h100, tpu-v5e-8, ...), and say what
    bounds its speed there."""
    price: float = 0.0
    """Price of that device for an hour."""
    json: bool = False
    """Print the summary as JSON on stdout."""
    quiet: bool = False
    """No progress."""


def overridden(experiment: Experiment, default: Flags, flags: Flags) -> Experiment:
    """The experiment with the fields that the flags change."""
    recipe = replace(
        experiment.recipe,
        epochs=flags.epochs,
        batch_size=flags.batch_size,
        dtype=flags.dtype,
        init_from=flags.init_from,
    )
    experiment = replace(
        experiment,
        recipe=recipe,
        models=flags.models,
        seed=flags.seed,
        repeat_sets=flags.repeat_sets,
        attacks=tuple(flags.attacks),
    )
    if flags.tune != default.tune:
        tune = None if flags.tune == "none" else parse(flags.tune, tuning.TUNINGS, "--tune")
        experiment = replace(experiment, recipe=replace(experiment.networks, tune=tune))
    if flags.design != default.design:
        experiment = replace(experiment, design=parse(flags.design, design.DESIGNS, "--design"))
    if flags.views != default.views:
        experiment = replace(experiment, views=parse(flags.views, augment.VIEWS, "--views"))
    if flags.copies != default.copies:
        copies = None if flags.copies == "none" else parse(flags.copies, augment.VIEWS, "--copies")
        experiment = replace(experiment, copies=copies)
    for text in flags.defence:
        experiment = replace(experiment, recipe=_defended(experiment.recipe, text))
    if flags.outputs:
        steps = [parse(text, defences.OUTPUTS, "--outputs") for text in flags.outputs]
        outputs = steps[0] if len(steps) == 1 else defences.outputs.composed(*steps)
        experiment = replace(experiment, outputs=outputs)
    if flags.data is not None:
        experiment = replace(experiment, data=data.arrays(str(flags.data.absolute())))
    if flags.shadow_data is not None:  # as they are: networks see them by the experiment's scale
        other = data.arrays(str(flags.shadow_data.absolute()), standardise=False)
        experiment = replace(experiment, shadow_data=other)
    return experiment


HOW = ("workdir", "width", "block", "shard_index", "shard_count", "checkpoint_seconds", "json",
       "quiet", "explain", "on", "price", "keep_shadows")  # fmt: skip


def command(module: str, default: Flags, flags: Flags) -> str:
    """The command that leads to the same numbers: every flag that says what is computed."""
    words = ["python", "-m", module]
    for f in fields(flags):
        value = getattr(flags, f.name)
        if f.name in HOW or value == getattr(default, f.name):
            continue
        value = value.absolute() if isinstance(value, Path) else value  # from whatever folder
        words.append(f"--{f.name.replace('_', '-')}")
        words += [] if value is True else list(value) if isinstance(value, tuple) else [str(value)]
    return shlex.join(words)


def _defended(recipe: Recipe, text: str) -> Recipe:
    """`--defence`: the recipe after a defence that is written like `mixup(1.0)`."""

    def later(defence: Callable[..., Recipe]) -> Callable[..., Recipe]:
        return lambda *args, **kwargs: defence(recipe, *args, **kwargs)

    choices = {name: later(defence) for name, defence in defences.TRAINING.items()}
    outcome = parse(text, choices, "--defence")
    if not isinstance(outcome, Recipe):
        raise ValueError(f"--defence: {text[:80]!r} must be written with its settings: {text}()")
    return outcome


def flag_text(value: Any) -> str:
    """A value as a flag shows it."""
    if value is None:
        return "none"
    return getattr(value, "__name__", None) or repr(value)


def width(text: str) -> int | str:
    """`--width`: a number or auto; raises `ValueError` for anything else."""
    if text == "auto":
        return text
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"--width: {text[:80]!r} must be a whole number from 1 up, or auto")
    return int(text)


def shard(flags: Flags, env: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """This worker's share: as given, or as Slurm and Kubernetes say in the environment."""
    array = "SLURM_ARRAY_TASK_ID" in env
    count = flags.shard_count
    if count is None:
        count = _number(env, "SLURM_ARRAY_TASK_COUNT", 1) if array else 1
    if flags.shard_index is not None:
        index = flags.shard_index
    elif array:
        first = _number(env, "SLURM_ARRAY_TASK_MIN", 0)
        step = max(1, _number(env, "SLURM_ARRAY_TASK_STEP", 1))
        last = _number(env, "SLURM_ARRAY_TASK_MAX", first)
        tasks = _number(env, "SLURM_ARRAY_TASK_COUNT", 1)
        if "SLURM_ARRAY_TASK_MAX" in env and (last - first) // step + 1 != tasks:
            raise ValueError(
                f"SLURM_ARRAY_TASK_COUNT={tasks} does not fit tasks {first} to {last} in steps of "
                f"{step}: the array has gaps, whose share nobody would do; number it 0 to "
                f"{tasks - 1}, or give --shard-index and --shard-count"
            )
        index = (_number(env, "SLURM_ARRAY_TASK_ID", 0) - first) // step
    else:
        index = _number(env, "JOB_COMPLETION_INDEX", 0) if flags.shard_count else 0
    if not 0 <= index < count:
        raise ValueError(f"--shard-index: {index} must be from 0 to {count - 1} (--shard-count)")
    return index, count


def _number(env: Mapping[str, str], name: str, otherwise: int) -> int:
    text = env.get(name, str(otherwise))
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise ValueError(f"{name}={text[:80]!r} in the environment must be a whole number")
    return int(text)
