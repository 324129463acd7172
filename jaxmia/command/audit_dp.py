"""`jaxmia audit-dp`: does training keep the epsilon that it promises? From canary scores alone."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxmia import privacy
from jaxmia.command.inputs import array, membership
from jaxmia.command.terminal import warn
from jaxmia.privacy import DpAudit


@dataclass(frozen=True, kw_only=True)
class Command:
    """Canary scores of any framework against a promised epsilon; status 1 if they refute it."""

    scores: Path
    """Scores [N] (.npy), higher where the canary was in: of N runs, or of one run's N canaries."""
    member: Path
    """0/1 [N]: whether the canary was in."""
    delta: float
    """The promise's delta."""
    promised_epsilon: float | None = None
    """The promise; without it there are bounds, and no verdict."""
    design: Literal["trials", "one-run"] = "trials"
    """trials: one canary's score from each run; one-run: N canaries, a fair coin each."""
    assume: Literal["gaussian", "any", "independent"] = "gaussian"
    """The mechanism of the bound that decides; independent (one-run): each canary's own noise."""
    guesses: int | None = None
    """one-run: canaries guessed, the surest of both ends; a fifth by default."""
    confidence: float = 0.95
    """Of each bound by itself."""
    seed: int = 0
    """Draws the pilot and the order of equal scores; fix it beforehand."""
    json: bool = False
    """Print the audit as JSON on stdout."""


def main(options: Command) -> None:
    """Prints bounds and verdict; ends the process with status 1 if the promise is refuted."""
    audit = audited(options)
    if options.json:
        print(json.dumps(as_json(audit)))
    console = Console(file=sys.stderr if options.json else sys.stdout, highlight=False)
    warn(audit._asdict(), console)
    console.print(_table(audit))
    console.print(conditions(audit), markup=False)
    console.print(verdict(audit), markup=False)
    if audit.refuted:
        raise SystemExit(1)


def audited(options: Command) -> DpAudit:
    """The audit of the files; raises `ValueError` in one line for whatever does not fit."""
    score = array("--scores", options.scores, "fiub", (1, 2)).astype(np.float64)
    score = score[:, 0] if score.ndim == 2 and score.shape[1] == 1 else score
    if score.ndim != 1:
        raise ValueError(
            f"--scores: {options.scores} has shape {score.shape}, one score a trial is needed"
        )
    member = membership("--member", options.member, (1,), None)
    if member.shape != score.shape:
        raise ValueError(f"--member: has {len(member)} entries, --scores has {len(score)}")
    settings: dict[str, Any] = {
        "promised_epsilon": options.promised_epsilon,
        "assume": options.assume,
        "confidence": options.confidence,
        "seed": options.seed,
    }
    if options.design == "one-run":
        settings["guesses"] = options.guesses
        return privacy.audit_one_run(score, member, options.delta, **settings)
    if options.guesses is not None:
        raise ValueError("--guesses needs --design one-run")
    if options.assume == "independent":
        raise ValueError("--assume independent needs --design one-run")
    return privacy.audit_trials(score, member, options.delta, **settings)


def as_json(audit: DpAudit) -> dict[str, Any]:
    """The audit's fields; `verdict` is the sentence."""
    bounds = [bound._asdict() for bound in audit.bounds]
    return audit._asdict() | {
        "bounds": bounds,
        "conditions": conditions(audit),
        "verdict": verdict(audit),
    }


def conditions(audit: DpAudit) -> str:
    """What every bound rests on."""
    of = {
        "trials": "trials: the runs are independent",
        "one-run": "one run: each canary was in by a fair coin of its own",
    }
    counts = f"{audit.members} scores with the canary in, {audit.non_members} with it out"
    return f"{of[audit.design]}; {counts}; each bound by itself at {100 * audit.confidence:g} %"


def verdict(audit: DpAudit) -> str:
    """In a sentence: refuted or not, by which bound, and what could have been shown."""
    bound = audit.deciding
    least = (
        f"epsilon is at least {bound.epsilon:.2f} at delta {audit.delta:g} "
        f"({100 * audit.confidence:g} %, {bound.name}: {bound.assumes})"
    )
    could = f"could have shown at most {bound.most:.2f}"
    if audit.refuted is None:
        return f"no promise was named: {least}; {could}"
    if audit.refuted:
        return f"refuted: {least}, {audit.promised_epsilon:g} is promised"
    ideal = ""
    if audit.ideal is not None:
        ideal = f", and {audit.ideal:.2f} of a mechanism that just keeps it, by the best attack"
    return f"not refuted: {least}, {audit.promised_epsilon:g} is promised; {could}{ideal}"


def _table(audit: DpAudit) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("bound", "epsilon", "mu", "at most"):
        table.add_column(head, justify="left" if head == "bound" else "right", no_wrap=True)
    table.add_column("holds", no_wrap=True)
    table.add_column("for")
    for bound in audit.bounds:
        numbers = (bound.epsilon, bound.mu, bound.most)
        table.add_row(
            bound.name,
            *("–" if n is None else f"{n:.2f}" for n in numbers),
            "exactly" if bound.exact else "asymptotically",
            bound.assumes,
        )
    return table
