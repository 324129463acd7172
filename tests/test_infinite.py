"""Infinite signals are the strongest answers; NaN alone are not known, and cost one example."""

import json
from dataclasses import replace

import numpy as np
import plain
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from jaxmia import design, metrics, signals
from jaxmia.attacks import ATTACKS, attack_by_others, attack_every_model, attack_targets, lira, rmia
from jaxmia.attacks.infinite import CERTAIN, SURE, extremes, finite
from jaxmia.command import app
from jaxmia.evaluation.unknown import notes, unknown
from jaxmia.types import Signals

M, N = 16, 400
R = np.random.default_rng(0)
MEMBER = design.complementary_halves(0, M, N)
S = R.normal(2, 1, N) + MEMBER + R.normal(size=(M, N))
P = np.where(MEMBER & (R.random((M, N)) < 0.6), 1, 1 / (1 + np.exp(-S)))
FEATURES = R.normal(size=(N, 3)).astype(np.float32)
INF, NAN = np.inf, np.nan


def logits(p):
    with np.errstate(divide="ignore"):
        return np.log(np.stack([1 - p, p], -1))


def signals_of(p):
    """Signals of a binary model, as the formulas have them in float64."""
    z = logits(p)
    phi = (z[..., 1] - z[..., 0])[..., None].astype(np.float32)
    inside = {"gradient": -phi, "activations": np.tanh(phi), "trajectory": phi}
    around = (S[..., None] - 2).astype(np.float32)[:, :50]
    return Signals(
        phi, np.ones(N, int), margin=phi, logits=z.astype(np.float32), population=around,
        robustness=p, features=FEATURES, expected=np.stack([S * 0 + 2, S * 0 + 1], -1), **inside,
    )  # fmt: skip


SHORT = 1 / (1 + np.exp(-8.257))  # of 1: phi above the 7.7 of the surest other answer
SURES, CLIPPED = signals_of(P), signals_of(np.clip(P, 1 - SHORT, SHORT))
NETWORKS = [name for name, attack in ATTACKS.items() if attack.trains]


@pytest.mark.parametrize("name", [k for k in ATTACKS if k not in NETWORKS])
def test_every_attack_finds_what_it_finds_of_probabilities_short_of_1(name):
    scores, want = (attack_every_model(s, MEMBER, [name])[name] for s in (SURES, CLIPPED))
    assert np.isfinite(scores).all()
    a, b = (metrics.figures(score, MEMBER, [1e-3, 1e-2]) for score in (scores, want))
    assert abs(a.auc - b.auc) < 1e-3
    np.testing.assert_allclose(a.tpr_at_fpr, b.tpr_at_fpr, atol=5e-3)
    one, others = SURES.models(0), SURES.models(np.arange(2, M))
    alone = ATTACKS[name].score(one, others, MEMBER[2:])
    assert np.isfinite(alone).all()
    if name != "joint_lira_online":  # its directions come from other folds
        again = attack_targets([one], others, MEMBER[2:], [name])[name][0]
        np.testing.assert_allclose(alone, again)


@pytest.mark.parametrize("name", ["shadow_classifier", "gradients"])
def test_networks_take_infinite_answers_and_lose_one_example_by_a_nan(name):
    models = 8
    s, member = SURES.models(np.arange(models)), MEMBER[:models]
    z, phi = np.array(s.logits), np.array(s.phi)
    z[2, 7], phi[2, 7] = NAN, NAN
    z[3, 8], z[3, 9] = (3.0, INF), (INF, INF)  # sure of the second class; nothing is defined
    scores = attack_every_model(replace(s, logits=z, phi=phi), member, [name])[name]
    holes = np.zeros(scores.shape, bool)
    holes[2, 7] = holes[3, 9] = True
    np.testing.assert_array_equal(np.isnan(scores), holes)
    want = attack_every_model(s, member, [name])[name]
    areas = [metrics.auc(a, member) for a in (scores, want)]
    assert min(areas) > 0.8 and abs(areas[0] - areas[1]) < 0.01
    alone = ATTACKS[name].score(
        replace(s, logits=z, phi=phi).models(2), s.models(np.arange(4, models)), member[4:]
    )
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(alone)), [7])


