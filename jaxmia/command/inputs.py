"""What `jaxmia score` was given: files read and checked against each other, as signals."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np

from jaxmia.attacks import ATTACKS
from jaxmia.attacks import people as persons
from jaxmia.command.answers import of_logits, of_probabilities
from jaxmia.data import fields as columns
from jaxmia.evaluation import constant
from jaxmia.storage.run import Run
from jaxmia.storage.sources import WORDS, opened
from jaxmia.storage.store import Store
from jaxmia.types import SIGNALS, Signals

STREAM_BYTES = 1 << 30
DEFAULT = ("lira_online", "lira_offline", "lira_offline_imputed", "base", "global_threshold")
INSIDE = {SIGNALS[n].flag: n for n in ("gradient", "activations", "trajectory")}  # by field
TARGET = tuple(f"target_{of}" for of in ("member", "population", *INSIDE))  # of a given target

# What options go together: for each, those of which it needs one, and those that exclude it.
NEEDS = {
    "signals": ("member",),
    "logits": ("member",),
    "probabilities": ("member",),
    "labels": ("signals", "logits", "probabilities"),
    "member": ("signals", "logits", "probabilities"),
    "target_logits": ("run",),
    "target_probabilities": ("run",),
    **{of: ("signals", "logits", "probabilities") for of in ("population", *INSIDE)},
    **{of: ("target", "target_logits", "target_probabilities") for of in TARGET},
}
EXCLUDES = {
    "signals": ("logits", "probabilities"),
    "logits": ("probabilities",),
    "run": ("signals", "logits", "probabilities", "labels", "member", "population", *INSIDE),
    "target_logits": ("target", "target_probabilities"),
    "target_probabilities": ("target",),
}
# what streaming cannot do
IN_MEMORY = ("logits", "probabilities", "labels", "population", "person", "groups",
             "show_examples", "features", "curve", "target_logits", "target_probabilities",
             "target_population", *INSIDE, *(f"target_{of}" for of in INSIDE))  # fmt: skip


@dataclass(frozen=True)
class Score:
    """Attack models by what they said, whatever they were trained with."""

    out: Path
    """Folder for scores.npz, summary.json and report/."""
    member: Path | None = None
    """0/1 or bool [M, N]: who was in each model's training set (.npy)."""
    signals: Path | None = None
    """phi [M, N] or [M, N, Q] of the models (.npy); or give --logits and --labels, or --run."""
    logits: Path | None = None
    """Logits [M, N, C] (C = 1: a binary model's single logit), instead of --signals."""
    probabilities: Path | None = None
    """Probabilities [M, N, C] (C = 1: of class 1), instead of --signals; exactly 0 and 1 too."""
    labels: Path | None = None
    """Whole numbers [N], the true classes: with --logits, and where attacks want them."""
    run: Path | None = None
    """A run folder, whose shadow models are the references: instead of all of the above."""
    target: Path | None = None
    """phi (logits, probabilities) of one target or several; without it every model is attacked."""
    target_logits: Path | None = None
    """Logits [N, C] of a target asked about the pool of --run, instead of --target."""
    target_probabilities: Path | None = None
    """Probabilities [N, C] of such a target, instead of --target."""
    target_member: Path | None = None
    """0/1 [N] or [T, N] of the targets; without it there are scores, but no metrics."""
    population: Path | None = None
    """phi [M, Z] or [M, Z, Q] of points in nobody's training set."""
    target_population: Path | None = None
    """phi [Z], [Z, Q], [T, Z] or [T, Z, Q] of the same points by the targets."""
    gradient_norms: Path | None = None
    """Norms [M, N] of each example's loss gradient, or [M, N, 1 + L]: whole, then by layer."""
    target_gradient_norms: Path | None = None
    """Those of the targets: one axis fewer for one target, as --target."""
    activations: Path | None = None
    """The last hidden layer's activations [M, N, H]."""
    target_activations: Path | None = None
    """Those of the targets."""
    trajectory: Path | None = None
    """phi [M, N, E] after some epochs of each model's training."""
    target_trajectory: Path | None = None
    """That of the targets."""
    features: Path | None = None
    """Numbers [N, ...] by which examples are alike: an embedding, or the examples themselves."""
    person: Path | None = None
    """Whole numbers [N]: the person each record belongs to, in or out of a training set whole."""
    groups: Path | None = None
    """An .npz of columns [N], such as sex or region: what is found of each of their values."""
    pairs: Path | None = None
    """Whole numbers [M]: models of one number leave together (complementary halves)."""
    attacks: tuple[str, ...] = field(default=DEFAULT)
    """Names of attacks; --attacks help lists them."""
    show_examples: Path | None = None
    """The examples x [N, ...] (.npy), of which the page then shows the most exposed."""
    curve: bool = False
    """Also attack with 2, 4, 8, ... of the models: what more shadow models buy."""
    stream: Literal["auto", "always", "never"] = "auto"
    """Attack from disk, panel by panel; auto does so where signals are above a GiB."""


