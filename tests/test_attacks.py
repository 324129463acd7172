"""What holds for every attack that is named in `ATTACKS`."""

import numpy as np
import pytest
from scipy.special import logsumexp

from jaxmia import design, metrics
from jaxmia.attacks import ATTACKS, attack_every_model, attack_targets
from jaxmia.types import Signals

M, N = 20, 400
MEMBER = design.complementary_halves(0, M, N)
TRAINED = [k for k, a in ATTACKS.items() if a.trains or k == "joint_lira_online"]
CLOSED = [name for name in ATTACKS if name not in TRAINED]


def signals(strength=1.0, seed=0, member=MEMBER):
    """phi of unit variance, members higher by `strength`; the other signals go with it."""
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=member.shape) + strength * member
    y = rng.integers(0, 3, member.shape[1]).astype(np.int32)
    logits = 0.1 * rng.normal(size=(*member.shape, 3))
    others = np.where(np.arange(3) == y[:, None], -np.inf, logits)
    np.put_along_axis(
        logits, np.broadcast_to(y[:, None], (*member.shape, 1)),
        (phi + logsumexp(others, -1))[..., None], -1,
    )  # fmt: skip
    copies = rng.binomial(20, 1 / (1 + np.exp(-phi))) / 20
    return Signals(
        phi=phi[..., None].astype(np.float32),
        margin=(phi[..., None] - 0.5).astype(np.float32),
        y=y,
        logits=logits.astype(np.float32),
        robustness=copies.astype(np.float32),
        expected=np.stack([0.3 * rng.normal(size=phi.shape), np.full(phi.shape, 1.5)], -1),
        gradient=norms(phi, rng),
        activations=np.exp(0.3 * rng.normal(size=(*phi.shape, 5)) + phi[..., None]).astype(
            np.float32
        ),
        trajectory=(phi[..., None] + 0.3 * rng.normal(size=(*phi.shape, 3))).astype(np.float32),
        population=rng.normal(size=(len(member), 150, 1)).astype(np.float32),
        features=rng.normal(size=(member.shape[1], 4)).astype(np.float32),
    )


def norms(phi, rng):
    """Log-norms of gradients, whole and of two layers."""
    parts = 0.3 * rng.normal(size=(*phi.shape, 2)) - np.logaddexp(0, phi)[..., None]
    whole = 0.5 * logsumexp(2 * parts, -1, keepdims=True)
    return np.concatenate([whole, parts], -1).astype(np.float32)


BY_EXAMPLE = ("phi", "margin", "logits", "robustness", "expected", "gradient", "activations",
              "trajectory")  # fmt: skip
BY_MODEL = (*BY_EXAMPLE, "population")


def rows(s, at):
    own = {k: getattr(s, k)[at] for k in BY_MODEL}
    return Signals(y=s.y, features=s.features, **own)


@pytest.mark.parametrize("name", ATTACKS)
def test_members_score_higher_and_noise_gives_one_half(name):
    scores = attack_every_model(signals(2.0), MEMBER, [name])[name]
    assert scores.shape == (M, N) and scores.dtype == np.float64
    assert metrics.auc(scores, MEMBER) > 0.6
    noise = attack_every_model(signals(0.0), MEMBER, [name])[name]
    assert abs(metrics.auc(noise, MEMBER) - 0.5) < 0.03


