"""Where membership means nothing, no attack finds anything: both nulls, attack by attack.

Each holds for every attack that is named in `ATTACKS`, and every design that is in `DESIGNS`.
"""

import numpy as np
import pytest
from nulls import DESIGNS, DRAWS, EACH, NULLS, case, failures

from jaxmia import design
from jaxmia.attacks import ATTACKS, attack_every_model, leave_out, lira, networks
from jaxmia.evaluation import shadow_thresholds
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.metrics import rank

REFERENCED = [name for name, attack in ATTACKS.items() if "models trained" in attack.attacker.knows]
NETWORKS = [name for name in REFERENCED if ATTACKS[name].trains]
CLOSED = [name for name in REFERENCED if name not in NETWORKS]
PAIRS = ["proxy_instance"]  # which compares each example with each other: of fewer draws
MODELS = (4, 8, 16)


def failures_of(attacks, name, models, draws, seed=0, nulls=NULLS):
    """What fails under any of the nulls, a line each."""
    out = []
    for null in nulls:
        signals, member = case(name, models, draws, null, seed)
        targets = slice(0, 1) if null == "redrawn target" else slice(None)
        for attack, score in attack_every_model(signals, member, attacks).items():
            lines = failures(score[targets], member[targets], DRAWS[name][1])
            out += [f"{attack}, {null}: {line}" for line in lines]
    return "\n".join(out)


def test_every_design_has_its_nulls():
    assert set(DESIGNS) == set(design.DESIGNS)


def test_the_null_sees_what_plain_leave_one_out_does_wrong():
    signals, member = case("balanced_columns", 8, 1000, "no effect")
    for balance, fails in (("none", True), ("auto", False)):
        score = lira.leave_one_out(signals.phi, member, "online", balance, "per_example")
        lines = failures(score, member)
        assert any(line.startswith("AUC - 1/2: -") for line in lines) == fails, lines


@pytest.mark.parametrize("models", MODELS)
@pytest.mark.parametrize("name", DRAWS)
def test_nulls(name, models):
    assert failures_of(CLOSED, name, models, 800 // models) == ""


@pytest.mark.parametrize("name", DRAWS)
def test_nulls_of_networks(name, monkeypatch):
    monkeypatch.setattr(networks, "STEPS", 150)
    assert failures_of(NETWORKS, name, 8, 30, nulls=("no effect", "redrawn target")) == ""


@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("name", ["complementary_halves", "poisson"])
def test_whether_the_target_is_in_changes_none_of_its_scores(name, null, monkeypatch):
    monkeypatch.setattr(networks, "STEPS", 150)
    for models, names in ((4, CLOSED), (8, CLOSED if null == "few values" else REFERENCED)):
        signals, member = case(name, models, 30, null)
        other = member.copy()
        leaving = [0, 1] if name == "complementary_halves" else [0]  # the target, and its partner
        other[leaving] = ~member[leaving]
        a, b = (attack_every_model(signals, m, names) for m in (member, other))
        for attack in names:
            np.testing.assert_allclose(
                a[attack][0], b[attack][0], rtol=1e-6, atol=1e-6, err_msg=f"{attack}, {models}"
            )


@pytest.mark.parametrize("models", [4, 8])
def test_thresholds_fitted_on_shadows_do_not_tell_the_targets_side(models):
    """Of few examples each has a say in a threshold; under balanced columns others stay IN."""
    signals, member = case("balanced_columns", models, 4000 // models, "no effect")
    phi, differences = np.asarray(signals.phi)[..., 0], []
    for at in range(0, phi.shape[1], EACH):
        s, m = phi[:, at : at + EACH], member[:, at : at + EACH]
        ranked = rank(s, m)
        shadows = Shadows({"global_threshold": ranked}, m, leave_out(m))
        fitted = shadow_thresholds.of_attack("global_threshold", ranked, shadows)
        rates = fitted["at_shadow_threshold"]["0.01"]
        best = 2 * fitted["balanced_accuracy_shadow_threshold"] - 1
        differences.append((rates["tpr"] - rates["fpr"], best))
    mean, error = np.mean(differences, 0), np.std(differences, 0) / np.sqrt(len(differences))
    assert (np.abs(mean) < 4 * error).all(), (mean, error)


@pytest.mark.soak
@pytest.mark.parametrize("models", [*MODELS, 64])
@pytest.mark.parametrize("name", DRAWS)
def test_nulls_closely(name, models):
    single = [attack for attack in CLOSED if attack not in PAIRS]
    assert failures_of(single, name, models, 64_000 // models, seed=1) == ""
    assert failures_of(PAIRS, name, models, 8_000 // models, seed=1) == ""


@pytest.mark.soak
@pytest.mark.parametrize("models", MODELS)
@pytest.mark.parametrize("name", [name for name, (_, chance) in DRAWS.items() if chance == EACH])
def test_nulls_of_small_pools(name, models):
    pools = [case(name, models, 10, "no effect", seed) for seed in range(60)]
    member = np.concatenate([m for _, m in pools], axis=1)
    for attack in CLOSED:
        scores = [attack_every_model(s, m, [attack])[attack] for s, m in pools]
        lines = failures(np.concatenate(scores, axis=1), member, each=100, chance=100)
        assert not lines, (attack, lines)


@pytest.mark.soak
@pytest.mark.parametrize("models", MODELS)
@pytest.mark.parametrize("name", DRAWS)
def test_nulls_of_networks_closely(name, models):
    assert failures_of(NETWORKS, name, models, 100, seed=1) == ""