def check(options: Score) -> None:
    """Raises `ValueError` for options that do not go together, or that nothing would read."""
    present = {f.name for f in fields(options) if getattr(options, f.name) not in (None, False)}
    if not present & {"signals", "logits", "probabilities", "run"}:
        raise ValueError("give either --signals and --member, or --logits and --labels, or --run")
    if not options.attacks:
        raise ValueError("--attacks: names none; --attacks help lists them")
    for name, others in EXCLUDES.items():
        if name in present and (also := [o for o in others if o in present]):
            raise ValueError(f"{_flag(name)} and {_flag(also[0])} do not go together")
    for name, others in NEEDS.items():
        if name in present and not present & set(others):
            raise ValueError(f"{_flag(name)} needs {' or '.join(map(_flag, others))}")
    for name in ("logits", "probabilities"):
        if name in present and "labels" not in present:
            raise ValueError(f"{_flag(name)} needs --labels")
    targets = present & {"target", "target_logits", "target_probabilities"}
    if targets and "run" not in present:
        for of in ("population", *INSIDE):
            if (of in present) != (f"target_{of}" in present):
                raise ValueError(f"{_flag(of)} and {_flag('target_' + of)} go together")
    for of in ("person", "groups"):
        if targets and of in present and "target_member" not in present:
            raise ValueError(f"{_flag(of)} needs --target-member: without it nothing is measured")
    for of, signal in {**INSIDE, "features": "features"}.items():
        used = [name for name, attack in ATTACKS.items() if signal in attack.needs]
        if present & {of, f"target_{of}"} and not set(options.attacks) & set(used):
            flag = _flag(of if of in present else f"target_{of}")
            raise ValueError(f"{flag}: no attack asked for looks at it; those that do: {used}")
    if options.stream == "always":
        if not present & {"signals", "run"}:
            raise ValueError("--stream always needs --signals and --member, or --run")
        if also := [name for name in IN_MEMORY if name in present]:
            raise ValueError(f"--stream always: does not go with {_flag(also[0])}")


def streams(options: Score) -> bool:
    """Whether the signals stay on disk: asked for, or they are large and all options can.

    Raises `ValueError` if it is asked of a run of which not all would be told.
    """
    whole = "" if options.run is None else _only_in_memory(options.run)
    if options.stream == "always" and whole:
        raise ValueError(
            f"--run: {options.run} has {whole}, which must hold all signals in memory: "
            "--stream never"
        )
    if options.stream != "auto":
        return options.stream == "always"
    if whole or any(getattr(options, name) for name in IN_MEMORY):
        return False
    if options.run is not None and not _all_from_disk(options):
        return False
    shape, itemsize = shape_of_signals(options)
    return int(np.prod(shape)) * itemsize > STREAM_BYTES


def _all_from_disk(options: Score) -> bool:
    """Whether all attacks can look at a run, or at a target's phi, from disk."""
    there = {"phi", "margin"} if options.target is None else {"phi"}
    attacks = [ATTACKS[name] for name in options.attacks if name in ATTACKS]
    return all(a.panels is not None and there.issuperset(a.needs) for a in attacks)


def _only_in_memory(folder: Path) -> str:
    """What of a run is told of signals in memory alone; "" if nothing is."""
    run = Run.open(folder)
    if run.person is not None:
        return "records of people"
    return "sets that were trained on twice" if run.repeats is not None else ""


def shape_of_signals(options: Score) -> tuple[tuple[int, ...], int]:
    """The shape of phi, or of what it is made of, and the bytes of a number; nothing is read."""
    if options.run is not None:
        run = Run.open(options.run)
        array = Store(run.folder).arrays.open("phi")
        return (run.models, *array.shape[1:]), array.dtype.numpy_dtype.itemsize
    names = ("signals", "logits", "probabilities")
    name, file = next((n, f) for n in names if (f := getattr(options, n)) is not None)
    array = opened(f"--{name}", file)
    return tuple(array.shape), getattr(array.dtype, "numpy_dtype", array.dtype).itemsize


def pairs_of(options: Score, models: int) -> np.ndarray | None:
    """The pair each of the models belongs to, if that was said."""
    return None if options.pairs is None else _ids("--pairs", options.pairs, models)


def person_of(options: Score, member: np.ndarray) -> np.ndarray | None:
    """Whose each record is: as given, or as the run knows; checked against the membership."""
    person = None
    if options.person is not None:
        person = _ids("--person", options.person, member.shape[1])
        persons.member_of_people(member, persons.people(person))
    elif options.run is not None:
        person = Run.open(options.run).person
    return person


