"""How often do bounds from one training run refute a promise that is kept?

    python -m experiments.studies.one_run_bounds

n canaries are each in by a fair coin, r are guessed. Two mechanisms are both mu-Gaussian private,
exactly: "independent" releases every coin with Gaussian noise of its own; "shared" releases one
level t, distributed as `|z - mu / 2|`, and then every coin, turned with the chance
`1 / (1 + e^(mu t))`: for each record the pair of laws is the Gaussian one, but all canaries are
lucky together. A bound at 95 % may be above the true mu in 5 % of the runs of either.

- order statistics: each canary's chance to be guessed wrongly is that of its place in the order of
  confidence, and the wrong guesses are bounded as if independent (Chernoff); published as the
  tighter successor of the next ones;
- independent: `mu_one_run(..., channels="independent")`, the exact law for the first mechanism;
- any: `mu_one_run` (Mahloujifar, Melis & Chaudhuri 2024), the default;
- pure: `epsilon_one_run` (Steinke, Nasr & Jagielski 2023), at delta.

The rates are computed, not drawn: given t the right guesses are binomial. Some seconds.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize_scalar
from scipy.special import bdtr, betaincinv, expit, ndtr

from experiments import rows
from jaxmia import privacy
from jaxmia.command.terminal import guarded, parsed

NODES = 2000  # quantiles of the level, of which the mean is taken
PLACES = 64  # quantiles of each place's level


@dataclass(frozen=True)
class Flags:
    """What is promised, and how many canaries and guesses there are."""

    epsilons: tuple[float, ...] = (1.0, 4.0, 8.0)
    """Promises, each kept exactly."""
    canaries: tuple[int, ...] = (1000, 1000, 400)
    """Canaries of a run."""
    guesses: tuple[int, ...] = (1000, 100, 80)
    """Canaries guessed in it, one number for each number of canaries."""
    delta: float = 1e-5
    """The delta of all of them."""
    confidence: float = 0.95
    """Of the bounds."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""


def level(above: np.ndarray, mu: float) -> np.ndarray:
    """The t that `|z - mu / 2|` exceeds with these chances."""
    low, high = np.zeros(above.shape), np.full(above.shape, mu / 2 + 40.0)
    for _ in range(60):
        middle = (low + high) / 2
        more = ndtr(mu / 2 - middle) + ndtr(-middle - mu / 2) > above
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return low


def wrong_at_places(canaries: int, guesses: int, mu: float) -> np.ndarray:
    """The chance of a wrong guess at each of the surest places, each by itself."""
    quantile = (np.arange(PLACES) + 0.5) / PLACES
    place = np.arange(1, guesses + 1)[:, None]  # the surest first
    above = betaincinv(place, canaries + 1 - place, quantile)
    return expit(-mu * level(above, mu)).mean(1)


def order_statistics_p_value(canaries: int, guesses: int, correct: int, mu: float) -> float:
    """The order-statistics bound's p-value of so many right guesses."""
    chance, wrong = wrong_at_places(canaries, guesses, mu), guesses - correct
    if wrong >= chance.sum():
        return 1.0
    if wrong == 0:
        return float(np.exp(np.log1p(-chance).sum()))

    def bound(log_weight: float) -> float:
        return np.log1p(chance * np.expm1(log_weight)).sum() - log_weight * wrong

    least: Any = minimize_scalar(bound, bounds=(-40, 0), method="bounded")
    return float(np.exp(least.fun))


def least_refuting(guesses: int, refutes: Callable[[int], bool]) -> int:
    """The fewest right guesses that refute; one more than there are guesses if none do."""
    low, high = 0, guesses + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if refutes(middle) else (middle + 1, high)
    return low


def refuted_if_shared(guesses: int, least: int, mu: float) -> float:
    """How often so many guesses or more are right where all canaries share their level."""
    right = expit(mu * level((np.arange(NODES) + 0.5) / NODES, mu))
    return float((1 - bdtr(least - 1, guesses, right)).mean()) if least else 1.0


def refuted_if_independent(canaries: int, guesses: int, least: int, mu: float) -> float:
    """How often they are where each canary has noise of its own, the surest guessed."""
    if guesses == canaries:
        return float(1 - bdtr(least - 1, guesses, ndtr(mu / 2)))
    above = betaincinv(guesses + 1, canaries - guesses, (np.arange(NODES) + 0.5) / NODES)
    right = 1 - ndtr(-level(above, mu) - mu / 2) / above
    return float((1 - bdtr(least - 1, guesses, right)).mean()) if least else 1.0


def measured(flags: Flags, epsilon: float, canaries: int, guesses: int) -> dict[str, Any]:
    """Every bound's rate of refuting the true mu, under both mechanisms."""
    mu = privacy.gaussian_mu(epsilon, flags.delta)
    run = (canaries, guesses)
    refutes: dict[str, Callable[[int], bool]] = {
        "order_statistics": lambda c: order_statistics_p_value(*run, c, mu) < 1 - flags.confidence,
        "independent": lambda c: privacy.mu_one_run(*run, c, flags.confidence, "independent") > mu,
        "any": lambda c: privacy.mu_one_run(*run, c, flags.confidence) > mu,
        "pure": lambda c: privacy.epsilon_one_run(*run, c, flags.delta, flags.confidence) > epsilon,
    }
    least = {name: least_refuting(guesses, of) for name, of in refutes.items()}
    return {
        "epsilon": epsilon,
        "mu": mu,
        "canaries": canaries,
        "guesses": guesses,
        "shared": {name: refuted_if_shared(guesses, c, mu) for name, c in least.items()},
        "independent": {name: refuted_if_independent(*run, c, mu) for name, c in least.items()},
    }


def run(flags: Flags) -> list[dict[str, Any]]:
    """All promises and counts; raises `ValueError` for numbers that do not fit."""
    if len(flags.canaries) != len(flags.guesses):
        raise ValueError(
            f"--guesses: {len(flags.guesses)} numbers for {len(flags.canaries)} of --canaries"
        )
    counts = list(zip(flags.canaries, flags.guesses, strict=True))
    out = [measured(flags, epsilon, *count) for count in counts for epsilon in flags.epsilons]
    if flags.results:
        common = {
            "delta": flags.delta, "confidence": flags.confidence,
            "command": rows.command("experiments.studies.one_run_bounds", flags),
        }  # fmt: skip
        rows.keep(flags.results, "one_run_bounds", out, common | rows.about())
    return out


def main(flags: Flags) -> None:
    """Runs, and prints how often each bound is above the truth."""
    results = run(flags)
    if flags.json:
        print(json.dumps(results))
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False)
    table = Table(box=None, pad_edge=False)
    for head in ("mechanism", "ε", "canaries", "guesses", *results[0]["shared"]):
        table.add_column(head, justify="right")
    for row in results:
        for mechanism in ("shared", "independent"):
            rates = (f"{100 * rate:.2f} %" for rate in row[mechanism].values())
            counts = (str(row["canaries"]), str(row["guesses"]))
            table.add_row(mechanism, f"{row['epsilon']:g}", *counts, *rates)
    console.print(table)
    console.print(
        f"how often a bound at {100 * flags.confidence:g} % is above the truth; "
        f"{100 * (1 - flags.confidence):.2g} % is allowed. Black-box training may share its noise."
    )


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.one_run_bounds")
    guarded(lambda: main(flags))
