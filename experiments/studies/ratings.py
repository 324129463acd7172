"""Who is in a release of ratings without names, from a few ratings that are known of a person.

    python -m experiments.studies.ratings                   (simulated subscribers)
    python -m experiments.studies.ratings --data FILE.csv   (user, item, rating, date)

Half of the persons are released, the others are not. Of everybody some ratings are known, with
dates that are off by some days, and some of them wrong altogether; Algorithm Scoreboard-RH
(Narayanan & Shmatikov 2008) names the record that is the person's, or says that none is. Counted
are persons in the release whose record is found and no other, those who are taken for somebody
else, and persons outside who are found in it nevertheless. How far the best record stands out, and
how well it fits, are also scores of membership: whether a person is in the release at all.

2 min of one CPU core; what came out: docs/results/ratings.md.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import rows
from experiments.studies import ratings_release as release
from experiments.studies.ratings_figures import power_figure
from experiments.studies.ratings_knowledge import Draws, Setting, draws_for, knowledge_of
from experiments.studies.ratings_release import Ratings
from experiments.studies.ratings_scoreboard import DAYS, ECCENTRICITY, RHO, matched, released
from jaxmia import metrics
from jaxmia.command.terminal import guarded, parsed
from jaxmia.report import figures

LEVELS = (1e-2, 1e-3)
ANCHOR = Setting(8, 14, 2)  # of the paper's abstract
SIZES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)  # of the release, for the anchor


@dataclass(frozen=True)
class Flags:
    """Persons, and what is known of them."""

    data: Path | None = None
    """A CSV with user, item, rating and date (YYYY-MM-DD or days) instead of simulated ones."""
    persons: int = 8000
    """Simulated persons, of whom half are released."""
    items: int = 17_770
    """Items that they rate; as many as in the set of the paper."""
    ratings: tuple[int, ...] = (1, 2, 4, 8)
    """Ratings that are known of a person."""
    days: tuple[int, ...] = (3, 14)
    """Days by which dates may be off; unknown dates are tried besides."""
    wrong: tuple[float, ...] = (0.0, 0.25)
    """Share of the known ratings that are wrong."""
    rho: float = RHO
    """Scale of a rating's difference."""
    scale: float = DAYS
    """Scale of a date's difference, in days."""
    eccentricity: float = ECCENTRICITY
    """By how many standard deviations the best record must stand out from the second."""
    seed: int = 0
    """Everything random comes from it."""
    out: Path = Path("checkpoints/ratings")
    """Folder for rows.json and the figure."""
    results: Path | None = None
    """Folder to keep the rows in, such as experiments/results; none by default."""
    json: bool = False
    """Print the rows as JSON on stdout."""


@dataclass(frozen=True)
class People:
    """Ratings, who is released, and of whom something is known: those with enough ratings."""

    ratings: Ratings
    inside: np.ndarray
    who: np.ndarray
    draws: Draws


def check(flags: Flags) -> None:
    """Raises `ValueError` for options that do not fit."""
    for name, least, values in (
        ("persons", 8, (flags.persons,)),
        ("items", 8, (flags.items,)),
        ("ratings", 1, flags.ratings),
        ("days", 0, flags.days),
    ):
        for value in values:
            if value < least:
                raise ValueError(f"--{name}: {value} must be {least} or more")
    for share in flags.wrong:
        if not 0 <= share <= 1:
            raise ValueError(f"--wrong: {share} must be from 0 to 1")
    for name, scale in (("rho", flags.rho), ("scale", flags.scale)):
        if not 0 < scale < np.inf:
            raise ValueError(f"--{name}: {scale} must be a number above 0")
    if not 0 <= flags.eccentricity < np.inf:
        raise ValueError(f"--eccentricity: {flags.eccentricity} must be a number from 0 up")
    for name, values in (("ratings", flags.ratings), ("wrong", flags.wrong)):
        if not values:
            raise ValueError(f"--{name}: must be one number or more")


