"""What perfect anchors are worth: those of a cascade put right, and a share of all membership."""

from typing import Any

import numpy as np

from experiments.studies.cascade_figures import Attacked, figures_of, more
from experiments.studies.cascade_models import Study, around, cascade_of, costs
from jaxmia.attacks.anchors import FREE
from jaxmia.attacks.cascading import score_of, together


def truths(of: Study) -> list[dict[str, Any]]:
    """Every cascade again around the records it picked, as they truly are in the target.

    A round whose anchors were all right is the cascade's own.
    """
    flags, ends, own = of.flags, [], []
    for t in range(flags.targets):
        rounds, member = cascade_of(of, t), of.targets.member[t]
        every = [of.some(slice(flags.models))]
        for number, one in enumerate(rounds[1:], start=2):
            right = np.where(one.anchor == FREE, FREE, member)
            kind = "target" if (right == one.anchor).all() else "truth"
            own.append(f"{kind}_{t:02d}/round_{number}")
            every.append(around(of, t, right, number, own[-1]))
        last = rounds[-1]
        score = score_of(of.target(t), together(every), flags.attack)
        ends.append((score, of.baseline(t, last.models), last.anchor, last.score, last.models))
    score, baseline, anchor, cascaded, models = zip(*ends, strict=True)
    score, baseline, anchor, cascaded = map(np.stack, (score, baseline, anchor, cascaded))
    attacked = Attacked(score, baseline, of.targets.member, anchor, list(models))
    lines = figures_of(attacked, flags.draws)
    for row in lines:
        if row["case"] == "attack":
            at = (anchor == FREE) | (row["records"] == "all")
            right, plain = (np.where(at, s, np.nan) for s in (score, cascaded))
            row["more_than_cascade"] = more(right, plain, of.targets.member, flags.draws)
    return [*lines, costs(flags, own)]


def oracles(of: Study) -> list[dict[str, Any]]:
    """Every target attacked in two rounds, the second around some of its true membership."""
    return [row | {"share": share} for share in of.flags.shares for row in oracle(of, share)]


def oracle(of: Study, share: float) -> list[dict[str, Any]]:
    """The rows of one share; its records are drawn at random, those of a smaller one among them."""
    flags, ends, own = of.flags, [], []
    first = of.some(slice(flags.models))
    for t in range(flags.targets):
        member, rng = of.targets.member[t], np.random.default_rng([flags.seed, t])
        anchor = np.where(rng.random(len(member)) < share, member, FREE)
        own.append(f"known_{share:g}_{t:02d}")
        second = around(of, t, anchor, 2, own[-1])
        score = score_of(of.target(t), together([first, second]), flags.attack)
        ends.append((score, of.baseline(t, 2 * flags.models), anchor))
    score, baseline, anchor = (np.stack(parts) for parts in zip(*ends, strict=True))
    models = [2 * flags.models] * flags.targets
    attacked = Attacked(score, baseline, of.targets.member, anchor, models)
    lines = [row for row in figures_of(attacked, flags.draws) if row["records"] != "all"]
    return [*lines, costs(flags, own)]
