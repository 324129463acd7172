"""What a passive observer of federated averaging learns: by gradient orthogonality, round by round.

    python -m experiments.studies.federated          (16 clients; clients and widths varied)
    python -m experiments.studies.federated --quick  (few rounds and federations: to see it work)

FedAvg on scikit-learn's digits: perceptrons, plain SGD, every client with its own share of half the
pool. The observer sees each client's update of each round and asks of an example whether the client
at whose place it is was trained on it: by the cosine of its gradient with the update, and by the
difference form, of each round and accumulated; and with shadow federations (every federation is the
target in turn, all others but its complement are the references), by LiRA on the accumulated score.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments import rows
from experiments.studies.federated_attacks import (
    NAMES,
    Setting,
    federation,
    rates,
    scores,
    signals,
    spread,
    trained,
)
from experiments.studies.federated_figures import cosines_figure, rounds_figure, varied_figure
from jaxmia import federated, machine
from jaxmia.attacks import ATTACKS
from jaxmia.attacks.references import leave_out
from jaxmia.command.terminal import guarded, parsed
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.summary import summarise
from jaxmia.federated import Observed
from jaxmia.metrics import rank_all
from jaxmia.report import figures
from jaxmia.report.inputs import ReportInputs
from jaxmia.report.table import table
from jaxmia.report.write import write
from jaxmia.roofline import words
from jaxmia.roofline.ask import ask_federation
from jaxmia.roofline.devices import accelerator
from jaxmia.training import processes
from jaxmia.training.progress import Progress

SHORT = ("loss", "cosine", "difference", "cosine, LiRA", "diff., LiRA")  # NAMES, in a table


@dataclass(frozen=True)
class Flags(Setting):
    """The federation in the middle, and what is varied around it."""

    vary_clients: tuple[int, ...] = (4, 64)
    """Other numbers of clients."""
    vary_width: tuple[int, ...] = (16, 256)
    """Other widths."""
    vary_participation: tuple[float, ...] = (0.25,)
    """Other shares of clients in a round."""
    out: Path = Path("checkpoints/federated")
    """Folder for scores, summary and figures."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    quick: bool = False
    """Four federations of 4 clients and 5 rounds, of two widths."""
    json: bool = False
    """Print the summary as JSON on stdout."""
    on: str = ""
    """Only compile the federation in the middle for a device that is not here, as tpu-v5e-8."""


def by_round(observation: Observed, flags: Flags) -> list[dict[str, Any]]:
    """A row for each of some rounds: each form in that round alone, and accumulated up to it."""
    rows = []
    each = signals(observation, flags)
    for r in sorted({*np.unique(np.geomspace(1, flags.rounds, 12).astype(int)), flags.rounds}):
        row: dict[str, Any] = {"round": int(r)}
        row |= {
            k: rates(v, observation.member) for k, v in scores(observation, flags, int(r)).items()
        }
        row |= {
            f"{k}_of_round": rates(v[:, :, r - 1, 0], observation.member) for k, v in each.items()
        }
        rows.append(row)
    return rows


def by_layer(observation: Observed, flags: Flags) -> list[dict[str, Any]]:
    """A row for each layer: both forms, accumulated."""
    each = signals(observation, flags)
    names = ("whole", *observation.layers)
    return [
        {"layer": name}
        | {k: rates(federated.accumulated(v[..., i]), observation.member) for k, v in each.items()}
        for i, name in enumerate(names)
    ]


def varied(flags: Flags, middle: Observed, say: Any) -> dict[str, list[dict[str, Any]]]:
    """Rows of other settings, the one in the middle among them."""
    out = {}
    for field in ("clients", "width", "participation"):
        own = getattr(flags, field)
        values = sorted({own, *getattr(flags, f"vary_{field}")})
        rows = []
        for value in values:
            there = replace(flags, **{field: value})
            observation = middle if value == own else trained(there, lambda line: None)
            row = {field: value, "accuracy": np.nanmean(observation.accuracy, axis=0).tolist()}
            row |= {k: spread(v, observation.member) for k, v in scores(observation, there).items()}
            first = signals(observation, there)["cosine"][..., 0, 0]
            if not np.isnan(first).any():
                row["cosine_of_first_round"] = rates(first, observation.member)
            rows.append(row)
            text = ", ".join(
                f"{short} {row[k]['auc']:.3f} {row[k]['tpr_at_0.001']:.2%}"
                for k, short in zip(NAMES, SHORT, strict=True)
            )
            say(f"{field} {value}: {text}")
        out[field] = rows
    return out


