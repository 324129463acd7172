"""`jaxmia report`: a run drawn again, or several side by side."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from jaxmia.attacks.references import leave_out
from jaxmia.command import compare
from jaxmia.command.export import pool_of
from jaxmia.command.terminal import show
from jaxmia.metrics import rank_all
from jaxmia.report import inputs
from jaxmia.report.write import write
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
    run = Run.open(options.runs[0])
    data = _examples(run, options)
    seen = run.signals
    phi = np.asarray(seen.phi)[..., 0]
    drawn = inputs.of_run(
        Store(run.path).records(),
        seen,
        run.member,
        leave_out(run.member),
        data,
        options.show_examples,
    )
    drawn = drawn._replace(price=options.price)
    write(run.path, rank_all(run.scores, run.member), run.member, phi, run.summary, drawn)
    show(run.summary, options.json)
    print(f"report: {run.path / 'report' / 'index.html'}", file=sys.stderr)


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
    if given := [k for k in ("show_examples", "data", "price") if getattr(options, k)]:
        raise ValueError(f"--{given[0].replace('_', '-')}: is for one run, not for several")
    out = options.out or Path("comparison")
    summary = compare.write(out, options.runs)
    if options.json:
        print(json.dumps(summary))
    print(f"comparison: {out / 'index.html'}", file=sys.stderr)
