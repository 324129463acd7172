import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmia import signals


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    classes=st.sampled_from([2, 3, 11]),
    spread=st.sampled_from([0.1, 3, 9]),
)
def test_equal_their_formulas(seed, classes, spread):
    rng = np.random.default_rng(seed)
    z = (rng.normal(size=(7, classes)) * spread).astype(np.float32)
    y = rng.integers(classes, size=7)
    p = softmax(z.astype(np.float64))
    at = p[np.arange(7), y]
    rest = np.array([np.delete(row, c).sum() for row, c in zip(p, y, strict=True)])
    np.testing.assert_allclose(signals.phi(z, y), np.log(at) - np.log(rest), rtol=2e-5, atol=2e-5)
    best = [row[c] - np.delete(row, c).max() for row, c in zip(z, y, strict=True)]
    np.testing.assert_allclose(signals.margin(z, y), best, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(signals.entropy(z, y), -(p * np.log(p)).sum(1), rtol=1e-4, atol=1e-5)
    others = np.ones_like(p, bool)
    others[np.arange(7), y] = False
    one_less = np.stack([np.delete(p, c, 1).sum(1) for c in range(classes)], 1)
    want = -rest * np.log(at) - np.where(others, p * np.log(one_less), 0).sum(1)
    np.testing.assert_allclose(signals.modified_entropy(z, y), want, rtol=1e-4, atol=1e-4)


def test_phi_never_saturates():
    z = np.array([[1e4, 0, -1e4], [-1e4, 1e4, 0], [88, 0, 0], [0, 104, 0]], np.float32)
    y = np.array([0, 0, 0, 1])
    want = [1e4, -2e4, 88 - np.log(2), 104 - np.log(2)]
    np.testing.assert_allclose(signals.phi(z, y), want, rtol=1e-6)
    for of in (signals.entropy, signals.modified_entropy):
        assert np.isfinite(of(z, y)).all()


def test_a_single_logit_stands_for_two_classes():
    z, y = np.array([[2.0], [-1.5]], np.float32), np.array([1, 1])
    np.testing.assert_allclose(signals.phi(z, y), [2.0, -1.5], rtol=1e-6)
    np.testing.assert_allclose(signals.phi(z, 1 - y), [-2.0, 1.5], rtol=1e-6)
    two = np.concatenate([0 * z, z], 1)
    np.testing.assert_allclose(signals.modified_entropy(z, y), signals.modified_entropy(two, y))


@pytest.mark.parametrize("label", [-1, 3])
def test_refuses_labels_out_of_range(label):
    with pytest.raises(ValueError, match=f"{label} is out of range, allowed are 0 to 2"):
        signals.phi(np.zeros((1, 3), np.float32), np.array([label]))
