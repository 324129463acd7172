"""LiRA with an imputed IN law: against loops that refit every example, and what it must not see."""

import numpy as np
import pytest
from scipy.optimize import root_scalar
from scipy.special import digamma, polygamma
from scipy.stats import t as student

from jaxmia import design, metrics
from jaxmia.attacks import ATTACKS, attack_every_model, attack_targets
from jaxmia.attacks import calibration as P
from jaxmia.types import Signals

NAME = "lira_offline_imputed"


def memory(member, seed=0, queries=1):
    """phi of models that learn by heart what they would get wrong, and little of the rest."""
    rng = np.random.default_rng(seed)
    examples = member.shape[1]
    mu = rng.normal(3, 2, (examples, 1))
    s = np.exp(rng.normal(-0.3 - 0.1 * (mu - 3), 0.2))
    rise = s * (np.maximum(0, 1.5 - 0.5 * mu) + 0.1 * rng.normal(size=mu.shape))
    noise = rng.normal(size=(*member.shape, queries)) * s
    return mu + noise + rise * member[..., None]


def by_loops(phi, member, leaving):
    """The score `[N]` of one target `[N, Q]` left out with others, refitted for every example."""
    target, rest = leaving
    models = [m for m in range(len(phi)) if m not in (target, *rest)]
    examples, queries = phi.shape[1:]
    sides = np.empty((2, 3, examples, queries))  # OUT, IN: number, mean, squares
    for n in range(examples):
        for q in range(queries):
            for i in (0, 1):
                v = np.array([phi[m, n, q] for m in models if member[m, n] == i])
                mean = v.mean() if len(v) else np.nan
                sides[i, :, n, q] = len(v), mean, ((v - mean) ** 2).sum()
    (n_out, mu_out, ss_out), (n_in, mu_in, ss_in) = sides
    logs = [
        (np.log(ss / (n - 1)) - digamma((n - 1) / 2) + np.log((n - 1) / 2),
         polygamma(1, (n - 1) / 2))
        for n, ss in zip(n_out.ravel(), ss_out.ravel(), strict=True) if n > 1
    ]  # fmt: skip
    log, noise = np.array(logs).T
    excess = np.mean(log**2) - np.mean(log) ** 2 - np.mean(noise)
    half = 5e11
    if excess > 0:
        half = root_scalar(lambda x: polygamma(1, x) - excess, bracket=(1e-3, 1e6)).root
    s0 = np.exp(log.mean() + digamma(half) - np.log(half))
    nu = 2 * half + n_out - 1
    s2 = (2 * half * s0 + ss_out) / nu * (1 + 1 / np.where(n_out > 0, n_out, np.nan))
    spread = np.nanstd(mu_out)
    size = np.maximum(s2, 1e-4 * spread**2)
    score = np.empty((examples, queries))
    for q in range(queries):
        u, v = (mu_out[:, q] - np.nanmean(mu_out)) / spread, 0.5 * np.log(size[:, q] / spread**2)
        c = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], 1)
        c = c if examples >= 60 else c[:, :1]
        for x in range(examples):
            out = s2[x, q], nu[x, q], mu_out[x, q]
            law = law_of(c, x, n_in[:, q], mu_in[:, q] - mu_out[:, q], ss_in[:, q], size[:, q], out)
            own = phi[target, x, q]
            without = nu[x, q], out[2], np.sqrt(s2[x, q])
            score[x, q] = student.logpdf(own, *law) - student.logpdf(own, *without)
    return score.mean(1)


def law_of(c, x, n, rise, ss, size, out):
    """The IN law of example x from all others, by least squares of their rows."""
    free = c.shape[1]
    at = [z for z in range(len(c)) if z != x and n[z] > 0 and np.isfinite(rise[z])]
    w = np.sqrt(n[at] / size[at])
    beta = np.linalg.lstsq(c[at] * w[:, None], rise[at] * w, rcond=None)[0]
    square = (w**2 * (rise[at] - c[at] @ beta) ** 2).sum() / (len(at) - free)
    inverse = np.linalg.inv(np.einsum("zi,zj,z->ij", c[at], c[at], w**2))
    two = [z for z in at if n[z] > 1]
    d = n[two] - 1
    log = np.log(np.maximum(ss[two] / d / size[two], 1e-4)) - digamma(d / 2) + np.log(d / 2)
    gamma = np.linalg.lstsq(c[two], log, rcond=None)[0]
    error = ((log - c[two] @ gamma) ** 2).sum() / (len(two) - free)
    between = max(square - np.mean(ss[two] / d / size[two]), 0) / np.mean(n[at]) * size[x]
    h = c[x] @ np.linalg.inv(c[two].T @ c[two]) @ c[x]
    scatter = min(max(error - polygamma(1, d / 2).mean(), 0) + error * h, 2)
    within = size[x] * np.exp(c[x] @ gamma + scatter / 2)
    variance = within + between + square * (c[x] @ inverse @ c[x])
    nu = 4 + 2 / ((within / variance) ** 2 * (np.exp(scatter) - 1))
    return nu, out[2] + c[x] @ beta, np.sqrt(variance * (nu - 2) / nu)


