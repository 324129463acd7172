"""Probabilities of 0 and 1, sure models, and what signals of many classes need of memory."""

from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmia import signals

INF, NAN = np.inf, np.nan


def logs(z) -> tuple[list[float], list[float]]:
    """`log p_c` and `log(1 - p_c)` with 120 digits, straight from their definitions."""
    with localcontext() as context:
        context.prec = 120
        e = [Decimal(float(v)).exp() for v in z]
        total = sum(e)
        p = [(v / total).ln() for v in e]
        rest = [(sum(e[:c] + e[c + 1 :]) / total).ln() for c in range(len(e))]
        return [float(v) for v in p], [float(v) for v in rest]


def sure(seed: int) -> np.ndarray:
    """Logits of 5 classes of which the first is ever surer."""
    z = np.random.default_rng(seed).normal(size=(9, 5)) * 2
    z[:, 0] = [0, 5, 10, 15, 20, 30, 40, 60, 79]
    return z.astype(np.float32)


ROWS = [
    *np.split(sure(0), 9),
    *np.array([[[80, 0, -3]], [[0, 80, -3]], [[-3, 0, 80]], [[2, 2, 2]], [[5, 5, -5]]], "f4"),
    *np.array([[[0, 0]], [[1e-4, 0]], [[0, 30]], [[-70, 0]], [[17, -17]]], "f4"),
    np.zeros((1, 1000), np.float32),
    np.random.default_rng(1).normal(size=(1, 1000)).astype(np.float32),
    np.array([[1e4, 1e4 - 1, 1e4 - 20]], np.float32),
]


@pytest.mark.parametrize("z", ROWS, ids=range(len(ROWS)))
def test_signals_are_exact_however_sure_a_model_is(z):
    log_p, log_rest = (np.array(v) for v in logs(z[0]))
    for value, want in zip(signals._log_probabilities(z), (log_p, log_rest), strict=True):
        np.testing.assert_allclose(value[0], want, rtol=1e-5, atol=1e-37)  # below is 0 in float32
    p, rest = np.exp(log_p), np.exp(log_rest)
    value = signals.entropy(z, np.array([0]))
    np.testing.assert_allclose(value, [-(p * log_p).sum()], rtol=1e-5)
    for y in range(min(len(p), 5)):
        terms = -p * log_rest
        terms[y] = -rest[y] * log_p[y]
        value = signals.modified_entropy(z, np.array([y]))
        np.testing.assert_allclose(value, [terms.sum()], rtol=1e-5, atol=1e-37)
        value, rounding = signals.phi(z, np.array([y])), 2e-7 * np.abs(z).max()
        np.testing.assert_allclose(value, [log_p[y] - log_rest[y]], rtol=1e-5, atol=rounding)


def of_probabilities(p: np.ndarray, y: int) -> dict[str, float]:
    """The signals in float64, with `0 log 0 = 0`."""
    times = lambda a, b: 0.0 if a == 0 else a * b  # noqa: E731
    with np.errstate(divide="ignore"):
        log_p, log_rest = np.log(p), np.log(1 - p)
    others = [c for c in range(len(p)) if c != y]
    return {
        "phi": log_p[y] - log_rest[y],
        "margin": log_p[y] - max(log_p[c] for c in others),
        "entropy": -sum(times(p[c], log_p[c]) for c in range(len(p))),
        "modified_entropy": -times(1 - p[y], log_p[y])
        - sum(times(p[c], log_rest[c]) for c in others),
    }


@pytest.mark.parametrize(
    "p", [[0, 1], [1, 0], [0, 1, 0], [0, 0.5, 0.5], [0.25, 0.75, 0], [0.125, 0.125, 0.75, 0]]
)
def test_probabilities_of_zero_and_one_are_answers(p):
    p = np.array(p)
    with np.errstate(divide="ignore"):
        z = np.log(p).astype(np.float32)[None]
    for y in range(len(p)):
        for name, want in of_probabilities(p, y).items():
            value = getattr(signals, name)(z, np.array([y]))
            np.testing.assert_allclose(value, [want], rtol=1e-6, atol=1e-6, err_msg=f"{name} {y}")


def test_one_infinite_logit_is_a_probability_of_one():
    for z in ([[INF, 0, 3]], [[INF, 0, -INF]]):
        for y, phi in ((0, INF), (1, -INF)):
            at = np.float32(z), np.array([y])
            assert signals.phi(*at) == phi and signals.margin(*at) == phi
            assert signals.entropy(*at) == 0
            assert signals.modified_entropy(*at) == (0 if y == 0 else INF)
    for z, y, phi in ((INF, 1, INF), (INF, 0, -INF), (-INF, 1, -INF), (-INF, 0, INF)):
        at = np.float32([[z]]), np.array([y])
        assert signals.phi(*at) == signals.margin(*at) == phi and signals.entropy(*at) == 0
        assert signals.modified_entropy(*at) == (0 if phi > 0 else INF)


ALL = ("phi", "margin", "entropy", "modified_entropy")


def test_nan_only_where_nothing_is_defined():
    nowhere = np.float32([[NAN, 0, 1], [0, NAN, 1], [0, 1, NAN], [NAN, INF, 0], [-INF] * 3])
    for name in ALL:
        for y in range(3):
            value = getattr(signals, name)(nowhere, np.full(5, y))
            assert np.isnan(value).all(), (name, y)
    several = np.float32([[INF, INF, 0]])
    assert signals.phi(several, np.array([2])) == signals.margin(several, np.array([2])) == -INF
    for of in (signals.phi, signals.margin):
        assert np.isnan(of(several, np.array([0]))).all()
    for of in (signals.entropy, signals.modified_entropy):
        assert np.isnan(of(several, np.array([0]))).all()
    both = np.float32([[0, 1, 2], [NAN, 1, 2]])  # a row does not spoil another
    for name in ALL:
        np.testing.assert_array_equal(
            np.isnan(getattr(signals, name)(both, np.array([0, 0]))), [False, True]
        )


@pytest.mark.parametrize("name", ALL)
def test_memory_is_at_most_three_times_the_logits(name):
    z, y = jax.ShapeDtypeStruct((8, 100, 1000), jnp.float32), jax.ShapeDtypeStruct((8, 100), int)
    needs = jax.jit(getattr(signals, name)).lower(z, y).compile().memory_analysis()
    assert needs.temp_size_in_bytes <= 3 * 8 * 100 * 1000 * 4
    assert needs.output_size_in_bytes == 8 * 100 * 4


def test_half_precision_is_worked_out_in_float32():
    z = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float16)
    for name in ALL:
        of, y = getattr(signals, name), np.arange(20)
        np.testing.assert_array_equal(of(z, y), of(z.astype(np.float32), y))


def test_logits_of_no_class_are_refused():
    with pytest.raises(ValueError, match="at least one class"):
        signals.phi(np.zeros((3, 0), np.float32), np.zeros(3, int))