def run(flags: Flags) -> dict[str, Any]:
    """Trains, observes, attacks, varies; writes the report and the figures."""
    processes.start(machine.cache_folder() / "programs")
    say = Progress(flags.json).say
    observation = trained(flags, say)
    by_attack, member = scores(observation, flags), observation.member
    about: dict[str, Any] = {
        "attacked": f"each of {flags.federations} federations of {flags.clients} clients",
        "train_accuracy": float(np.nanmean(observation.accuracy[:, 0])),
        "test_accuracy": float(np.nanmean(observation.accuracy[:, 1])),
        "rounds": by_round(observation, flags),
        "layers": by_layer(observation, flags),
        "varied": varied(flags, observation, say),
    }
    about["generalization_gap"] = about["train_accuracy"] - about["test_accuracy"]
    pictures = {
        "rounds": rounds_figure(about["rounds"]),
        "varied": varied_figure(about["varied"]),
        "cosines": cosines_figure(signals(observation, flags)["cosine"][..., 0], member),
    }
    for name, figure in pictures.items():
        for ending in ("svg", "png"):
            figures.saved(figure, flags.out / "report" / f"{name}.{ending}")
    ranked = rank_all(by_attack, member)
    shadows = Shadows(ranked, member, leave_out(member))
    summary = summarise(
        ranked, member, queries=1, about=about, shadows=shadows, attacks=ATTACKS | federated.ATTACKS
    )
    inputs = ReportInputs(own={
        "rounds": "AUC and TPR at 0.1 % FPR of every attack against the round.",
        "varied": "AUC and TPR at 0.1 % FPR against the number of clients and the width.",
        "cosines": "Cosines of examples' gradients with the update, members and non-members.",
    })  # fmt: skip
    write(flags.out, ranked, member, None, summary, inputs)
    if flags.results:
        keep(about["varied"], flags)
    return summary


def keep(varied: dict[str, list[dict[str, Any]]], flags: Flags) -> None:
    """A row for each setting and attack."""
    common = {
        **{k: getattr(flags, k) for k in ("rounds", "federations", "examples", "seed")},
        "command": rows.command("experiments.studies.federated", flags),
    }
    out = [
        {"varied": field, "value": setting[field], "accuracy": setting["accuracy"]}
        | {"attack": name}
        | setting[name]
        for field, settings in varied.items()
        for setting in settings
        for name in NAMES
    ]
    rows.keep(flags.results, "federated", out, common | rows.about())


def main(flags: Flags) -> None:
    """Runs, and prints the tables."""
    if flags.federations < 4 or flags.federations % 2:
        raise ValueError(f"--federations: {flags.federations} must be even, 4 or more")
    if flags.quick:
        flags = replace(
            flags, clients=4, rounds=5, width=16, federations=4, examples=160, vary_clients=(),
            vary_width=(8,), vary_participation=(),
        )  # fmt: skip
    for clients in {flags.clients, *flags.vary_clients}:
        if clients < 1 or flags.examples % (2 * clients):
            raise ValueError(
                f"--examples: {flags.examples} must be a multiple of twice the clients, {clients}"
            )
    if flags.on:
        device = accelerator(flags.on)
        program, least = ask_federation(*federation(flags), device)
        print("\n".join(words.federation_lines(device, program, least)))
        return
    summary = run(flags)
    if flags.json:
        print(json.dumps(summary))
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False, width=120)
    for field, settings in summary["varied"].items():
        console.print(f"{field:<14}{'train, test':>14}" + "".join(f"{k:>17}" for k in SHORT))
        for r in settings:
            accuracy = "{:.3f} {:.3f}".format(*r["accuracy"])
            cells = (f"{r[k]['auc']:.3f} {r[k]['tpr_at_0.001']:8.2%}" for k in NAMES)
            console.print(f"{r[field]:<14}{accuracy:>14}" + "".join(f"{c:>17}" for c in cells))
    console.print(table(summary))
    console.print(f"report: {flags.out / 'report' / 'index.html'}")


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.federated", description=__doc__)
    guarded(lambda: main(flags))