def test_joint_directions_lose_one_example_by_a_nan():
    phi = np.array(CLIPPED.phi) + R.normal(size=(M, N, 1)).astype(np.float32)
    gradient = R.normal(size=(M, N, 3)).astype(np.float32)
    gradient[4, 5] = NAN
    s = Signals(phi, gradient=gradient)
    scores = attack_every_model(s, MEMBER, ["joint_lira_online"])["joint_lira_online"]
    np.testing.assert_array_equal(np.argwhere(np.isnan(scores)), [[4, 5]])


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_forest_that_is_sure_is_one_vote_further(mode):
    votes, member, draws = 100, design.complementary_halves(1, M, N), np.random.default_rng(0)
    z = draws.normal(2.5, 1, N) + 1.5 * member + 0.2 * draws.normal(size=member.shape)
    ayes = draws.binomial(votes, 1 / (1 + np.exp(-z)))
    with np.errstate(divide="ignore"):
        phi = np.log(ayes / (votes - ayes))
    halved = np.log((ayes + 0.5) / (votes - ayes + 0.5))  # as statisticians take none of 100
    own, least = (
        metrics.tpr_at_fpr(lira.leave_one_out(x, member, mode), member, 0.01) for x in (phi, halved)
    )
    assert np.isinf(phi).mean() > 0.1
    assert own > 0.9 * least > 0.3


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_lira_is_that_of_numpy_on_values_beyond_the_data(mode):
    phi = np.asarray(SURES.phi, np.float64)[..., 0]
    phi[1, :3] = -INF
    scores = lira.leave_one_out(phi, MEMBER, mode, variance="per_example", balance="none")
    (values,) = plain.as_answers(phi)
    for model, example in np.argwhere(np.isinf(phi))[::50]:
        own, rest = values[model, example], np.delete(values[:, example], model)
        inside = np.delete(MEMBER[:, example], model)
        a, b = rest[inside], rest[~inside]
        want = norm.logpdf(own, a.mean(), a.std()) - norm.logpdf(own, b.mean(), b.std())
        if mode == "offline":
            want = -norm.logsf(own, b.mean(), b.std())
        assert np.isclose(scores[model, example], want, rtol=1e-9)


def test_rmia_takes_infinite_points_of_the_population():
    around = np.array(CLIPPED.population)
    sure = around.copy()
    sure[around > 1.5] = INF
    around[around > 1.5] = extremes([CLIPPED.phi, sure]).bounds.high
    for mode in ("online", "offline"):
        scores, want = (rmia.leave_one_out(CLIPPED.phi, MEMBER, z, mode) for z in (sure, around))
        np.testing.assert_allclose(scores, want, rtol=1e-6)


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=20),
    st.lists(st.floats(width=32), min_size=1, max_size=5),
)
def test_order_and_ties_stay(targets, references):
    target, reference = np.array(targets, "f4"), np.array(references, "f4")
    out = np.concatenate(finite(target, reference))
    was = np.concatenate([target, reference])
    np.testing.assert_array_equal(np.isnan(out), np.isnan(was))
    assert not np.isinf(out).any()
    numbers = np.isfinite(was)
    np.testing.assert_array_equal(out[numbers], was[numbers])
    size = np.abs(was[numbers]).max(initial=0)
    for i, j in np.ndindex(len(was), len(was)):
        if size < 2e38:  # above, float32 ends
            assert (out[i] < out[j]) == (was[i] < was[j])
            assert (out[i] == out[j]) == (was[i] == was[j])


def test_targets_share_what_infinite_is():
    targets = [Signals(np.array([[1.0], [INF]])), Signals(np.array([[90.0], [INF]]))]
    reference = Signals(np.zeros((2, 2, 1)))
    scores = attack_targets(targets, reference, np.eye(2, dtype=bool), ["global_threshold"])
    np.testing.assert_array_equal(scores["global_threshold"], [[1, 94.5], [90, 94.5]])
    scores = attack_by_others(SURES, CLIPPED, MEMBER, ["lira_online"])["lira_online"]
    assert np.isfinite(scores).all()


def test_what_is_infinite_counts_and_nan_does_not():
    ends = extremes(
        [np.array([NAN, 1, INF]), np.array([-3.0]), np.array([], "f4"), np.array(["a"])]
    )
    assert ends == (-3, 1, 1) and ends.bounds == (-3.2, SURE)
    assert extremes([np.array([NAN])]).bounds is None
    assert extremes([np.array([INF, NAN])]).bounds == (-CERTAIN, CERTAIN)
    assert extremes([np.array([-100.0, 60, -INF])]).bounds == (-108, 68)
    assert signals.phi(np.array([0.0, INF]), np.array(1)) == INF


def test_what_float32_does_not_reach_is_infinite():
    sure, huge = S.copy(), S.copy()
    sure[2, 3], sure[4, 3], sure[5, 8] = INF, -INF, NAN
    huge[2, 3], huge[4, 3], huge[5, 8] = 1e300, -4e38, NAN
    assert extremes([sure]) == extremes([huge])
    for name in ("lira_online", "lira_offline", "rmia_online", "global_threshold", "attack_r"):
        a, b = (
            attack_every_model(Signals(phi[..., None]), MEMBER, [name])[name]
            for phi in (sure, huge)
        )
        np.testing.assert_array_equal(a, b)


