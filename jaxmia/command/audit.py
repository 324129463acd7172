"""`audit(estimator, X, y)` and `jaxmia audit MODEL --data TABLE`: any estimator, any table."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from jaxmia import design, pipeline
from jaxmia.command import grouping
from jaxmia.command.inputs import Score
from jaxmia.command.score import score
from jaxmia.command.terminal import show
from jaxmia.estimators import Procedure, Table, fitting, reading
from jaxmia.estimators.tabled import tabled
from jaxmia.experiment import ATTACKS, Experiment
from jaxmia.options import Options
from jaxmia.storage.files import read_json
from jaxmia.storage.run import Run
from jaxmia.storage.urls import local
from jaxmia.training.progress import Progress
from jaxmia.values import factory

# of errors alone
OF_REGRESSION = ("lira_online", "lira_offline", "lira_offline_imputed", "base", "global_threshold")


@dataclass(frozen=True)
class Command:
    """Audit an estimator of scikit-learn's interface on a table: how much does it give away?"""

    model: Annotated[Path, tyro.conf.Positional]
    """The estimator, fitted or not, as skops.io.dump wrote it; a pickle is never opened."""
    data: Path
    """The records: .csv or .parquet with named columns, or .npz with x, y and others."""
    out: Path | None = None
    """The run folder; checkpoints/MODEL by default. The same command again goes on there."""
    label: str = "y"
    """The column that is predicted."""
    person: str = ""
    """The column of whose a record is: a person's records go in or out together."""
    group: tuple[str, ...] = ()
    """Columns by which exposure is told apart: sex, region, ..."""
    drop: tuple[str, ...] = ()
    """Columns that the estimator does not get."""
    member: str = ""
    """The column of 0/1 of who the fitted MODEL was trained on: then it is attacked itself."""
    models: int = 64
    """How many times the estimator is fitted anew, each on a random half of the records."""
    seed: int = 0
    """Who is in which half, and the randomness of each fit."""
    attacks: tuple[str, ...] = ()
    """Names of attacks; --attacks help lists them. By default those that a run makes."""
    jobs: int = 0
    """Processes that fit at the same time; one for each core if 0."""
    trust: tuple[str, ...] = ()
    """Types that may be loaded with MODEL besides those that skops trusts by itself."""
    json: bool = False
    """Print the summary as JSON on stdout."""
    quiet: bool = False
    """Print nothing but warnings."""


def main(options: Command) -> None:
    """Audits, and prints the table."""
    estimator = reading.estimator(options.model, options.trust)
    procedure = Procedure(estimator)
    features = tuple(map(str, getattr(estimator, "feature_names_in_", ())))
    if options.drop and options.data.suffix == ".npz":
        raise ValueError("--drop: an .npz has all its columns in x; leave them out of it")
    away = (*options.drop, *([options.member] if options.member else []))
    source = reading.table(
        str(options.data), options.label, options.person, options.group, away,
        features if options.data.suffix != ".npz" else (), procedure.regression,
    )  # fmt: skip
    member = None
    if options.member:
        column = reading.read(options.data)[1]
        if options.member not in column:
            raise ValueError(f"--member: {options.data} has no column {options.member!r}")
        member = column[options.member]
    out = options.out or Path("checkpoints") / options.model.stem
    how = Options(
        workdir=out, width=_jobs(options.jobs), progress=Progress(options.quiet),
        command=_command(options),
    )  # fmt: skip
    settings = (options.models, options.seed, options.attacks)
    result = _audit(estimator, procedure, source, member, settings, how)
    show(result.summary, options.json, options.quiet)
    how.progress.say(f"report: {result.path / 'report' / 'index.html'}")


def _command(options: Command) -> str:
    """The command that does the same again."""
    words = ["jaxmia", "audit", str(options.model)]
    for f in fields(options):
        value = getattr(options, f.name)
        if f.name not in ("model", "json", "quiet", "jobs") and value != f.default:
            words += [f"--{f.name}", *(value if isinstance(value, tuple) else [str(value)])]
    return shlex.join(words)


