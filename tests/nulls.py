"""Signals of models whose members say nothing of a target's, and what holds for scores of them.

A membership is many small draws of a design side by side. Scores of one draw's examples depend on
each other, and so do targets that share examples; draws do not, and give the standard errors.
"""

from dataclasses import replace

import numpy as np
from scipy.special import expit, logsumexp
from scipy.stats import norm, rankdata, t

from jaxmia import design
from jaxmia.types import Signals

EACH = 10  # examples in a draw
SIGMA = 0.05  # between models; the examples' constants differ by 1, so that each can be recognised
FEW = 8  # of a draw, of whom one is in, or whose membership is by chance: the first ones
DESIGNS = {
    "complementary_halves": [design.complementary_halves],
    "poisson": [design.poisson(0.5), design.poisson(0.3)],
    "fixed_size": [design.fixed_size(EACH // 2)],
    "balanced_columns": [design.balanced_columns(0.5), design.balanced_columns(0.25)],
    "official_lira": [design.official_lira(0.5)],
    "one_unknown": [design.one_unknown(range(FEW))],
    "canaries": [design.canaries(range(FEW))],
    "anchored": [
        design.anchored(design.complementary_halves, {FEW: 0, FEW + 1: 1}),
        design.anchored(design.balanced_columns(0.5), {FEW: 0, FEW + 1: 1}),
    ],
}
PARTLY = ("one_unknown", "canaries", "anchored")
DRAWS = {  # each design with its arguments, and which examples of a draw are in or out by chance
    f"{name} {i}" if i else name: (make, FEW if name in PARTLY else EACH)
    for name, makes in DESIGNS.items()
    for i, make in enumerate(makes)
}


NULLS = ("no effect", "few values", "redrawn target")


def case(name, models, draws, null, seed=0):
    """Signals and membership, `draws` draws side by side.

    Membership has no effect at all, on signals that may have few values, so that references often
    are equal; or it has one, but on the first target, which is drawn regardless of its membership.
    """
    make, _ = DRAWS[name]
    member = np.concatenate([make(seed * draws + i, models, EACH) for i in range(draws)], axis=1)
    rng = np.random.default_rng([seed, models, draws])
    effect = np.zeros(member.shape)
    if null == "redrawn target":
        effect = 1.5 * member
        effect[0] = 1.5 * (rng.random(member.shape[1]) < member.mean())
    signals = around_constants(effect, rng)
    if null == "few values":
        fewer = {k: np.round(getattr(signals, k), 1) for k in ("phi", "gradient", "trajectory")}
        signals = replace(signals, **fewer)
    return signals, member


def around_constants(effect, rng):
    """Every kind of signal: an example's own constant, some noise, and an effect in units of it."""
    models, examples = effect.shape
    sigma = SIGMA * rng.gamma(4, 0.25, examples)

    def signal(width, effect=effect[..., None]):
        noise = rng.normal(size=(models, examples, width)) + effect
        return rng.normal(size=(examples, width)) + sigma[:, None] * noise

    y = rng.integers(0, 3, examples)
    logits = signal(3, effect[..., None] * (np.arange(3) == y[:, None]))
    true = np.take_along_axis(logits, np.broadcast_to(y[:, None], (*effect.shape, 1)), -1)
    phi = true - logsumexp(np.where(np.arange(3) == y[:, None], -np.inf, logits), -1, keepdims=True)
    shifted = rng.normal(size=(1, 150, 1)) + SIGMA * rng.normal(size=(models, 150, 1))
    float64 = {
        "phi": phi,
        "margin": rng.normal(size=(examples, 1)) + rng.normal(size=phi.shape) + effect[..., None],
        "logits": logits,
        "robustness": np.rint(20 * expit(phi[..., 0])) / 20,
        "expected": np.stack([0.3 * rng.normal(size=effect.shape), np.ones(effect.shape)], -1),
        "gradient": -signal(3),
        "activations": np.exp(signal(5)),
        "trajectory": signal(3),
        "population": shifted,
        "features": rng.normal(size=(examples, 4)),
    }
    return Signals(y=y.astype(np.int32), **float64)  # in float64, whose squares are rounded


def failures(score, member, chance=EACH, each=EACH):
    """What of the scores tells members from others, by more than 4 standard errors, in words.

    The mean is over all targets of all draws alike: how many of a draw's can be scored depends on
    the membership, and with it on the scores, so that a mean of the draws' means is off by some
    thousandths. Its error is that of draws, estimated from those that say anything, hence a
    Student-t's quantile. A draw has `each` examples, of whom the first `chance` are in or out by
    chance. For each target the AUC within a draw; the TPR less the FPR where the highest 1 % of
    all its scores are taken for members; and whether members can be scored as often as others.
    """
    shape = (len(score), -1, each)
    score, member = score.reshape(shape)[..., :chance], member.reshape(shape)[..., :chance]
    scorable = ~np.isnan(score)
    if not scorable.any():
        return []
    cut = np.nanquantile(score.reshape(len(score), -1), 0.99, axis=1)[:, None, None]
    figures = {
        "AUC - 1/2": _auc(score, member) - 0.5,
        "TPR - FPR at 1 %": _contrast(score >= cut, member & scorable, ~member & scorable),
        "scored": _contrast(scorable, member, ~member),
    }
    out = []
    for what, values in figures.items():
        number = ~np.isnan(values)
        values = np.where(number, values, 0)
        if (free := np.count_nonzero(values.sum(0)) - 1) > 0:
            mean = values.sum() / number.sum()
            of_draw = (values - mean * number).sum(0)
            error = np.sqrt((of_draw**2).sum() * (free + 1) / free) / number.sum()
            if abs(mean) > t.isf(norm.sf(4), free) * error + 1e-12:
                out.append(f"{what}: {mean:.4f} +- {error:.4f}")
    return out


def _contrast(which, inside, outside):
    """The share of the inside less that of the outside, by target and draw."""
    with np.errstate(invalid="ignore"):
        return (which & inside).sum(-1) / inside.sum(-1) - (which & outside).sum(-1) / outside.sum(
            -1
        )


def _auc(score, member):
    scorable = ~np.isnan(score)
    rank = rankdata(np.where(scorable, score, np.inf), axis=-1)
    m, k = (member & scorable).sum(-1), (~member & scorable).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((rank * (member & scorable)).sum(-1) - m * (m + 1) / 2) / (m * k)
