"""The one check and the one standardisation: what a source may hold, and what a network sees."""

import re
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmia import data
from jaxmia.types import Data

N = 40
RNG = np.random.default_rng(0)
Y = np.arange(N) % 4
DIGITS = "ade63060bf5aff7b870e464091c9d5af8ca0aee8d7ec76dd505a937b10169fa1"


def network(pool: Data, x=None) -> np.ndarray:
    """What a network gets: the pool as the device has it, shifted and scaled in float32."""
    x = jnp.asarray(pool.x if x is None else x).astype(jnp.float32)
    shift, scale = (jnp.broadcast_to(jnp.asarray(a), x.shape) for a in (pool.shift, pool.scale))
    return np.asarray((x - shift) / scale)


def reference(x, pool) -> np.ndarray:
    """Standardised by the pool, in float64."""
    x, pool = np.asarray(x, np.float64), np.asarray(pool, np.float64)
    constant = pool.max(0) == pool.min(0)
    deviation = np.where(constant, 1, pool.std(0))
    return (x - np.where(constant, pool[0], pool.mean(0))) / deviation


def mine(x, y=Y, **more) -> Data:
    return Data("mine", x, y, more.pop("x_test", x[:5]), more.pop("y_test", y[:5]), 4, **more)


def test_sources_that_ship_are_as_they_were():
    assert data.digest(data.digits()()) == DIGITS
    for source, x, y in ((data.synthetic(), -239.20387, 4547), (data.people(), -530.54902, 4462)):
        pool = source()
        np.testing.assert_allclose((pool.x.sum(dtype=np.float64), pool.y.sum()), (x, y), rtol=1e-6)
        assert pool.x.dtype == np.float32 and (pool.shift, pool.scale) == (0, 1)
    for source in (data.digits(), data.digits(True), data.synthetic(), data.people(known=True)):
        assert data.digest(data.usable(source())) == data.digest(source())


COLUMNS = {
    "bits": (RNG.random((N, 9)) < 0.1).astype(np.uint8),
    "bools": RNG.random((N, 3)) < 0.5,
    "flat images": RNG.integers(0, 256, (N, 12)).astype(np.uint8),
    "16 bits": RNG.integers(0, 2**16, (N, 4, 4, 1)).astype(np.uint16),
    "floats of images": RNG.random((N, 4, 4, 3)),
    "half": RNG.normal(size=(N, 4)).astype(np.float16),
    "seconds": 1.7e9 + RNG.normal(size=(N, 2)),
    "seconds as int64": 1_700_000_000 + np.arange(2 * N).reshape(N, 2),
    "nanoseconds": 1_700_000_000 * 10**9 + np.arange(2 * N).reshape(N, 2) * 10**9,
    "seconds in float32": (2.0**30 + 128 * np.arange(N))[:, None].astype(np.float32),
    "huge": RNG.normal(size=(N, 2)) * 1e38,
    "tiny": RNG.normal(size=(N, 2)) * 1e-100,
    "years": RNG.integers(1990, 2020, (N, 2)),
    "all at once": np.stack([1e9 + Y, 1e-9 * Y, Y, np.full(N, 0.1), 1e30 * Y], 1),
}  # fmt: skip


@pytest.mark.parametrize("x", COLUMNS.values(), ids=COLUMNS)
def test_numbers_are_standardised_as_in_float64(x, tmp_path):
    np.savez(tmp_path / "a.npz", x=x, y=Y, x_test=x[5:9], y_test=Y[5:9])
    for pool in (data.standardise(mine(x)), data.arrays(str(tmp_path / "a.npz"))()):
        np.testing.assert_allclose(network(pool), reference(x, x), rtol=1e-5, atol=1e-5)
        rows = slice(0, 5) if pool.name == "mine" else slice(5, 9)
        want = reference(x[rows], x)
        np.testing.assert_allclose(network(pool, pool.x_test), want, rtol=1e-5, atol=1e-5)
        again = data.usable(pool)
        assert data.digest(again) == data.digest(pool)


