"""The rungs of the ladder against float64 loops that are written another way."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from jaxmia import design, metrics
from jaxmia.attacks import ATTACKS, networks, rmia, shadow_classifier
from jaxmia.attacks.references import leave_out, left_out
from jaxmia.metrics import thresholds
from jaxmia.types import Signals

M, N, Z = 10, 30, 40
RNG = np.random.default_rng(3)
MEMBER = design.complementary_halves(1, M, N)
PHI = (RNG.normal(size=(M, N, 1)) * 2 + MEMBER[..., None]).astype(np.float32)
POPULATION = (RNG.normal(size=(M, Z, 1)) * 2).astype(np.float32)
Y = RNG.integers(0, 3, N).astype(np.int32)
EVERY = Signals(phi=PHI, y=Y, population=POPULATION)


def others(t):
    """The references of a target: all but itself and its partner."""
    return [m for m in range(M) if m // 2 != t // 2]


def every(one):
    out = np.empty((M, N))
    for t in range(M):
        for i in range(N):
            inside = [float(PHI[m, i, 0]) for m in others(t) if MEMBER[m, i]]
            outside = [float(PHI[m, i, 0]) for m in others(t) if not MEMBER[m, i]]
            out[t, i] = one(float(PHI[t, i, 0]), np.array(inside), np.array(outside))
    return out


def loss(phi):
    return -np.log(expit(phi))


def place(phi, inside, outside):
    """Attack R by counting, and by the normal distribution function as it is."""
    fit = norm(outside.mean(), outside.std())
    ordered = np.concatenate([[-np.inf], np.sort(outside), [np.inf]])
    k = (outside < phi).sum()
    if k == len(outside):
        return fit.logsf(ordered[k]) - fit.logsf(phi) + np.log(k + 1)
    low, high = fit.cdf(ordered[k]), fit.cdf(ordered[k + 1])
    return -np.log(1 - (k + (fit.cdf(phi) - low) / (high - low)) / (len(outside) + 1))


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("instance_threshold", lambda phi, i, o: loss(o).mean() - loss(phi)),
        ("instance_threshold_phi", lambda phi, i, o: phi - o.mean()),
        ("attack_r", place),
        ("base", lambda phi, i, o: -loss(phi) - np.log(expit(np.r_[i, o]).mean())),
    ],
)
def test_example_by_example(name, oracle):
    scores = ATTACKS[name].leave_one_out(EVERY, MEMBER, leave_out(MEMBER))
    np.testing.assert_allclose(scores, every(oracle), rtol=1e-6, atol=1e-9)


def test_label_only_lira_counts_right_answers():
    margin = np.where(RNG.random((M, N)) < 0.6, 1.0, -2.0) * (1 + RNG.random((M, N)))
    margin[3, 4] = np.nan
    signals = Signals(phi=PHI, margin=margin[..., None].astype(np.float32))
    scores = ATTACKS["label_only_lira"].leave_one_out(signals, MEMBER, leave_out(MEMBER))
    by_counts = {}
    for t in range(M):
        for i in range(N):
            counts = []
            for side in (True, False):
                at = [m for m in others(t) if MEMBER[m, i] == side and margin[m, i] == margin[m, i]]
                same = sum((margin[m, i] > 0) == (margin[t, i] > 0) for m in at)
                counts += [same, len(at)]
            chance = [(counts[k] + 0.5) / (counts[k + 1] + 1) for k in (0, 2)]
            want = np.nan if np.isnan(margin[t, i]) else np.log(chance[0] / chance[1])
            np.testing.assert_allclose(scores[t, i], want, rtol=1e-12, atol=1e-15)
            if want == want:
                by_counts.setdefault((margin[t, i] > 0, *counts), set()).add(scores[t, i])
    assert all(len(values) == 1 for values in by_counts.values())  # to the last bit


def test_attack_r_ranks_as_the_share_of_references_and_keeps_the_tails_apart():
    phi = np.array([[-1.4], [-0.7], [-0.1], [0.2], [0.9], [1.6]])
    member = np.zeros((6, 1), bool)
    at = np.concatenate([np.linspace(-60, 60, 241), phi[:, 0]])
    score = np.array([
        ATTACKS["attack_r"].score(Signals(phi=np.array([[x]])), Signals(phi=phi[..., None]), member)
        for x in at
    ])[:, 0]  # fmt: skip
    share = 1 - np.exp(-score)
    np.testing.assert_allclose(share[241:], np.arange(1, 7) / 7, rtol=1e-9)  # at the references
    tail = score[:241][at[:241] > -38]
    assert (np.diff(tail) > 0).all()  # strictly rising, far above and far below all references
    tied = np.repeat(phi[:3], 2, axis=0)
    of_tie = ATTACKS["attack_r"].score(
        Signals(phi=phi[1:2]), Signals(phi=tied[..., None]), member
    )[0]  # fmt: skip
    assert np.isclose(1 - np.exp(-of_tie), 3.5 / 7)  # between 3/7 and 4/7: half of a tie counts


def test_class_threshold_is_the_best_of_all_candidates():
    scores = ATTACKS["class_threshold"].leave_one_out(EVERY, MEMBER, leave_out(MEMBER))
    for t in range(M):
        rest = others(t)
        for label in range(3):
            at = np.flatnonzero(Y == label)
            phi, member = PHI[rest][:, at, 0].astype(float), MEMBER[rest][:, at]
            gains = {c: (phi[member] >= c).mean() - (phi[~member] >= c).mean() for c in phi.flat}
            best = max(c for c in gains if gains[c] >= max(gains.values()) - 1e-12)
            np.testing.assert_allclose(scores[t, at], PHI[t, at, 0] - best, rtol=1e-6)


def test_under_balanced_columns_a_class_threshold_loses_one_of_the_other_side_too():
    member = design.balanced_columns(0.5)(3, M, N)
    leaves = leave_out(member)
    s = Signals(phi=PHI, y=Y)
    scores = ATTACKS["class_threshold"].leave_one_out(s, member, leaves)
    for label in range(3):
        at = np.flatnonzero(Y == label)
        leaver = left_out(leaves, member[:, at], 0)
        for t in range(M):
            stays = np.ones((M, len(at)), bool)
            stays[t] = stays[leaver[t], np.arange(len(at))] = False
            phi = PHI[:, at, 0].astype(float)
            inside, outside = phi[stays & member[:, at]], phi[stays & ~member[:, at]]
            assert len(inside) == len(outside)
            gains = {c: (inside >= c).mean() - (outside >= c).mean() for c in phi[stays]}
            best = max(c for c in gains if gains[c] >= max(gains.values()) - 1e-12)
            np.testing.assert_allclose(scores[t, at], PHI[t, at, 0] - best, rtol=1e-6)


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("population", [True, False])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_rmia_is_the_share_of_the_population_that_is_beaten(mode, population, gamma):
    around = POPULATION if population else None
    scores = rmia.leave_one_out(PHI, MEMBER, around, mode, gamma, a=0.4)
    p, p_z = expit(PHI[..., 0].astype(float)), expit(POPULATION[..., 0].astype(float))
    for t in range(M):
        rest = others(t)

        def expected(i, rest=rest):
            inside = [p[m, i] for m in rest]
            outside = [p[m, i] for m in rest if not MEMBER[m, i]]
            return np.mean(inside) if mode == "online" else (1.4 * np.mean(outside) + 0.6) / 2

        ratio = np.array([p[t, i] / expected(i) for i in range(N)])
        z = np.array([p_z[t, j] / ((1.4 * np.mean(p_z[rest, j]) + 0.6) / 2) for j in range(Z)])
        for i in range(N):
            beaten = z if population else np.delete(ratio, i)
            assert abs(scores[t, i] - (ratio[i] / beaten > gamma).mean()) < 1e-12, (t, i)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_ladder_counts_with_both_gammas(mode):
    s = Signals(phi=PHI, population=POPULATION)
    for name, gamma in ((f"rmia_{mode}", 2.0), (f"rmia_{mode}_gamma_1", 1.0)):
        scores = ATTACKS[name].leave_one_out(s, MEMBER, leave_out(MEMBER))
        want = rmia.leave_one_out(PHI, MEMBER, POPULATION, mode, gamma)
        np.testing.assert_array_equal(scores, want)
        whole = scores * Z
        np.testing.assert_allclose(whole, np.rint(whole), atol=1e-9)  # a count orders, and no more
        assert len(np.unique(scores[0])) < N


def test_rmia_of_several_queries_is_their_mean_and_refuses(as_users_run):
    two = np.concatenate([PHI, PHI[..., ::-1] * 0.5], -1)
    z = np.concatenate([POPULATION, POPULATION * 0.5], -1)
    scores = rmia.leave_one_out(two, MEMBER, z)
    apart = [rmia.leave_one_out(two[..., q], MEMBER, z[..., q]) for q in range(2)]
    np.testing.assert_allclose(scores, np.mean(apart, 0), rtol=1e-12)
    with pytest.raises(ValueError, match=r"population: has shape \(3, 40, 1\), needs"):
        rmia.leave_one_out(PHI, MEMBER, POPULATION[:3, :, 0])
    with pytest.raises(ValueError, match="gamma=0"):
        rmia.leave_one_out(PHI, MEMBER, POPULATION, gamma=0)
    with pytest.raises(ValueError, match="go together"):
        rmia.online(PHI[0], PHI[1:], MEMBER[1:], POPULATION[0])


def test_networks_weigh_both_sides_of_an_example_alike():
    finite = RNG.random((M, N)) < 0.8
    rows = np.array([0, 2, 3, 4, 7])
    features = np.zeros((M, N, 1), np.float32)
    pool = networks._Pool(features, finite, MEMBER, np.arange(N)[None], np.array([N]))
    even = np.asarray(networks._even(pool, np.resize(rows, M)))
    some = 0
    for i in range(N):
        inside = [m for m in rows if finite[m, i] and MEMBER[m, i]]
        outside = [m for m in rows if finite[m, i] and not MEMBER[m, i]]
        want = np.zeros(M)
        if inside and outside:
            some += 1
            want[inside] = (len(inside) + len(outside)) / (2 * len(inside))
            want[outside] = (len(inside) + len(outside)) / (2 * len(outside))
        np.testing.assert_allclose(even[:, i], want, rtol=1e-6)
    assert 0 < some < N


def test_a_network_that_saw_one_side_of_every_example_scores_nothing():
    member = np.repeat([[True], [False], [True]], N, 1)
    member[:2, :2] = member[1::-1, :2]
    z = RNG.normal(size=(3, N, 3)).astype(np.float32)
    s = Signals(phi=z[..., :1], y=np.where(np.arange(N) < 4, 0, 1).astype(np.int32), logits=z)
    score = ATTACKS["shadow_classifier"].leave_one_out(s, member, leave_out(member, "none"))
    for t in range(3):
        rest = np.delete(member, t, axis=0)
        both = rest.any(0) & ~rest.all(0)
        for label in (0, 1):
            of = s.y == label
            assert np.isfinite(score[t, of]).all() == both[of].any(), (t, label)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_attack_networks_are_as_good_as_scikit_learns():
    from sklearn.neural_network import MLPClassifier

    models, examples = 16, 600
    member = design.complementary_halves(0, models, examples)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, examples).astype(np.int32)
    logits = rng.normal(size=(models, examples, 4)).astype(np.float32)
    at = np.broadcast_to(y[:, None], (models, examples, 1))
    gain = np.where(y == 0, 1.5, 0.5) * member  # classes leak differently
    np.put_along_axis(logits, at, np.take_along_axis(logits, at, 2) + gain[..., None], 2)
    s = Signals(phi=logits[..., :1], y=y, logits=logits)
    ours = ATTACKS["shadow_classifier"].leave_one_out(s, member, leave_out(member))
    x = shadow_classifier.features(logits, y)
    theirs = np.empty_like(ours)
    for label in range(2):
        own = y == label
        for half in (slice(0, 8), slice(8, 16)):
            rest = np.delete(np.arange(16), half)
            net = MLPClassifier((64,), random_state=0, max_iter=60)
            net.fit(x[rest][:, own].reshape(-1, 4), member[rest][:, own].ravel())
            odds = net.predict_proba(x[half][:, own].reshape(-1, 4))[:, 1]
            theirs[half, own] = odds.reshape(8, -1)
    for label in range(2):
        a, b = (metrics.auc(v[:, y == label], member[:, y == label]) for v in (ours, theirs))
        assert abs(a - b) < 0.02 and a > 0.55, (a, b)


def test_features_put_the_true_class_first_and_know_binary_logits():
    z = np.array([[[1.0, 3.0, 2.0]]], np.float32)
    x = shadow_classifier.features(z, np.array([2]))
    assert np.argmax(x[0, 0]) == 1 and np.allclose(np.exp(x).sum(), 1)
    assert (np.diff(shadow_classifier.features(z, np.array([2]), top=2)[0, 0]) < 0).all()
    one = shadow_classifier.features(np.array([[[1.5]]], np.float32), np.array([1]))
    np.testing.assert_allclose(np.exp(one[0, 0]), [expit(1.5), expit(-1.5)], rtol=1e-6)


def test_thresholds_at_a_nominal_rate_come_from_the_others():
    score = np.round(RNG.normal(size=(6, 200)), 1)  # with ties
    score[2, 5] = np.nan
    member = RNG.random((6, 200)) < 0.5
    leaving = np.array([[0, 1], [1, 0], [2, -1], [3, 4], [4, 3], [5, -1]])
    for fpr in (0.0, 0.01, 0.2, 1.0):
        (cuts,) = thresholds.at_fpr(score, member, leaving, [fpr])
        for t, pair in enumerate(leaving):
            rest = [m for m in range(6) if m not in pair]
            outside = np.sort(score[rest][~member[rest] & ~np.isnan(score[rest])])
            assert (outside >= cuts[t]).mean() <= fpr
            if np.isfinite(cuts[t]):  # any lower one would be too low
                assert (outside >= np.nextafter(cuts[t], -np.inf)).mean() > fpr


def test_best_threshold_of_many_scores_is_near_the_best():
    member = RNG.random((4, 20_000)) < 0.5
    score = RNG.normal(size=member.shape) + member
    cut = thresholds.best(score, member, np.full((1, 1), -1))[0]
    gain = (score[member] >= cut).mean() - (score[~member] >= cut).mean()
    assert metrics.advantage(score, member) - 1e-3 < gain
    assert np.isnan(thresholds.best(score, np.ones_like(member), np.full((1, 1), -1))[0])