def run_of(folder: Path) -> Run:
    """A run with enough finished models to attack them."""
    run = Run.open(folder)
    if run.models < 2:
        raise ValueError(f"--run: {folder} has {run.models} finished models, 2 are needed")
    return run


def _of_run(options: Score) -> tuple[Signals, np.ndarray]:
    """The finished models of a run folder."""
    assert options.run is not None
    run = run_of(options.run)
    return run.signals, run.member


def references(options: Score) -> tuple[Signals, np.ndarray]:
    """The reference models' signals and membership, from a run or from files."""
    signals, member = (_of_run if options.run is not None else _of_files)(options)
    if options.features is not None:
        signals = replace(signals, features=_features(options.features, member.shape[1]))
    return signals, member


def _of_files(options: Score) -> tuple[Signals, np.ndarray]:
    assert options.member is not None
    answers = options.logits or options.probabilities
    if answers is not None:
        assert options.labels is not None
        y = _whole("--labels", options.labels)
        name = "--logits" if options.logits else "--probabilities"
        of = of_logits if options.logits else of_probabilities
        signals = of(name, array(name, answers, "f", (3,)), y)
    else:
        name = "--signals"
        assert options.signals is not None
        phi = array("--signals", options.signals, "f", (2, 3))
        signals = Signals(phi.reshape(*phi.shape[:2], -1), _labels_of(options, phi.shape[1]))
    shape = np.asarray(signals.phi).shape
    member = membership("--member", options.member, (2,), shape[:2])
    population = None
    if options.population is not None:
        population = array("--population", options.population, "f", (2, 3))
        if len(population) != shape[0]:
            raise ValueError(f"--population: has {len(population)} models, not {shape[0]}")
        population = population.reshape(*population.shape[:2], -1)
    if shape[0] < 2 or shape[1] < 2:
        raise ValueError(
            f"--signals: has {shape[0]} models and {shape[1]} examples, 2 of each are needed"
        )
    constant.refuse(name, constant.span(np.asarray(signals.phi)))
    return replace(signals, population=population, **_inside(options, "", shape)), member


def targets_of(options: Score, signals: Signals) -> tuple[list[Signals], np.ndarray | None]:
    """The given targets' signals, and their membership if it was told."""
    as_probabilities = bool(options.probabilities or options.target_probabilities)
    as_logits = as_probabilities or bool(options.logits or options.target_logits)
    of_pool = options.target_logits or options.target_probabilities
    file = of_pool or options.target
    assert file is not None
    name = "--target"
    if of_pool is not None:
        name = "--target-logits" if options.target_logits else "--target-probabilities"
    as_signals = of_probabilities if as_probabilities else of_logits
    like = _like(signals, as_logits)
    answers = array(name, file, "f", (2, 3) if as_logits and like[-1] > 1 else (1, 2, 3))
    full = 2 if not as_logits and like[-1] == 1 else 3
    one = answers.ndim == full - 1 or (answers.ndim == 1)
    if answers.ndim > full and like[-1] == 1:
        full, one = answers.ndim, False
    answers = answers[None] if one else answers
    answers = answers.reshape(len(answers), -1, like[-1]) if answers.ndim == 2 else answers
    classes = answers.shape[-1] if of_pool is not None else like[-1]
    if answers.shape[1:] != (like[0], classes):
        raise ValueError(f"{name}: has {answers.shape[1:]} for each model, not {like}")
    population = None
    if options.target_population is not None:
        population = array("--target-population", options.target_population, "f", (1, 2, 3))
        population = population[None] if one else population
        population = population.reshape(*population.shape[:2], -1)
        if len(population) != len(answers):
            raise ValueError(
                f"--target-population: has {len(population)} targets, {name} has {len(answers)}"
            )
    inside = _inside(options, "target_", answers.shape[:2], one)
    for of, signal in INSIDE.items():
        like, own = getattr(signals, signal), inside.get(signal)
        if own is not None and (like is None or like.shape[2:] != own.shape[2:]):
            there = "absent" if like is None else f"{like.shape[1:]} for each model"
            raise ValueError(
                f"{_flag('target_' + of)}: has {own.shape[1:]}, the models' is {there}"
            )
    targets = []
    for i, z in enumerate(answers):
        own = Signals(z, signals.y)
        if as_logits:
            own = as_signals(name, z, _labels(options, signals))
        own_population = None if population is None else population[i]
        within = {k: v[i] for k, v in inside.items()}
        targets.append(replace(own, population=own_population, features=signals.features, **within))
    spans = constant.span(np.stack([np.asarray(t.phi) for t in targets]))
    constant.refuse(name, spans, constant.span(np.asarray(signals.phi)))
    if options.target_member is None:
        return targets, None
    truth = membership("--target-member", options.target_member, (1, 2), None)
    truth = truth[None] if truth.ndim == 1 else truth
    if truth.shape != answers.shape[:2]:
        raise ValueError(f"--target-member: has shape {truth.shape}, not {answers.shape[:2]}")
    return targets, truth


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _inside(
    options: Score, prefix: str, shape: tuple[int, ...], one: bool = False
) -> dict[str, np.ndarray]:
    """What was given of the models' insides, as signals hold it: norms by their logarithm."""
    out = {}
    for of, signal in INSIDE.items():
        if (file := getattr(options, prefix + of)) is None:
            continue
        least = 2 if of == "gradient_norms" else 3
        values = array(_flag(prefix + of), file, "f", (least - one, 3 - one))
        values = values[None] if one else values
        if values.shape[:2] != tuple(shape[:2]):
            raise ValueError(f"{_flag(prefix + of)}: has shape {values.shape}, not {shape[:2]}")
        values = values.reshape(*values.shape[:2], -1)
        if of == "gradient_norms":
            if np.nanmin(values) < 0:
                raise ValueError(f"{_flag(prefix + of)}: has a negative norm")
            values = np.log(np.maximum(values, np.finfo(np.float32).tiny))
        out[signal] = values
    return out