def people(flags: Flags) -> People:
    """Simulated or read; raises `ValueError` where too few have enough ratings."""
    check(flags)
    if flags.data is None:
        ratings = release.simulated(flags.seed, flags.persons, flags.items)
    else:
        ratings = release.read(flags.data)
    order = np.random.default_rng([flags.seed, 2]).permutation(ratings.persons)
    inside = np.zeros(ratings.persons, bool)
    inside[order[: ratings.persons // 2]] = True
    most = max(flags.ratings)
    who = np.flatnonzero(np.bincount(ratings.person, minlength=ratings.persons) >= most)
    count = int(inside[who].sum())
    if min(count, len(who) - count) < 2:
        raise ValueError(
            f"--ratings: {most} or more ratings have {count} persons in the release and "
            f"{len(who) - count} outside; there must be 2 of each"
        )
    return People(ratings, inside, who, draws_for(ratings, who, most, flags.seed))


def settings(flags: Flags) -> list[Setting]:
    """Every setting once; the paper's own also with wrong items, if it is among them."""
    out = {
        Setting(count, days, int(share * count))
        for count in flags.ratings
        for days in (*flags.days, None)
        for share in flags.wrong
    }
    out |= {s._replace(wrong_items=True) for s in (ANCHOR,) if s in out}
    return sorted(out, key=lambda s: (s.count, s.wrong, s.wrong_items, s.days is None, s.days or 0))


def measured(of: People, inside: np.ndarray, setting: Setting, flags: Flags) -> dict[str, Any]:
    """A row: how often the rule is right and wrong, and how well scores tell who is inside.

    `inside` are the persons released, of those that `of` has. Those who are so there, but not
    here, are left out of both sides.
    """
    of_interest = inside[of.who] | ~of.inside[of.who]
    who, draws = of.who[of_interest], Draws(*(a[of_interest] for a in of.draws))
    knowledge = knowledge_of(of.ratings, draws, setting)
    match = matched(released(of.ratings, inside), knowledge, flags.rho, flags.scale)
    member, stands_out = inside[who], match.eccentricity > flags.eccentricity
    right = match.record == (np.cumsum(inside) - 1)[who]
    scores = {"eccentricity": match.eccentricity, "fit": match.score}
    return {
        "known": setting.count,
        "days": setting.days,
        "wrong": setting.wrong,
        "wrong_items": setting.wrong_items,
        "persons": int(inside.sum()),
        "inside": int(member.sum()),
        "outside": int((~member).sum()),
        "found": share((stands_out & right)[member]),
        "mistaken": share((stands_out & ~right)[member]),
        "false": share(stands_out[~member]),
        "membership": {name: membership(score, member) for name, score in scores.items()},
    }


def share(hits: np.ndarray) -> dict[str, Any]:
    """A share of persons, with its 95 % interval (Clopper & Pearson)."""
    low, high = metrics.clopper_pearson(hits.sum(), len(hits))
    return {"share": float(hits.mean()), "interval": [float(low), float(high)]}


def membership(score: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """AUC and TPRs of persons in the release against persons outside, with their intervals."""
    rates = metrics.figures(score[None], member[None], LEVELS)
    spans = metrics.bootstrap(score[None], member[None], LEVELS)
    levels = [f"{level:g}" for level in LEVELS]
    return {
        "auc": rates.auc,
        "auc_interval": spans.auc.tolist(),
        "tpr_at_fpr": dict(zip(levels, rates.tpr_at_fpr.tolist(), strict=True)),
        "tpr_interval": dict(zip(levels, spans.tpr_at_fpr.tolist(), strict=True)),
    }


def run(flags: Flags) -> list[dict[str, Any]]:
    """A row for each setting, and for the paper's own in smaller releases; and the figure."""
    of = people(flags)
    cases = settings(flags)
    out = [{"case": "settings"} | measured(of, of.inside, case, flags) for case in cases]
    if ANCHOR in cases:
        order = np.flatnonzero(of.inside)
        for part in SIZES:
            fewer = np.zeros_like(of.inside)
            fewer[order[: max(2, int(part * len(order)))]] = True
            if fewer[of.who].sum() >= 2:
                out.append({"case": "size"} | measured(of, fewer, ANCHOR, flags))
    about = {
        "ratings": len(of.ratings.person),
        "items": of.ratings.items,
        "median_ratings": float(np.median(np.bincount(of.ratings.person))),
        "too_few": of.ratings.persons - len(of.who),
        "eccentricity": flags.eccentricity,
        "simulated": flags.data is None,
    }
    out = [row | about for row in out]
    figures.saved(power_figure(out), flags.out / "power.svg")
    (flags.out / "rows.json").write_text(json.dumps(out, indent=1))
    if flags.results:
        common = {"seed": flags.seed, "command": rows.command("experiments.studies.ratings", flags)}
        rows.keep(flags.results, "ratings", out, common | rows.about())
    return out


def table(lines: list[dict[str, Any]]) -> Table:
    """The rows, for people."""
    out = Table(box=None, pad_edge=False)
    for head in ("persons", "known", "wrong", "dates within", "found", "taken for another",
                 "outside, found", "AUC", "TPR at 0.1 %"):  # fmt: skip
        out.add_column(head, justify="right")
    for row in lines:
        own = row["membership"]["eccentricity"]
        out.add_row(
            str(row["persons"]), str(row["known"]), f"{row['wrong']}{'*' * row['wrong_items']}",
            "unknown" if row["days"] is None else f"{row['days']} days",
            *(f"{row[k]['share']:.2%}" for k in ("found", "mistaken", "false")),
            f"{own['auc']:.3f}", f"{own['tpr_at_fpr']['0.001']:.2%}",
        )  # fmt: skip
    return out


def main(flags: Flags) -> None:
    """Runs, and prints what was found."""
    lines = run(flags)
    if flags.json:
        print(json.dumps(lines))
    console = Console(file=sys.stderr if flags.json else sys.stdout, highlight=False)
    console.print(table(lines))
    if any(row["wrong_items"] for row in lines):
        console.print("*: the items are wrong, too")


if __name__ == "__main__":
    flags = parsed(Flags, None, prog="python -m experiments.studies.ratings", description=__doc__)
    guarded(lambda: main(flags))
