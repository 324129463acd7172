"""Whose genome is in a pool, from its allele frequencies: Homer's T and the likelihood ratio.

    python -m experiments.studies.allele_frequencies                  (simulated genotypes)
    python -m experiments.studies.allele_frequencies --data FILE.npz  (packed genotypes, see --help)

Pools of n people are drawn again and again from the same people; a study releases the pool's mean
genotype at S SNPs, and everybody is attacked with it: those in the pool are the members. The
population's frequencies are the true ones where genotypes are simulated, unless `--reference R`
estimates them from R people who are in no pool; with `--data` there is no other way. Power is held
against `Phi(sqrt(S / 2n))` (Sankararaman et al. 2009). The report is that of every other attack.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments import rows
from jaxmia import allele_frequencies, design, metrics
from jaxmia.attacks.references import nobody_else
from jaxmia.attacks.threshold import GLOBAL_THRESHOLD
from jaxmia.command.terminal import guarded, parsed
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.summary import summarise
from jaxmia.metrics import rank_all
from jaxmia.report import figures
from jaxmia.report.inputs import ReportInputs
from jaxmia.report.table import table
from jaxmia.report.write import write
from jaxmia.types import Attacker

ATTACKS = {
    "likelihood_ratio": allele_frequencies.likelihood_ratio,
    "homer": allele_frequencies.homer,
}
ATTACKER = Attacker(
    "released statistics",
    "the pool's allele frequencies",
    "the genotype; the population's frequencies",
)
DESCRIPTIONS = {name: GLOBAL_THRESHOLD._replace(attacker=ATTACKER) for name in ATTACKS}


@dataclass(frozen=True)
class Flags:
    """Pools, people and places."""

    data: Path | None = None
    """An .npz of packed genotypes (`packed`, `n`) instead of simulated ones."""
    people: int = 1000
    """Simulated people that pools are drawn from."""
    pools: int = 40
    """Pools drawn from them."""
    pool_sizes: tuple[int, ...] = ()
    """People in a pool; 50 100 200 400, or half and a quarter of those in --data."""
    snps: tuple[int, ...] = ()
    """SNPs whose frequencies are released; 30 to 10 000, or as many as --data has."""
    report_snps: int = 1000
    """SNPs that the report is about (with the largest pool); the most there are, if fewer."""
    reference: int | None = None
    """People outside all pools that the population's frequencies are estimated from; 0: the true
    ones. 0 by default, with --data a third."""
    seed: int = 0
    """Everything random comes from it."""
    out: Path = Path("checkpoints/allele_frequencies")
    """Folder for scores, summary and figures."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the summary as JSON on stdout."""


@dataclass(frozen=True)
class People:
    """Those whom pools are drawn from, and the population's frequencies."""

    genotype: np.ndarray
    population: np.ndarray
    sizes: tuple[int, ...]
    snps: tuple[int, ...]
    reference: int