@dataclass(frozen=True)
class Audit:
    """What an audit left in its folder, read when it is asked for."""

    path: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """`summary.json`: every figure of every attack."""
        return read_json(self.path / "summary.json")

    @cached_property
    def scores(self) -> dict[str, np.ndarray]:
        """The score `[T, N]` of every attack, by name: higher means "more likely a member"."""
        return {k: v for k, v in self._arrays.items() if k != "member"}

    @cached_property
    def member(self) -> np.ndarray:
        """Bool `[T, N]`: who each of the attacked models was trained on."""
        return self._arrays["member"]

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.path / "scores.npz", allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def audit(
    estimator: Any,
    X: Any,
    y: Any,
    models: int = 64,
    groups: Any = None,
    *,
    by: Mapping[str, Any] | None = None,
    member: Any = None,
    out: Path | str | None = None,
    attacks: Sequence[str] = (),
    seed: int = 0,
    jobs: int = 0,
    quiet: bool = False,
) -> Audit:
    """How much models give away that are trained as the estimator is.

    The estimator, a pipeline with its preprocessing if that learns from data, is cloned and fitted
    `models` times, each time on a random half of the records; every one of these models is attacked
    by the others. What is audited is its *procedure*: the estimator itself is attacked only if it
    is fitted and `member [N]` says on which of these records (then the result is of that model
    alone, by shadows on sets as large as its own).

    `X [N, ...]` is an array, a DataFrame or a sparse matrix, `y [N]` labels, or numbers for a
    regressor. `groups [N]` says whose a record is: a person's records go in or out together. `by`
    are columns `[N]` by which the report tells exposure apart. `out` is the run folder
    (`checkpoints/audit_CLASS` by default): the same call again goes on there. `jobs` processes fit
    at the same time, one for each core if 0. phi is the log-odds of the true class, of a regressor
    the negative logarithm of the squared error (Carlini et al. 2022).

    Raises `ValueError` for what cannot be fitted or does not fit together, and for an `out` that
    belongs to another audit.
    """
    procedure = Procedure(estimator)
    kind = type(estimator).__name__
    table = tabled(X, y, groups, by or {}, procedure.regression, f"audit_{kind}")
    path = local(out, "out") if out is not None else Path("checkpoints") / table.name
    how = Options(workdir=path, width=_jobs(jobs), progress=Progress(quiet))
    settings = (models, seed, tuple(attacks))
    return _audit(estimator, procedure, in_memory(table), member, settings, how)


@factory
def in_memory(table: Table) -> Any:
    """A source of records that lie in memory."""
    return lambda: table


def _audit(
    estimator: Any,
    procedure: Procedure,
    source: Any,
    member: Any,
    settings: tuple[int, int, tuple[str, ...]],
    how: Options,
) -> Audit:
    """Shadows fitted and attacked in turn; then, given whom it was trained on, the estimator."""
    models, seed, attacks = settings
    if models < 2:
        raise ValueError(f"models={models} must be 2 or more: one to attack, one to compare with")
    table = source()
    attacks = attacks or (OF_REGRESSION if procedure.regression else ATTACKS)
    truth = None if member is None else _membership(member, table)
    experiment = Experiment(
        name=_name(table.name),
        data=source,
        recipe=procedure,
        models=models,
        design=design.complementary_halves if truth is None else _as_large(truth, table),
        attacks=attacks,
        seed=seed,
    )
    run = pipeline.run(experiment, how)
    return Audit(run.path) if truth is None else _attack(estimator, table, truth, run, attacks)


def _name(text: str) -> str:
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in text)[:100]
    return plain if plain[:1].isalnum() else f"audit{plain}"[:100]


def _jobs(jobs: int) -> int | str:
    if jobs < 0:
        raise ValueError(f"jobs={jobs} must be 1 or more, or 0 for one each core")
    return jobs or "auto"


def _membership(member: Any, table: Table) -> np.ndarray:
    """Who the fitted estimator was trained on, as bools `[N]`."""
    array = np.asarray(member)
    if array.shape != (len(table.y),) or not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"member: needs 0 or 1 for each of the {len(table.y)} records, has shape {array.shape}"
        )
    truth = array.astype(bool)
    if not 0 < truth.sum() < len(truth):
        raise ValueError("member: needs records that the model was trained on, and others")
    if table.person is not None:
        from jaxmia.attacks import people

        people.member_of_people(truth[None], people.people(table.person))
    return truth


def _as_large(truth: np.ndarray, table: Table) -> Any:
    """Sets as large as the fitted estimator's: halves if it had one, else so many at random."""
    unit = truth
    if table.person is not None:
        unit = truth[np.unique(table.person, return_index=True)[1]]
    many = int(unit.sum())
    half = many in (len(unit) // 2, -(-len(unit) // 2))
    return design.complementary_halves if half else design.fixed_size(many)


def _attack(
    estimator: Any, table: Table, truth: np.ndarray, run: Run, attacks: tuple[str, ...]
) -> Audit:
    """The fitted estimator as the target, the run's models as its references."""
    try:
        kind, values = fitting.answers(estimator, table.x, table.target, table.values)
    except Exception as error:  # of anybody's estimator: whatever it raises
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"member: the estimator itself cannot be asked ({what:.300})") from error
    folder = run.path / "target"
    folder.mkdir(exist_ok=True)
    field = {"probabilities": "target_probabilities", "scores": "target_logits"}.get(kind, "target")
    if kind == "errors":
        with np.errstate(divide="ignore"):
            values = -np.log(values)
    np.save(folder / "answers.npy", values)
    np.save(folder / "member.npy", truth)
    about = {field: folder / "answers.npy", "target_member": folder / "member.npy"}
    if table.groups:
        grouping.save(folder / "groups.npz", table.groups)
        about["groups"] = folder / "groups.npz"
    score(Score(out=folder, run=run.path, attacks=attacks, **about))
    return Audit(folder)
