"""Whether the attacked models, and what was given of them, are any evidence: what is said first."""

import numpy as np
from jaxtyping import Bool, Float, Int

FAR, SIGMAS = 0.1, 6  # an accuracy off the median by this much, and by so many binomial deviations


def of_models(
    margin: Float[np.ndarray, "T N"],
    member: Bool[np.ndarray, "T N"],
    y: Int[np.ndarray, " N"],
    whose: str = "models",
) -> list[str]:
    """Sentences that say why models are no evidence, from their margins on their own members.

    A model without a finite margin has diverged and is not judged. A model is no better than the
    commonest class of its members if it is right on at most two binomial deviations more of them.
    """
    inside = ~np.isnan(margin) & member
    many = inside.sum(1)
    judged = np.flatnonzero(many)
    if not len(judged):
        return []
    right = inside & (margin > 0)
    hits, many = right.sum(1)[judged], many[judged]
    classes = int(y.max()) + 1
    common = np.array([np.bincount(y[inside[t]], minlength=classes).max() for t in judged])
    chance = common + 2 * np.sqrt(common * (1 - common / many))
    out = []
    weak = judged[(hits <= chance) & (hits < many)]
    if len(weak):
        out.append(
            f"The {whose} are no evidence: {len(weak)} of {len(judged)} ({_some(weak)}) are no "
            "better on their own training data than naming its commonest class."
        )
    labels = np.unique(y[inside.any(0)])
    never = [c for c in labels.tolist() if not right[:, y == c].any()]
    if never and len(weak) < len(judged):
        out.append(
            f"The {whose} are no evidence for every class: none is ever right on its own training "
            f"data of {len(never)} of {len(labels)} classes ({_some(np.array(never))})."
        )
    rate = hits / many
    middle = float(np.median(rate))
    spread = np.sqrt(max(middle * (1 - middle), 1 / 4 / many.min()) / many)
    off = judged[np.abs(rate - middle) > np.maximum(FAR, SIGMAS * spread)]
    if len(off):
        out.append(
            f"The {whose} are no evidence as a whole: {len(off)} of {len(judged)} ({_some(off)}) "
            f"differ in training accuracy from the median {middle:.2f} by far more than chance "
            f"(lowest {rate.min():.2f}, highest {rate.max():.2f})."
        )
    return out


def of_signals(phi: Float[np.ndarray, "M N"], member: Bool[np.ndarray, "M N"]) -> list[str]:
    """Sentences on phi `[M, N]` that is plausibly something else: losses, or `[N, M]`."""
    out = []
    models, examples = phi.shape
    if models > examples:
        out.append(
            f"The signals have more models ({models}) than examples ({examples}): if they are "
            "[N, M], transpose signals and membership."
        )
    finite = np.isfinite(phi)
    inside, outside = (phi[finite & side].astype(float) for side in (member, ~member))
    if len(inside) > 1 and len(outside) > 1 and min(inside.min(), outside.min()) >= 0:
        error = np.sqrt(inside.var() / len(inside) + outside.var() / len(outside))
        if inside.mean() < outside.mean() - 5 * error:
            out.append(
                "The signals look like losses: none is negative, and members' are lower. phi is "
                "log(p / (1 - p)), higher for members: of a loss l it is -log(expm1(l))."
            )
    return out


def of_pairs(pairs: Int[np.ndarray, " M"], member: Bool[np.ndarray, "M N"]) -> list[str]:
    """A sentence if models of one number are no complements of each other."""
    for number in np.unique(pairs):
        rows = np.flatnonzero(pairs == number)
        if len(rows) == 2 and (member[rows[0]] == member[rows[1]]).any():
            return [
                f"--pairs: models {rows[0]} and {rows[1]} have number {number}, but are not "
                "trained on complementary halves: figures may be off where no one leaks."
            ]
    return []


def _some(numbers: np.ndarray) -> str:
    return ", ".join(map(str, numbers[:5].tolist())) + (", ..." if len(numbers) > 5 else "")