def save(folder, **arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def run(folder, capsys, *flags):
    app.main(["score", *flags, "--member", str(folder / "member.npy"), "--out",
              str(folder / "out"), "--json"])  # fmt: skip
    output = capsys.readouterr()
    return json.loads(output.out), output.err


def test_the_command_takes_a_forest_at_its_word(tmp_path, capsys):
    z = logits(P)
    save(tmp_path, z=z, phi=z[..., 1] - z[..., 0], y=np.ones(N, int), member=MEMBER)
    flags = ["--logits", str(tmp_path / "z.npy"), "--labels", str(tmp_path / "y.npy")]
    summary, text = run(tmp_path, capsys, *flags)
    assert summary["attacks"]["lira_online"]["tpr_at_fpr"]["0.001"] > 0.5
    assert summary["diverged"] == [] and "not_finite" not in summary
    count = int(np.isinf(z[..., 1] - z[..., 0]).sum())
    assert summary["notes"] == [
        f"{count} signals are infinite (a probability of exactly 0 or 1): taken as -3.718 and "
        "8.257, beyond all others"
    ]
    assert summary["notes"][0][:30] in text and "diverged" not in text
    flags = ["--signals", str(tmp_path / "phi.npy"), "--stream"]
    there, beside = (run(tmp_path, capsys, *flags, how)[0] for how in ("always", "never"))
    assert there["notes"] == beside["notes"] == summary["notes"] and there["diverged"] == []
    for name in there["attacks"]:
        a, b, c = (f["attacks"][name] for f in (there, beside, summary))
        assert abs(a["auc"] - b["auc"]) <= a["rounding"] + 1e-6
        assert np.isclose(b["auc"], c["auc"], atol=1e-4)


@pytest.mark.parametrize("how", ["always", "never"])
def test_nan_that_tell_membership_are_a_warning(tmp_path, capsys, how):
    phi = np.array(CLIPPED.phi)[..., 0]
    phi[P == 1] = NAN
    phi[5] = NAN  # diverged: it tells nothing
    save(tmp_path, phi=phi, member=MEMBER)
    summary, text = run(tmp_path, capsys, "--signals", str(tmp_path / "phi.npy"), "--stream", how)
    rest = np.delete(np.arange(M), 5)
    holes, members = (int(a[rest].sum()) for a in (P == 1, MEMBER))
    warning = f"warning: signals are NaN for {holes} of {members} members and 0 of "
    assert summary["notes"][0].startswith(warning) and summary["diverged"] == [5]
    table, remarks = text.rindex("targets"), text.index("warning: signals")
    assert table < remarks < text.index("left out because")


def test_a_score_that_float32_does_not_reach_is_the_largest(tmp_path, capsys):
    name, phi = "lira_online_per_example_variance", S.astype(np.float32)
    phi[2, 3] = 1e30
    save(tmp_path, phi=phi, member=MEMBER)
    flags = ["--signals", str(tmp_path / "phi.npy"), "--attacks", name, "--stream", "always"]
    run(tmp_path, capsys, *flags, "--member", str(tmp_path / "member.npy"))
    with np.load(tmp_path / "out/scores.npz") as scores:
        assert np.isfinite(scores[name]).all()
        assert abs(scores[name][2, 3]) == np.abs(scores[name]).max() > 1e38


def test_a_model_that_is_sure_of_everything_has_not_diverged():
    sure = np.where(MEMBER, INF, -INF)[..., None]
    sure[2] = NAN
    assert unknown(sure, MEMBER).diverged == [2] and unknown(sure, MEMBER).nan.sum() == N
    score = attack_every_model(Signals(sure), MEMBER, ["lira_online"])["lira_online"]
    assert metrics.auc(score, MEMBER) == 1 and np.isnan(score[2]).all()


def test_nan_that_tell_nothing_are_no_warning():
    phi = np.array(CLIPPED.phi)
    phi[:, 7], phi[3] = NAN, NAN
    assert notes(extremes([phi]), unknown(phi, MEMBER)) == []
    phi[0, np.flatnonzero(~MEMBER[0])[:50]] = NAN  # of non-members
    assert notes(extremes([phi]), unknown(phi, MEMBER)) == []


def test_nan_of_a_given_target_are_a_warning(tmp_path, capsys):
    phi = np.array(CLIPPED.phi)[..., 0]
    phi[0, np.flatnonzero(MEMBER[0])[:20]] = NAN
    save(tmp_path, phi=phi[2:], member=MEMBER[2:], t=phi[0], tm=MEMBER[0])
    flags = [f"--{k}={tmp_path / v}.npy" for k, v in
             (("signals", "phi"), ("target", "t"), ("target-member", "tm"))]  # fmt: skip
    for how in ("always", "never"):
        summary, _ = run(tmp_path, capsys, *flags, "--stream", how)
        assert summary["notes"][0].startswith("warning: signals are NaN for 20 of ")