def _features(file: Path, examples: int) -> np.ndarray:
    """A row of finite numbers for each example."""
    values = array("--features", file, "fiub", (2, 3, 4))
    if len(values) != examples:
        raise ValueError(
            f"--features: {file} has {len(values)} examples, the signals have {examples}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"--features: {file} has NaN or infinite entries")
    return values.reshape(examples, -1).astype(np.float32)


def _like(signals: Signals, as_logits: bool) -> tuple[int, int]:
    """The examples, and the queries or classes, that a target's signals must have."""
    if not as_logits:
        return np.asarray(signals.phi).shape[1:]
    if signals.logits is not None:
        return np.asarray(signals.logits).shape[1:]
    if np.asarray(signals.phi).shape[-1] != 1:
        raise ValueError("the run has several views: give the target's phi of them as --target")
    assert signals.y is not None
    return len(signals.y), max(2, int(signals.y.max()) + 1)


def _labels_of(options: Score, examples: int) -> np.ndarray | None:
    """The labels beside phi, if there are any."""
    if options.labels is None:
        return None
    y = _whole("--labels", options.labels)
    if len(y) != examples:
        raise ValueError(f"--labels: has {len(y)} examples, --signals has {examples}")
    return y


def _labels(options: Score, signals: Signals) -> np.ndarray:
    if options.labels is None:
        assert signals.y is not None
        return np.asarray(signals.y)
    return _whole("--labels", options.labels)


def _whole(name: str, file: Path) -> np.ndarray:
    """Labels as int32 `[N]`: whole numbers of any type, bools, also as `[N, 1]`."""
    return columns.labels(name, file.name, array(name, file, "iufb", (1, 2)))


def _ids(name: str, file: Path, count: int) -> np.ndarray:
    """What each of `count` belongs to, as int64: whole numbers of any type, or strings."""
    return columns.persons(name, file.name, array(name, file, "iufbUS", (1, 2)), count)


def membership(name: str, file: Path, ndim: tuple[int, ...], shape: tuple | None) -> np.ndarray:
    """Who was in, as bool, of 0 and 1 of any type; a last axis of 1 is left out."""
    member = array(name, file, "biuf", (*ndim, ndim[-1] + 1))
    if member.ndim > ndim[-1] or (shape is None and member.ndim == 2 and member.shape[1] == 1):
        member = member[..., 0] if member.shape[-1] == 1 else member
    if shape is not None and member.shape == tuple(shape[::-1]) != tuple(shape):
        raise ValueError(
            f"{name}: {file} has shape {member.shape}, the signals have {shape}: transpose it, "
            "models come first"
        )
    if shape is not None and member.shape != shape:
        raise ValueError(f"{name}: {file} has shape {member.shape}, the signals have {shape}")
    if not np.isin(member, (0, 1)).all():
        raise ValueError(f"{name}: {file} has entries other than 0 and 1")
    return member.astype(bool)


def array(name: str, file: Path, kinds: str, ndim: tuple[int, ...]) -> np.ndarray:
    """An array of a .npy file or a Zarr folder, of these kinds of number and numbers of axes."""
    array = opened(name, file)
    if not isinstance(array, np.memmap):
        array = np.asarray(array.read().result())
    if array.dtype.kind not in kinds or array.ndim not in ndim or not array.size:
        allowed = " or ".join(dict.fromkeys(WORDS[k] for k in kinds))
        axes = " or ".join(map(str, ndim))
        raise ValueError(
            f"{name}: {file} is {array.dtype} {array.shape}, needs {allowed} numbers, {axes} axes"
        )
    return array
