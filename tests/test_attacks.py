"""What holds for every attack that is named in `ATTACKS`."""

import numpy as np
import pytest

from jaxmia import design, metrics
from jaxmia.attacks import ATTACKS, attack_every_model, attack_targets
from jaxmia.types import Signals

M, N = 20, 400
MEMBER = design.complementary_halves(0, M, N)
RNG = np.random.default_rng(0)


def signals(strength=1.0, seed=0):
    rng = np.random.default_rng(seed)
    phi = (rng.normal(size=(M, N, 1)) + strength * MEMBER[..., None]).astype(np.float32)
    return Signals(phi=phi, margin=phi - 0.5, y=np.zeros(N, np.int32))


@pytest.mark.parametrize("name", ATTACKS)
def test_members_score_higher_and_noise_gives_one_half(name):
    found = attack_every_model(signals(2.0), MEMBER, [name])[name]
    assert found.shape == (M, N) and found.dtype == np.float64
    assert metrics.auc(found, MEMBER) > 0.6
    noise = attack_every_model(signals(0.0), MEMBER, [name])[name]
    assert abs(metrics.auc(noise, MEMBER) - 0.5) < 0.03


@pytest.mark.parametrize("name", ATTACKS)
def test_given_targets_are_scored_as_left_out_ones(name):
    every, keep = signals(), np.arange(2, M)

    def rows(at):
        return Signals(phi=every.phi[at], margin=every.margin[at], y=every.y)

    got = attack_targets([rows(0), rows(1)], rows(keep), MEMBER[keep], [name])[name]
    want = attack_every_model(every, MEMBER, [name])[name]
    np.testing.assert_allclose(got, want[:2], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_diverged_model_has_no_score(name):
    s = signals()
    s.phi[4] = np.nan
    s.margin[4] = np.nan
    found = attack_every_model(s, MEMBER, [name])[name]
    assert np.isnan(found[4]).all() and np.isfinite(np.delete(found, 4, 0)).all()


def test_unknown_names_and_missing_signals_are_refused():
    with pytest.raises(ValueError, match="'gap' is not one of correctness, global_threshold"):
        attack_every_model(signals(), MEMBER, ["gap"])
    with pytest.raises(ValueError, match="correctness needs margin"):
        attack_every_model(Signals(phi=signals().phi), MEMBER, ["correctness"])