@pytest.mark.parametrize("name", CLOSED)
def test_given_targets_are_scored_as_left_out_ones(name):
    every, keep = signals(), np.arange(2, M)
    targets = [rows(every, 0), rows(every, 1)]
    scores = attack_targets(targets, rows(every, keep), MEMBER[keep], [name])[name]
    want = attack_every_model(every, MEMBER, [name])[name]
    np.testing.assert_allclose(scores, want[:2], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_attack_takes_to_a_given_target(name):
    every, keep = signals(2.0), np.arange(2, M)
    score = attack_targets([rows(every, 0)], rows(every, keep), MEMBER[keep], [name])[name]
    assert metrics.auc(score, MEMBER[:1]) > 0.8


@pytest.mark.parametrize("name", CLOSED)
def test_order_of_models_and_examples_means_nothing(name):
    rng = np.random.default_rng(1)
    member = rng.random((M, N)) < 0.5  # no remedy that depends on the order
    s, models, examples = signals(member=member), rng.permutation(M), rng.permutation(N)
    want = attack_every_model(s, member, [name])[name]
    mixed = Signals(
        y=s.y[examples],
        features=s.features[examples],
        population=s.population[models],
        **{k: getattr(s, k)[models][:, examples] for k in BY_EXAMPLE},
    )  # fmt: skip
    scores = attack_every_model(mixed, member[models][:, examples], [name])[name]
    np.testing.assert_allclose(scores, want[models][:, examples], rtol=1e-6, atol=1e-9)


def test_a_monotone_transform_of_phi_changes_no_threshold_attacks_auc():
    s = signals()
    bent = Signals(phi=np.arctan(s.phi), y=s.y)
    name = "global_threshold"
    a, b = (attack_every_model(v, MEMBER, [name])[name] for v in (s, bent))
    assert metrics.auc(a, MEMBER) == metrics.auc(b, MEMBER)
    for t in range(3):  # one threshold a class: the order within a class is that of phi
        a, b = (attack_every_model(v, MEMBER, ["class_threshold"])["class_threshold"][t]
                for v in (s, bent))  # fmt: skip
        one = s.y == 1
        assert metrics.auc(a[one], MEMBER[t, one]) == metrics.auc(b[one], MEMBER[t, one])


@pytest.mark.parametrize("name", ATTACKS)
def test_a_diverged_model_has_no_score_and_is_no_reference(name):
    s = signals()
    for field in BY_MODEL:
        getattr(s, field)[4] = np.nan
    scores = attack_every_model(s, MEMBER, [name])[name]
    assert np.isnan(scores[4]).all() and np.isfinite(np.delete(scores, 4, 0)).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_degenerate_examples_are_finite(name):
    s = signals()
    s.phi[:, 0] = 7.25
    s.phi[:, 1] = np.where(MEMBER[:, 1], 90, -90)[:, None]
    s.phi[:, 2] = np.where(np.arange(M)[:, None] < M // 2, 1.0, 2.0)  # nothing but ties
    s.logits[:, :3] = s.activations[:, :3] = s.trajectory[:, :3] = 0
    s.gradient[:, :3] = -87.3  # the logarithm of the smallest number
    scores = attack_every_model(s, MEMBER, [name])[name]
    assert np.isfinite(scores).all()
    by_references = ("instance_threshold", "instance_threshold_phi", "attack_r", "base")
    if name in (*by_references, "global_threshold"):
        assert np.ptp(scores[:, 0]) < 1e-6


def test_unknown_names_and_missing_signals_are_refused():
    with pytest.raises(
        ValueError, match="'gap' is not one of activations, attack_r, base, bavaria"
    ):
        attack_every_model(signals(), MEMBER, ["gap"])
    lacking = {
        "correctness": "margin", "class_threshold": "labels", "shadow_classifier": "logits",
        "label_only": "robustness", "quantile_regression": "the examples",
        "gradient_norm": "gradient norms", "gradients": "gradient norms .* and activations",
        "loss_trajectory": "phi along the training", "joint_lira_online": "gradient norms",
        "proxy_instance": "labels and features of the examples",
    }  # fmt: skip
    for name, what in lacking.items():
        with pytest.raises(ValueError, match=f"{name} needs {what}"):
            attack_every_model(Signals(phi=signals().phi), MEMBER, [name])


def test_every_attack_says_who_the_attacker_is():
    for name, attack in ATTACKS.items():
        assert attack.attacker.access in ("black-box", "white-box"), name
        assert ("with and without" in attack.attacker.knows) >= attack.log_ratio, name
    assert "without the record" in ATTACKS["lira_online_global_variance"].attacker.knows
    assert ATTACKS["rmia_online"].attacker != ATTACKS["rmia_offline"].attacker
    assert ATTACKS["trajectory_lira_online"].attacker.sees.startswith("the model at several points")


def test_with_diverged_models_the_number_of_references_tells_nothing():
    from jaxmia.attacks.references import leave_out, left_out

    member = design.balanced_columns(0.5)(0, 16, 3000)
    finite = np.ones_like(member)
    finite[[3, 8, 9]] = False
    partner = left_out(leave_out(member), member, 0, finite)
    assert partner is not None and finite[partner, np.arange(3000)][partner >= 0].all()
    alive = np.flatnonzero(finite[:, 0])
    inside = (
        (member & finite).sum(0)
        - (finite & member)
        - np.take_along_axis(member & finite, partner, axis=0)
    )
    for n in np.unique((member & finite).sum(0)):
        at = (member & finite).sum(0) == n
        count = inside[alive][:, at]
        assert (count[member[alive][:, at]] == n - 1).all()
        assert (count[~member[alive][:, at]] == n - 1).all()


def test_the_power_curve_of_every_run_trains_no_networks(monkeypatch):
    from jaxmia.attacks import networks
    from jaxmia.attacks.references import leave_out
    from jaxmia.evaluation.power import power

    def train(*args):
        raise AssertionError("an attack network is trained")

    monkeypatch.setattr(networks, "_learn", train)
    names = [*TRAINED, "global_threshold"]
    rows = power(signals(), MEMBER, names, leave_out(MEMBER))
    assert all(set(row["attacks"]) <= {"global_threshold", "joint_lira_online"} for row in rows)
    assert rows[-1]["attacks"]["global_threshold"]["auc"] > 0.4


@pytest.mark.parametrize(
    ("base", "kind"),
    [
        (design.complementary_halves, "pair"),
        (design.balanced_columns(0.5), "opposite"),
        (design.poisson(0.5), "none"),
    ],
)
def test_anchors_do_not_hide_who_leaves(base, kind):
    from jaxmia.attacks.references import leave_out

    for models in (4, 9, 64):
        member = base(3, models, 60)
        member[:, 7], member[:, 20:30] = True, False
        leaves = leave_out(member)
        assert leaves.kind == kind
        np.testing.assert_array_equal(leaves.partner, leave_out(base(3, models, 60)).partner)


def test_few_examples_that_vary_are_no_evidence_of_partners():
    from jaxmia.attacks.references import leave_out

    member = np.ones((8, 40), bool)
    member[:, :3] = design.complementary_halves(0, 8, 3)
    assert leave_out(member).kind == "none"
    assert leave_out(member[:2]).kind == leave_out(design.poisson(0.5)(0, 2, 40)).kind == "none"
