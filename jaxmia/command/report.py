"""`jaxmia report`: a run drawn again, or several side by side."""

import json
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from jaxmia.attacks.references import leave_out
from jaxmia.command import compare
from jaxmia.command.export import pool_of
from jaxmia.command.terminal import show, warn
from jaxmia.evaluation import streamed_scores
from jaxmia.metrics import rank_all
from jaxmia.report.inputs import ReportInputs, of_run, with_signals
from jaxmia.report.previous import losses
from jaxmia.report.write import write, write_from_disk
from jaxmia.storage import scores
from jaxmia.storage.files import read_json, writable
from jaxmia.storage.run import Run
from jaxmia.storage.store import Store


@dataclass(frozen=True)
class Command:
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


def main(options: Command) -> None:
    """Draws one run again, or compares several."""
    if not options.runs:
        raise ValueError("report: name a run folder, or several to compare")
    if len(options.runs) > 1:
        _compare(options)
        return
    if options.price is not None and not 0 <= options.price < 1e9:
        raise ValueError(f"--price: {options.price} must be 0 or more")
    folder = options.runs[0]
    writable(folder, folder / "report")
    if not Store.there(folder) and (folder / "scores.npz").is_file():
        _scored(folder, options)
        return
    run = Run.open(folder)
    _of_run(run, options)
    show(run.summary, options.json)
    print(f"report: {run.path / 'report' / 'index.html'}", file=sys.stderr)


def _of_run(run: Run, options: Command) -> None:
    """Draws a run again, from disk where that is how it was attacked."""
    data, store, streamed = _examples(run, options), Store(run.folder), "streamed" in run.summary
    inputs = of_run(
        store.records(), run.models, store.read("y"), data, options.show_examples, run.person
    )
    inputs = inputs._replace(price=options.price)
    if not streamed:
        inputs = with_signals(inputs, run.signals, run.member, leave_out(run.member))
    if less := losses(run.path / "report", inputs):
        raise ValueError(
            f"report: {run.path / 'report' / 'index.html'} shows {', '.join(less)}: give "
            "--show-examples, --data or --price as it was made, or remove it first"
        )
    if streamed:
        curves = streamed_scores.curves(run.path / "scores.npz", run.summary["attacks"])
        write_from_disk(run.path, curves, run.summary, inputs)
        return
    ranked, phi = rank_all(run.scores, run.member), np.asarray(run.signals.phi)[..., 0]
    write(run.path, ranked, run.member, phi, run.summary, inputs)


def _scored(folder: Path, options: Command) -> None:
    """Draws what `jaxmia score` wrote from its scores and summary, where that loses nothing."""
    if flags := [k for k in ("show_examples", "data", "price") if getattr(options, k)]:
        raise ValueError(f"--{flags[0].replace('_', '-')}: is for a run folder, not for {folder}")
    summary = read_json(folder / "summary.json")
    if not isinstance(summary, dict) or "attacks" not in summary:
        raise ValueError(f"{folder / 'summary.json'}: was not written by jaxmia score")
    if "streamed" in summary:
        _streamed(folder, summary, options)
        return
    try:
        with np.load(folder / "scores.npz", allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{folder / 'scores.npz'}: cannot be read ({error!s:.200})") from error
    member = arrays.pop("member", None)
    if member is None or set(arrays) != set(summary["attacks"]):
        raise ValueError(f"report: {folder} holds no membership with its scores: nothing to draw")
    again = f"; all of it: {summary['command']}" if summary.get("command") else ""
    if less := losses(folder / "report", ReportInputs()):
        raise ValueError(
            f"report: {folder / 'report' / 'index.html'} shows {', '.join(less)}, which scores.npz "
            f"and summary.json do not hold{again}"
        )
    write(folder, rank_all(arrays, member), member, None, summary)
    show(summary, options.json)
    page = folder / "report" / "index.html"
    print(f"report: {page}, without phi, labels and pictures{again}", file=sys.stderr)


def _streamed(folder: Path, summary: dict[str, Any], options: Command) -> None:
    """Draws what was scored from disk again, from disk: of it labels alone are lost."""
    file = folder / "scores.npz"
    names = scores.names(file)
    if "member" not in names or set(names) != {"member", *summary["attacks"]}:
        raise ValueError(f"report: {folder} holds no membership with its scores: nothing to draw")
    curves = streamed_scores.curves(file, summary["attacks"])
    write_from_disk(folder, curves, summary)
    show(summary, options.json)
    again = f"; all of it: {summary['command']}" if summary.get("command") else ""
    page = folder / "report" / "index.html"
    print(f"report: {page}, without labels{again}", file=sys.stderr)


def _examples(run: Run, options: Command) -> Any:
    """The data of a run; without it, which is said, the page lacks pictures and label names."""
    try:
        return pool_of(run, options.data)
    except (ValueError, FileNotFoundError) as error:
        if options.data or options.show_examples:
            raise
        print(f"jaxmia: the report shows no examples: {error}", file=sys.stderr)
        return None


def _compare(options: Command) -> None:
    """Several runs side by side."""
    if flags := [k for k in ("show_examples", "data", "price") if getattr(options, k)]:
        raise ValueError(f"--{flags[0].replace('_', '-')}: is for one run, not for several")
    out = options.out or Path("comparison")
    summary = compare.write(out, options.runs)
    if options.json:
        print(json.dumps(summary))
    warn(summary)
    print(f"comparison: {out / 'index.html'}", file=sys.stderr)
