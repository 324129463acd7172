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
from jaxmia import data, federated, machine, metrics
from jaxmia.attacks import ATTACKS, lira
from jaxmia.attacks.references import leave_out
from jaxmia.command.terminal import guarded, parsed
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.summary import summarise
from jaxmia.federated import Federation, Observed
from jaxmia.metrics import rank_all
from jaxmia.models import mlp
from jaxmia.report import figures
from jaxmia.report.inputs import ReportInputs
from jaxmia.report.table import table
from jaxmia.report.write import write
from jaxmia.training import processes
from jaxmia.training.progress import Progress

NAMES = {
    "global_threshold": "loss of the server's model",
    "cosine": "cosine, accumulated",
    "gradient_difference": "difference, accumulated",
    "cosine_lira_online_global_variance": "cosine, LiRA on shadow federations",
    "gradient_difference_lira_online_global_variance": "difference, LiRA on shadow federations",
}


SHORT = ("loss", "cosine", "difference", "cosine, LiRA", "diff., LiRA")  # the same, in a table


@dataclass(frozen=True)
class Flags:
    """The federation in the middle, and what is varied around it."""

    clients: int = 16
    """Clients of a federation."""
    rounds: int = 50
    """Rounds of averaging."""
    width: int = 64
    """Units of each of the two hidden layers."""
    rate: float = 0.1
    """The clients' learning rate."""
    batch_size: int = 8
    """Examples of a client's step."""
    epochs: int = 1
    """Epochs of a client in a round."""
    participation: float = 1.0
    """Share of the clients in a round."""
    federations: int = 16
    """Federations, an even number: each is attacked with the others as shadows."""
    vary_clients: tuple[int, ...] = (4, 64)
    """Other numbers of clients."""
    vary_width: tuple[int, ...] = (16, 256)
    """Other widths."""
    vary_participation: tuple[float, ...] = (0.25,)
    """Other shares of clients in a round."""
    examples: int = 1408
    """Of the pool: a multiple of twice every number of clients."""
    seed: int = 0
    """Everything random comes from it."""
    out: Path = Path("checkpoints/federated")
    """Folder for scores, summary and figures."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    quick: bool = False
    """Four federations of 4 clients and 5 rounds, of two widths."""
    json: bool = False
    """Print the summary as JSON on stdout."""


def trained(flags: Flags, say: Any) -> Observed:
    """All federations of one setting, observed."""
    model = mlp(flags.width, flags.width)
    recipe = federated.plain_sgd(
        model, rate=flags.rate, batch_size=flags.batch_size, epochs=flags.epochs
    )
    settings = Federation(recipe, flags.clients, flags.rounds, flags.participation)
    source = data.first(data.digits(), flags.examples)()
    return federated.federate(settings, source, flags.federations, flags.seed, say=say)


def signals(observation: Observed, flags: Flags) -> dict[str, np.ndarray]:
    """`[M, N, R, 1 + L]` of both forms; the batch is no larger than what a client holds."""
    own = flags.examples // flags.clients // 2
    size = min(flags.batch_size, own)
    return {
        "cosine": federated.cosine(observation),
        "gradient_difference": federated.gradient_difference(observation, flags.rate, size),
    }


def calibrated(score: np.ndarray, member: np.ndarray) -> np.ndarray:
    """LiRA on a score, every federation in turn.

    One variance for all examples: the spread comes from who else is at the client.
    """
    return lira.leave_one_out(score.astype(np.float32), member, variance="global")


def scores(observation: Observed, flags: Flags, upto: int | None = None) -> dict[str, np.ndarray]:
    """Every attack's `[M, N]` after so many rounds."""
    last = observation.phi[..., :upto]
    by_attack = {"global_threshold": _last(last)}
    for name, signal in signals(observation, flags).items():
        by_attack[name] = federated.accumulated(signal[..., :upto, 0])
        by_attack[f"{name}_lira_online_global_variance"] = calibrated(
            by_attack[name], observation.member
        )
    return {name: by_attack[name] for name in NAMES}


def _last(phi: np.ndarray) -> np.ndarray:
    """phi in the last round in which the client took part."""
    there = ~np.isnan(phi)
    at = phi.shape[-1] - 1 - np.argmax(there[..., ::-1], axis=-1)
    return np.take_along_axis(phi, at[..., None], -1)[..., 0].astype(np.float64)