@pytest.mark.parametrize(
    ("plan", "models", "examples", "queries"),
    [
        (design.complementary_halves, 10, 90, 2),
        (design.poisson(0.5), 9, 70, 1),
        (design.complementary_halves, 8, 40, 1),  # few examples: all move by the same
    ],
)
def test_it_is_that_of_loops(plan, models, examples, queries):
    member = plan(3, models, examples)
    phi = memory(member, queries=queries)
    score = attack_every_model(Signals(phi), member, [NAME])[NAME]
    paired = plan is design.complementary_halves
    for t in (0, 5):
        want = by_loops(phi, member, (t, [t ^ 1] if paired else []))
        few = np.isnan(want)
        assert few.any() == (not paired)  # no OUT reference
        np.testing.assert_array_equal(np.isnan(score[t]), few)
        np.testing.assert_allclose(score[t][~few], want[~few], rtol=1e-9, atol=1e-9)


def test_an_examples_own_in_references_have_no_say():
    member = design.poisson(0.5)(0, 12, 200)
    phi, target = memory(member), memory(np.ones((1, 200), bool), 1)[0]
    moved = phi.copy()
    moved[member[:, 7], 7] += 40.0

    def score(reference):
        return attack_targets([Signals(target)], Signals(reference), member, [NAME])[NAME][0]

    was, now = score(phi), score(moved)
    np.testing.assert_allclose(now[7], was[7], rtol=1e-7)
    assert (np.abs(now - was) > 1e-3).mean() > 0.9  # all others learn from them
    moved = phi.copy()
    moved[~member[:, 7], 7] += 1.0  # its OUT references are what it is held against
    assert abs(score(moved)[7] - was[7]) > 0.1


def test_it_finds_what_offline_lira_does_not():
    member = design.complementary_halves(0, 34, 3000)
    score = attack_every_model(Signals(memory(member)), member, [NAME, "lira_offline"])
    rates = {k: metrics.tpr_at_fpr(s, member, 1e-3) for k, s in score.items()}
    assert rates[NAME] > 1.25 * rates["lira_offline"] > 0.01
    assert metrics.tpr_at_fpr(score[NAME], member, 1e-5) > 0.002


def test_records_that_no_model_was_trained_on_are_what_it_is_for():
    """As a user has them: columns of OUT alone, beside the records that models were drawn from."""
    new = np.arange(2500) >= 1500
    member = design.poisson(0.5)(0, 32, 2500) & ~new
    inside = design.poisson(0.5)(1, 20, 2500)
    phi = memory(np.concatenate([member, inside]))
    names = [NAME, "lira_offline"]
    targets = [Signals(p) for p in phi[32:]]
    scores = attack_targets(targets, Signals(phi[:32]), member, names)
    aucs = [metrics.auc(scores[k][:, new], inside[:, new]) for k in names]
    assert np.isfinite(scores[NAME][:, new]).all() and aucs[0] > aucs[1] + 0.01 > 0.58


@pytest.mark.parametrize("models", [2, 3, 4, 6])
def test_one_or_two_references_of_a_side_are_enough(models):
    member = np.arange(models)[:, None] % 2 == np.arange(2000) % 2
    phi, inside = memory(member), design.poisson(0.5)(1, 40, 2000)
    targets = memory(np.concatenate([member, inside]))[models:]
    score = attack_targets([Signals(p) for p in targets], Signals(phi), member, [NAME])[NAME]
    assert np.isfinite(score).all()
    assert metrics.auc(score, inside) > 0.6
    ten = [Signals(10 * p) for p in targets]  # no unit is built in
    again = attack_targets(ten, Signals(10 * phi), member, [NAME])[NAME]
    np.testing.assert_allclose(again, score, rtol=1e-5, atol=1e-6)


def test_without_an_out_reference_or_other_examples_nothing_is_scored():
    member = np.ones((4, 100), bool)
    member[:2, 1:] = False
    phi = memory(member)
    score = attack_targets([Signals(phi[0])], Signals(phi), member, [NAME])[NAME][0]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(score)), [0])
    alone = attack_targets([Signals(phi[0, :1])], Signals(phi[:, 1:2]), member[:, 1:2], [NAME])
    assert np.isnan(alone[NAME]).all()


def test_two_complements_are_no_references_of_each_other():
    member = design.complementary_halves(0, 2, 100)
    for phi in (np.ones((2, 100, 1)), np.random.default_rng(0).normal(size=(2, 100, 1))):
        (score,) = attack_every_model(Signals(phi), member, [NAME]).values()
        assert np.isnan(score).all()  # and not a score of 0, which would be an answer


def test_its_log_ratios_are_near_posteriors():
    member = design.complementary_halves(0, 34, 2000)
    score = attack_every_model(Signals(memory(member)), member, [NAME])[NAME]
    fitted = P.fit_calibration(score, member)
    assert ATTACKS[NAME].log_ratio and 0.75 < fitted.a < 1.25 and abs(fitted.b) < 0.1


def test_examples_that_never_move_leave_the_others_alone():
    """As of a forest, whose answers to most examples are one and the same."""
    member = design.complementary_halves(0, 34, 3000)
    phi = memory(member)
    want = attack_every_model(Signals(phi), member, [NAME])[NAME]
    phi[:, ::3] = 9.0
    score = attack_every_model(Signals(phi), member, [NAME])[NAME]
    moves = np.arange(3000) % 3 > 0
    assert np.isfinite(score).all()
    a, b = (metrics.tpr_at_fpr(s[:, moves], member[:, moves], 1e-2) for s in (score, want))
    assert a > 0.9 * b
