"""`jaxmia attest`: a run against limits that were chosen beforehand, as a document to sign."""

import hashlib
import json
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from jaxmia.evaluation import exposure, policy
from jaxmia.metrics import auc_of, rank_all
from jaxmia.report import attestation
from jaxmia.storage.files import read_json, writable
from jaxmia.storage.run import Run
from jaxmia.storage.store import Store

SAME = 1e-9  # of an AUC, between the summary and the scores beside it


@dataclass(frozen=True)
class Command:
    """Judge a run by a policy, and write the document to sign; exit status 0 for a pass alone."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run folder, or one that `jaxmia score` or `jaxmia audit --member` wrote."""
    policy: Path
    """The limits, chosen beforehand, in TOML (docs/estimators.md has one)."""
    out: Path | None = None
    """Where attestation.pdf, .html and .json go; the run's folder attest by default."""
    json: bool = False
    """Print the document's texts as JSON on stdout."""


def main(options: Command) -> None:
    """Writes the document; ends with status 1 unless all passes."""
    out = options.out or options.run / "attest"
    writable(out)
    rules = policy.read(options.policy)
    summary = read_json(options.run / "summary.json")
    if not isinstance(summary, dict) or "attacks" not in summary:
        raise ValueError(f"{options.run / 'summary.json'}: was not written by jaxmia")
    decision = policy.decide(rules, summary, _first_day(options.run))
    wrong, worst = _scores(options.run, summary)
    if wrong:
        decision = decision._replace(decision="refuse", reasons=[*decision.reasons, *wrong])
    names = ("summary.json", "scores.npz", "experiment.json")
    present = [options.run / name for name in names if (options.run / name).is_file()]
    digests = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in present}
    files = attestation.write(out, rules, decision, summary, worst, digests)
    if options.json:
        print(json.dumps(read_json(files[-1])))
    print(f"{decision.decision}: {files[1]}, {files[0]}", file=sys.stderr)
    for line in decision.reasons:
        print(f"  {line}", file=sys.stderr)
    if decision.decision != "pass":
        raise SystemExit(1)


def _first_day(folder: Path) -> date | None:
    """The day of the first model that was finished: by the run's log, or that of its shadows."""
    for place in (folder, folder.parent):
        file = place / "log.jsonl"
        if Store.there(place) and file.is_file():
            with open(file) as lines:
                return date.fromisoformat(json.loads(next(lines))["time"][:10])
    return None


def _scores(folder: Path, summary: dict[str, Any]) -> tuple[list[str], list[tuple[int, int, int]]]:
    """Whether signals and scores are those that the summary speaks of; and whom they find most."""
    out = []
    if Store.there(folder):
        run = Run.open(folder)
        state = Store(folder).state(summary["models"])
        if (summary.get("experiment") or {}).get("signals") != state:
            out.append("the signals are others than those that the summary speaks of")
        np.asarray(run.signals.phi)  # raises where a row is not what was written
    with np.load(folder / "scores.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if (member := arrays.pop("member", None)) is None:
        return [*out, "the scores lie without their membership"], []
    ranked = rank_all(arrays, member)
    for name, fields in summary["attacks"].items():
        defined = fields["auc"] is not None
        if defined and (
            name not in ranked or abs(auc_of(ranked[name].curve) - fields["auc"]) > SAME
        ):
            out.append(f"the scores of {name} are others than those that the summary speaks of")
    curves = exposure.count(ranked)
    if not curves:
        return out, []
    lead = next(iter(curves))
    cut = exposure.reach(curves[lead], [exposure.DEFAULT]).threshold
    (of,) = exposure.exposures(ranked[lead], cut)
    worst = [int(i) for i in of.order()[: attestation.WORST] if of.hits[i]]
    return out, [(i, int(of.hits[i]), int(of.models[i])) for i in worst]