def people(flags: Flags) -> People:
    """Simulated, or read from a file; raises `ValueError` for what does not fit."""
    if flags.data is None:
        reference = flags.reference or 0
        snps = flags.snps or (30, 100, 300, 1000, 3000, 10_000)
        genotype, p = allele_frequencies.simulated(flags.seed, flags.people + reference, max(snps))
    else:
        genotype, p = allele_frequencies.packed(flags.data), np.empty(0)
        order = np.random.default_rng(flags.seed)
        genotype = order.permutation(order.permutation(genotype, axis=0), axis=1)
        reference = len(genotype) // 3 if flags.reference is None else flags.reference
        at = (30, 100, 300, 1000, 3000, 10_000)
        snps = flags.snps or tuple(s for s in at if s < genotype.shape[1]) + (genotype.shape[1],)
    panel, rest = genotype[:reference], genotype[reference:]
    if flags.data is not None and not 2 <= reference < len(genotype):
        raise ValueError(
            f"--reference: {reference} must be from 2 to {len(genotype) - 1}, the file's people"
        )
    if reference:
        p = np.nanmean(panel, axis=0)
    sizes = flags.pool_sizes or (
        (50, 100, 200, 400) if flags.data is None else (len(rest) // 4, len(rest) // 2)
    )
    for size in sizes:
        if not 2 <= size < len(rest):
            raise ValueError(f"--pool-sizes: {size} must be from 2 to {len(rest) - 1}")
    for count in snps:
        if not 2 <= count <= genotype.shape[1]:
            raise ValueError(f"--snps: {count} must be from 2 to {genotype.shape[1]}")
    if flags.report_snps < 2:
        raise ValueError(f"--report-snps: {flags.report_snps} must be 2 or more")
    if flags.pools < 2:
        raise ValueError(f"--pools: {flags.pools} must be 2 or more")
    return People(rest, p, tuple(sizes), tuple(snps), reference)


def attacked(of: People, flags: Flags, size: int, snps: int) -> tuple[dict, np.ndarray]:
    """The scores `[pools, people]` of every attack, and who was in which pool."""
    member = design.fixed_size(size)(flags.seed, flags.pools, len(of.genotype))
    genotype, p = of.genotype[:, :snps], of.population[:snps]
    pools = allele_frequencies.released(genotype, member)
    return {name: of_pool(genotype, pools, p) for name, of_pool in ATTACKS.items()}, member


def power(of: People, flags: Flags) -> list[dict[str, Any]]:
    """A row for each pool size and number of SNPs."""
    out = []
    for size in of.sizes:
        for snps in of.snps:
            scores, member = attacked(of, flags, size, snps)
            by_attack = {
                name: {
                    "auc": metrics.auc(score, member),
                    "tpr_at_fpr": {"0.001": metrics.tpr_at_fpr(score, member, 1e-3)},
                }
                for name, score in scores.items()
            }
            expected = {
                "auc": float(allele_frequencies.expected_auc(snps, size)),
                "tpr_at_fpr": {"0.001": float(allele_frequencies.expected_tpr(snps, size, 1e-3))},
            }
            out.append({"people": size, "snps": snps, "attacks": by_attack, "expected": expected})
    return out


def power_figure(rows: list[dict[str, Any]]) -> Any:
    """AUC and TPR at 0.1 % FPR against S / n: points as measured, the line as theory has it."""
    figure, left = figures.blank(9.6, 4.4, 2)
    right = figure.axes[1]
    ratios = [r["snps"] / r["people"] for r in rows]
    x = np.geomspace(min(ratios), max(ratios), 200)
    left.plot(x, allele_frequencies.expected_auc(x, 1), color="#888888", lw=1.2, label="Φ(√(S/2n))")
    right.plot(x, allele_frequencies.expected_tpr(x, 1, 1e-3), color="#888888", lw=1.2)
    for i, size in enumerate(dict.fromkeys(r["people"] for r in rows)):
        own = [r for r in rows if r["people"] == size]
        at = [r["snps"] / size for r in own]
        for name, marker in zip(ATTACKS, ("o", "x"), strict=True):
            style: dict[str, Any] = {"color": figures.COLOURS[i % 7], "marker": marker, "ls": ""}
            label = f"{name.replace('_', ' ')}, pool of {size}"
            left.plot(at, [r["attacks"][name]["auc"] for r in own], label=label, **style)
            right.plot(at, [r["attacks"][name]["tpr_at_fpr"]["0.001"] for r in own], **style)
    left.set(xscale="log", xlabel="SNPs per person in the pool, S / n", ylabel="AUC")
    right.set(xscale="log", xlabel="SNPs per person in the pool, S / n", ylabel="TPR at 0.1 % FPR")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    left.set_title("What released frequencies give away", loc="left", fontsize=11)
    return figure


def run(flags: Flags) -> dict[str, Any]:
    """Measures the power, attacks with the last size and number of SNPs, writes the report."""
    of = people(flags)
    cases = power(of, flags)
    size, snps = max(of.sizes), min(flags.report_snps, of.genotype.shape[1])
    scores, member = attacked(of, flags, size, snps)
    about: dict[str, Any] = {
        "attacked": f"{flags.pools} pools of {size} people, {snps} SNPs",
        "pool_size": size,
        "snps": snps,
        "population_from": of.reference or "the true frequencies",
        "power": cases,
    }
    ranked = rank_all(scores, member)
    shadows = Shadows(ranked, member, nobody_else(flags.pools))
    summary = summarise(
        ranked, member, queries=1, about=about, shadows=shadows, attacks=DESCRIPTIONS
    )
    figures.saved(power_figure(cases), flags.out / "report" / "power.svg")
    figures.saved(power_figure(cases), flags.out / "report" / "power.png")
    alt = "AUC and TPR at 0.1 % FPR against SNPs per person of the pool, with what theory expects."
    inputs = ReportInputs(own={"power": alt})
    write(flags.out, ranked, member, None, summary, inputs)
    if flags.results:
        attacks = {k: {"auc_interval": a["intervals"]["auc"],
                       "tpr_interval": a["intervals"]["tpr_at_fpr"]["0.001"],
                       "members": a["members"], "non_members": a["non_members"]}
                   for k, a in summary["attacks"].items()}  # fmt: skip
        reported = {"people": size, "snps": snps, "reported": attacks}
        common = {
            "drawn_from": len(of.genotype), "pools": flags.pools, "seed": flags.seed,
            "command": rows.command("experiments.studies.allele_frequencies", flags),
        }  # fmt: skip
        rows.keep(flags.results, "allele_frequencies", [*cases, reported], common | rows.about())
    return summary


def main(flags: Flags) -> None:
    """Runs, and prints the power and the table."""
    summary = run(flags)
    if flags.json:
        print(json.dumps(summary))
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False)
    console.print(
        f"{'pool':>6}{'SNPs':>7}   AUC: expected, likelihood ratio, Homer    TPR at 0.1 %"
    )
    for r in summary["power"]:
        columns = [r["expected"], *(r["attacks"][k] for k in ATTACKS)]
        aucs = "".join(f"{f['auc']:>8.3f}" for f in columns)
        rates = "".join(f"{f['tpr_at_fpr']['0.001']:>9.2%}" for f in columns)
        console.print(f"{r['people']:>6}{r['snps']:>7}{aucs}   {rates}")
    console.print(table(summary))
    console.print(f"report: {flags.out / 'report' / 'index.html'}")


if __name__ == "__main__":
    flags = parsed(
        Flags, None, prog="python -m experiments.studies.allele_frequencies", description=__doc__
    )
    guarded(lambda: main(flags))