def test_a_feature_whose_square_is_zero_in_float64_is_standardised():
    x = RNG.normal(size=(N, 2))
    inputs = network(data.standardise(mine(x * 1e-200)))
    np.testing.assert_allclose(inputs, reference(x, x), rtol=1e-5, atol=1e-5)


def test_what_float32_holds_is_stored_as_it_is():
    for name in ("bits", "flat images", "16 bits", "half"):
        x = COLUMNS[name]
        pool = data.standardise(mine(x))
        assert pool.x.dtype == x.dtype
        np.testing.assert_array_equal(pool.x, x)
    for name in ("seconds", "seconds as int64", "seconds in float32", "huge", "tiny"):
        pool = data.standardise(mine(COLUMNS[name]))
        assert pool.x.dtype == np.float32 and pool.shift == 0 and pool.scale == 1
    floats = RNG.normal(size=(N, 3)) * 5 + 3
    np.testing.assert_array_equal(data.standardise(mine(floats)).x, floats.astype(np.float32))


@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5, 1), (6, 5)])
def test_images_of_8_bits_are_seen_from_minus_1_to_1(shape):
    x = RNG.integers(0, 256, (N, *shape)).astype(np.uint8)
    pool = data.standardise(mine(x))
    assert pool.x is x and pool.shift == pool.scale == 127.5
    np.testing.assert_allclose(network(pool), x / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("largest", [1, 16, 127])
def test_images_of_few_levels_are_not_black(largest):
    x = RNG.integers(0, largest + 1, (N, 4, 4)).astype(np.uint8)
    x[0, 0, 0] = largest
    inputs = network(data.standardise(mine(x)))
    np.testing.assert_allclose(inputs, x / (largest / 2) - 1, atol=1e-6)
    assert (inputs.min(), inputs.max()) == (-1, 1)
    black = data.standardise(mine(np.zeros((N, 4, 4), np.uint8)))
    assert black.shift == black.scale == 127.5


@pytest.mark.parametrize(
    "value", [0, 5, 0.1, 1e-30, 1e9 + 0.5, -1e37], ids=lambda v: f"{v:g}"
)  # the mean of many 0.1 is not 0.1
def test_a_constant_feature_is_seen_as_zero(value):
    x = np.stack([np.full(N, value), Y], 1)
    for kind in (np.float64, np.float32):
        inputs = network(data.standardise(mine(x.astype(kind))))
        np.testing.assert_array_equal(inputs[:, 0], 0)
        np.testing.assert_allclose(inputs[:, 1], reference(Y[:, None], Y[:, None])[:, 0], atol=1e-6)


def test_the_sources_own_scaling_is_kept():
    x = RNG.normal(size=(N, 3)) * 2 + 7
    own = data.usable(mine(x, shift=x.mean(0), scale=x.std(0)))
    np.testing.assert_allclose(network(own), reference(x, x), rtol=1e-5, atol=1e-5)
    seconds = COLUMNS["seconds"]
    own = data.usable(mine(seconds, shift=seconds.mean(0), scale=seconds.std(0)))
    np.testing.assert_allclose(network(own), reference(seconds, seconds), rtol=1e-5, atol=1e-5)
    channels = RNG.integers(0, 256, (N, 4, 4, 3)).astype(np.uint8)
    own = data.usable(mine(channels, shift=np.float32([10, 20, 30]), scale=np.float32(60)))
    assert own.x is channels
    np.testing.assert_allclose(network(own), (channels - np.array([10, 20, 30])) / 60, atol=1e-5)


@pytest.mark.parametrize(
    ("y", "want"),
    [
        (Y.astype(np.float64), Y),
        (Y.astype(np.uint8), Y),
        (Y > 1, Y > 1),
        (Y[:, None], Y),
        (Y[:, None].astype(np.float16), Y),
    ],
)
def test_labels_that_can_mean_one_thing_only(y, want, as_users_run):
    pool = data.usable(mine(RNG.normal(size=(N, 2)), y))
    assert pool.y.dtype == np.int32 and pool.y_test.dtype == np.int32
    np.testing.assert_array_equal(pool.y, want)


def test_persons_may_be_names(as_users_run):
    names = np.array(["Zoë", "Ann", "ann", "Bob"])[Y]
    pool = data.usable(mine(RNG.normal(size=(N, 2)), person=names))
    assert pool.person.dtype == np.int64
    np.testing.assert_array_equal(pool.person, np.array([2, 0, 3, 1])[Y])
    for person in (Y + 10**12, (Y + 10**12)[:, None], (Y + 10**12) * 1.0):
        pool = data.usable(mine(RNG.normal(size=(N, 2)), person=person))
        np.testing.assert_array_equal(pool.person, Y + 10**12)


X = RNG.normal(size=(N, 3))


def variant(place, value, x=X):
    x = x.copy()
    x[place] = value
    return x


GAPS = np.array([0, 7, 50000])[np.arange(N) % 3]
BAD = [
    ({"x": variant((7, 2), np.nan)}, "x has NaN or infinite entries: nan in example 7, feature 2"),
    ({"x": variant((7, 2), -np.inf)}, "-inf in example 7, feature 2"),
    ({"x": variant((7, 2), 1e300)}, "1e+300 in example 7, feature 2"),
    ({"x": variant((3, 1, 0, 2), np.nan, np.zeros((N, 4, 4, 3)))}, "example 3, feature (1, 0, 2)"),
    ({"x_test": variant((0, 1), np.nan)[:5]}, "x_test has NaN or infinite entries: nan in example"),
    ({"x": X[:1], "y": Y[:1]}, "x has 1 examples, at least 2"),
    ({"x": X[:, :0]}, "x is float64 (40, 0), needs numbers [examples, ...]: these hold none"),
    ({"x": X.reshape(N, 3, 1)[:, :, :0]}, "(40, 3, 0)"),
    ({"x": X[:, 0]}, "x is float64 (40,), needs numbers [examples, ...] (one feature: x[:, None])"),
    ({"x": X.astype(object)}, "x is an array of Python objects: save it as x=x.astype(float)"),
    ({"x": X.astype(str)}, "needs numbers"),
    ({"x": X.astype(complex)}, "x is complex128"),
    ({"x": X.astype(np.longdouble)}, "needs numbers"),
    ({"x_test": X[:0], "y_test": Y[:0]}, "x_test has 0 examples, at least 1"),
    ({"x_test": X[:5, :2]}, "x_test holds (2,), x holds (3,)"),
    ({"x_test": X[:4]}, "x_test has 4 examples, y_test has 5"),
    ({"y": Y[:-1]}, "x has 40 examples, y has 39"),
    ({"y": Y * 0}, "y has one class only"),
    ({"y": Y + 0.5}, "y has 0.5 in example 0, needs whole numbers"),
    ({"y": np.where(Y == 2, np.nan, Y)}, "y has nan in example 2"),
    ({"y": np.where(Y == 2, np.inf, Y)}, "y has inf in example 2"),
    ({"y": Y - 1}, "y has label -1 in example 0"),
    ({"y": Y + (Y == 3)}, "y has label 4, allowed are 0 to 3 (example 3)"),
    ({"y": Y.astype(str)}, "np.unique(y, return_inverse=True)"),
    ({"y": Y.astype(object)}, "y is an array of Python objects: save it as y=y.astype(int)"),
    ({"y": np.eye(4)[Y]}, "y.argmax(1)"),
    ({"y": GAPS, "classes": 50001}, "y numbers 50001 classes, of which 3 have"),
    ({"person": Y[:4]}, "person is int64 (4,), needs [40] ids"),
    ({"person": Y + 0.5}, "person has 0.5 in example 0"),
    ({"person": Y.astype(object)}, "save it as person=person.astype(str)"),
    ({"shift": np.zeros(2)}, "shift is float64 (2,), needs one number, or what broadcasts to"),
    ({"shift": np.zeros((7, 3))}, "shift is float64 (7, 3)"),
    ({"scale": np.array([1, 0, 1])}, "scale must be finite and not 0"),
    ({"shift": np.array(np.nan)}, "shift must be finite"),
    ({"scale": np.array([1, 1e-40, 1])}, "infinite in float32 at feature 1"),
    ({"shape": (2, 2)}, "shape=(2, 2) is not that of examples (3,)"),
    ({"x": 1e9 + X}, "feature 0 of x runs from 9999"),
    ({"x": 2**60 + np.arange(3 * N).reshape(N, 3)}, "too close together"),
    (
        {"x": np.zeros((N, 4, 4), np.uint8), "x_test": np.zeros((5, 4, 4))},
        "x is uint8, x_test float64: images are both uint8",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "words"), BAD, ids=[words[:40] for _, words in BAD])
def test_refuses_in_one_line_with_the_place(fields, words, as_users_run):
    fields = dict(fields)
    x_test, y_test = fields.get("x", X)[:5], np.arange(5) % 2
    d = replace(mine(X, x_test=x_test, y_test=y_test), **fields)
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        data.usable(d)
    assert str(error.value).startswith("mine: ") and "\n" not in str(error.value)
    with pytest.raises(ValueError, match="^file.npz: "):
        data.usable(d, "file.npz")


def test_what_is_lost_in_float64_itself_is_refused():
    long = 2**60 + np.arange(3 * N).reshape(N, 3)
    with pytest.raises(ValueError, match="too close together.*subtract its least value"):
        data.standardise(mine(long))
    np.testing.assert_allclose(
        network(data.standardise(mine(long - 2**60))),
        reference(long - 2**60, long - 2**60),
        atol=1e-5,
    )


def test_a_far_test_example_does_not_hide_the_pool():
    x = RNG.normal(size=(N, 2))
    pool = data.standardise(mine(x, x_test=variant((0, 0), 1e12, x)[:5]))
    np.testing.assert_allclose(network(pool), reference(x, x), atol=1e-5)


def test_some_gaps_in_the_labels_are_allowed():
    few = np.array([0, 7, 99])[np.arange(N) % 3]
    assert data.usable(replace(mine(X), y=few, classes=100)).classes == 100
    names = tuple(map(str, range(1000)))  # whoever names them all means them
    some = replace(mine(X), y=np.arange(N) * 20, classes=1000)
    assert data.usable(replace(some, label_names=names)).classes == 1000
    with pytest.raises(ValueError, match="y numbers 1000 classes, of which 40 have an example"):
        data.usable(some)


def test_two_examples_and_one_to_test_are_enough():
    pool = data.standardise(Data("two", X[:2], Y[:2], X[:1], Y[:1], 2))
    np.testing.assert_allclose(network(pool), reference(X[:2], X[:2]), atol=1e-5)


def test_derived_sources_take_any_labels(as_users_run):
    def loose():
        return mine(X, Y[:, None] * 1.0)

    pool = data.mislabelled(loose, [1, 2])()
    assert pool.y.shape == (N,) and (pool.y != Y).sum() == 2


def test_the_documented_source_runs(tmp_path, monkeypatch, as_users_run):
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    table = np.column_stack([1.7e9 + RNG.integers(0, 99, (900, 2)), np.arange(900) % 2])
    np.savetxt(tmp_path / "mine.csv", table, delimiter=",", header="a,b,y", fmt="%d")
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    exec(block, namespace)
    pool = namespace["mine"]()
    want = reference(table[:800, :2], table[:800, :2])
    np.testing.assert_allclose(network(pool), want, rtol=1e-5, atol=1e-5)
    assert pool.y.dtype == np.int32 and len(pool.y_test) == 100