def rates(score: np.ndarray, member: np.ndarray) -> dict[str, float]:
    """AUC and TPR at 0.1 % FPR."""
    rate = metrics.tpr_at_fpr(score, member, 1e-3)
    return {"auc": metrics.auc(score, member), "tpr_at_0.001": rate}


def spread(score: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """The same with 95 % intervals, over examples, and how many scores there are."""
    ends = metrics.bootstrap(score, member, (1e-3,))
    there = ~np.isnan(score)
    return rates(score, member) | {
        "auc_interval": ends.auc.tolist(),
        "tpr_interval": ends.tpr_at_fpr[0].tolist(),
        "members": int((member & there).sum()),
        "non_members": int((~member & there).sum()),
    }


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


def lines(panel: Any, rows: list[dict[str, Any]], field: str, figure: str, names: Any) -> None:
    """A line for each attack over a field."""
    for i, (name, label) in enumerate(names.items()):
        y = [r[name][figure] for r in rows]
        panel.plot(
            [r[field] for r in rows], y, label=label, marker="o", ms=4, lw=1.6,
            color=figures.COLOURS[i % 7], ls=":" if name.endswith("round") else "-",
        )  # fmt: skip
    panel.set(ylabel={"auc": "AUC", "tpr_at_0.001": "TPR at 0.1 % FPR"}[figure])


def rounds_figure(rows: list[dict[str, Any]]) -> Any:
    """Both figures against the round, of one round and accumulated."""
    figure, _ = figures.blank(9.6, 4.4, 2)
    names = NAMES | {
        "cosine_of_round": "cosine, that round alone",
        "gradient_difference_of_round": "difference, that round alone",
    }
    for panel, of in zip(figure.axes, ("auc", "tpr_at_0.001"), strict=True):
        lines(panel, rows, "round", of, names)
        panel.set(xscale="log", xlabel="round")
    figure.axes[0].set_title("What each round adds", loc="left", fontsize=11)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def varied_figure(rows: dict[str, list[dict[str, Any]]]) -> Any:
    """AUC against clients and width, and below TPR."""
    figure, _ = figures.blank(11.5, 4.4, 4)
    names = NAMES | {"cosine_of_first_round": "cosine, first round alone"}
    slots = [(k, of) for k in ("clients", "width") for of in ("auc", "tpr_at_0.001")]
    for panel, (field, of) in zip(figure.axes, slots, strict=True):
        lines(panel, rows[field], field, of, names)
        ticks = [r[field] for r in rows[field]]
        words = "units of a hidden layer" if field == "width" else field
        panel.set(xscale="log", xlabel=words)
        panel.set_xticks(ticks, [str(t) for t in ticks])
        panel.minorticks_off()
    figure.axes[0].set_title("More clients, more parameters", loc="left", fontsize=11)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def cosines_figure(observation: Observed, flags: Flags) -> Any:
    """Histograms of the cosines of members and non-members: in the first round, the last, all."""
    cosine = signals(observation, flags)["cosine"][..., 0]
    parts = {
        "first round": cosine[..., 0],
        "last round": cosine[..., -1],
        "mean over rounds": federated.accumulated(cosine),
    }
    figure, _ = figures.blank(11.5, 3.6, 3)
    for panel, (name, values) in zip(figure.axes, parts.items(), strict=True):
        present = ~np.isnan(values)
        low, high = np.quantile(values[present], [0.001, 0.999]).tolist()
        bins = np.linspace(low, high, 61)
        for mask, colour, label in (
            (observation.member & present, figures.COLOURS[1], "members"),
            (~observation.member & present, figures.COLOURS[0], "non-members"),
        ):
            count, _ = np.histogram(np.clip(values[mask], bins[0], bins[-1]), bins)
            density = count / mask.sum() / np.diff(bins)
            panel.stairs(density, bins, fill=True, alpha=0.35, color=colour)
            panel.stairs(density, bins, color=colour, lw=1.4, label=label)
        panel.set(xlabel=f"cosine, {name}")
    figure.axes[0].set(ylabel="density")
    figure.axes[0].legend(frameon=False, fontsize=9)
    figure.axes[0].set_title(
        "An example's gradient and its client's update", loc="left", fontsize=11
    )
    return figure


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
        "cosines": cosines_figure(observation, flags),
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
