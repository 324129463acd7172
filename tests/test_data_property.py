"""Drawn sources: one clear line exactly where nothing can be made of them, else float64's numbers.

Whether a draw can be used follows from what it was drawn from, and not from the code under test.
"""

import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmia import data
from jaxmia.types import Data

FLOATS = ("float16", "float32", "float64")
WHOLE = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
NO_NUMBERS = ("object", "U", "complex128", "longdouble", "S4")
COLUMNS = {  # of n random numbers u in [0, 1)
    "normal": lambda u: 6 * u - 3,
    "constant": lambda u: 0 * u + 0.1,
    "whole": lambda u: np.floor(100 * u),
    "bits": lambda u: np.floor(2 * u),
    "outlier": lambda u: np.where(u == u.max(), 1e4, u),
    "seconds": lambda u: 1.7e9 + np.floor(1000 * u),
    "tiny": lambda u: 1e-30 * u,
    "huge": lambda u: 1e37 * u,
}
BAD_VALUES = (np.nan, np.inf, -np.inf, 1e300)
SHAPES = ((3,), (1,), (2, 2), (2, 2, 1), (2, 1, 1, 2), (), (0,), (2, 0))
LABELS = {  # of numbers 0, 1, 2, ...: the labels, and whether they are some of three classes
    "three": (lambda i: i % 3, True),
    "floats": (lambda i: (i % 3).astype(np.float32), True),
    "column": (lambda i: (i % 3)[:, None], True),
    "bool": (lambda i: i % 2 == 0, True),
    "bytes": (lambda i: (i % 3).astype(np.uint8), True),
    "one class": (lambda i: i * 0 + 1, False),
    "gaps": (lambda i: np.array([0, 7, 50000])[i % 3], False),
    "negative": (lambda i: i % 3 - 1, False),
    "halves": (lambda i: i % 3 + 0.5, False),
    "nan": (lambda i: np.where(i == 0, np.nan, i % 3), False),
    "names": (lambda i: (i % 3).astype(str), False),
    "objects": (lambda i: (i % 3).astype(object), False),
    "one-hot": (lambda i: np.eye(3)[i % 3], False),
    "ids": (lambda i: i + 10**12, False),
}
PERSONS = {
    "none": (None, True),
    "whole": (lambda i: i // 2 + 10**12, True),
    "names": (lambda i: np.char.add("p", (i // 2).astype(str)), True),
    "column": (lambda i: (i // 2)[:, None], True),
    "halves": (lambda i: i / 2 + 0.25, False),
    "objects": (lambda i: (i // 2).astype(object), False),
    "too many": (lambda i: np.arange(len(i) + 1), False),
}


def rows(rng, n: int, shape: tuple, kind: str, columns: list[str]) -> np.ndarray:
    """Examples whose features are the columns in turn, of any kind of number."""
    features = int(np.prod(shape))
    u = rng.random((n, features))
    values = [
        COLUMNS[columns[f % len(columns)]](u[:, f]) if n else u[:, f] for f in range(features)
    ]
    x = np.stack(values, 1).reshape(n, *shape) if features else np.zeros((n, *shape))
    if kind in WHOLE and kind != "bool":
        info = np.iinfo(kind)
        x = np.clip(x, max(info.min, -(2**62)), min(info.max, 2**62))
    elif kind == "float16":
        x = np.clip(x, -6e4, 6e4)
    return x.astype(kind)


def network(content: Data, x: np.ndarray) -> np.ndarray:
    """What a network gets of stored examples."""
    x = jnp.asarray(x).astype(jnp.float32)
    shift, scale = (
        jnp.broadcast_to(jnp.asarray(a), x.shape) for a in (content.shift, content.scale)
    )
    return np.asarray((x - shift) / scale)


def reference(x: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """In float64: 8-bit images from -1 to 1, other features by the pool's mean and deviation."""
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        largest = float(pool.max())
        half = 127.5 if largest > 127 or largest == 0 else largest / 2
        return x / half - 1
    x, pool = x.astype(np.float64), pool.astype(np.float64)
    constant = pool.max(0) == pool.min(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (x - pool.mean(0)) / pool.std(0)
    return np.where(constant, x - pool[0], z)


def same(content: Data, x: np.ndarray, x_test: np.ndarray) -> None:
    x, x_test = (a.astype(np.uint8) if a.dtype == bool else a for a in (x, x_test))
    for stored, own in ((content.x, x), (content.x_test, x_test)):
        np.testing.assert_allclose(
            network(content, stored), reference(own, x), rtol=1e-5, atol=1e-5
        )
    assert content.x.dtype == np.float32 or content.x.dtype.itemsize <= 2


@pytest.mark.usefixtures("as_users_run")
@settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(sample=st.data())
def test_any_npz(sample):
    of = st.sampled_from
    often = sample.draw(st.booleans())  # or most would be refused
    kind = sample.draw(of(FLOATS + WHOLE + (() if often else NO_NUMBERS)))
    shape = sample.draw(of(SHAPES[:5] if often else SHAPES))
    n = sample.draw(of((12, 20) if often else (0, 1, 2, 4, 5, 12)))
    tests = sample.draw(of((0, 1, 5)))
    split = sample.draw(st.booleans()) or (often and not tests)
    columns = sample.draw(st.lists(of(sorted(COLUMNS)), min_size=1, max_size=4))
    y_name, p_name = sample.draw(of(sorted(LABELS))), sample.draw(of(sorted(PERSONS)))
    if often:
        y_name, p_name = (
            sample.draw(of([k for k, (_, good) in table.items() if good]))
            for table in (LABELS, PERSONS)
        )
    rng = np.random.default_rng(sample.draw(st.integers(0, 1000)))
    x, x_test = (rows(rng, m, shape, kind, columns) for m in (n, tests))
    bad = kind in FLOATS and x.size and not often and sample.draw(st.booleans())
    if bad:
        with np.errstate(over="ignore"):
            x.flat[sample.draw(st.integers(0, x.size - 1))] = sample.draw(of(BAD_VALUES))
    label, labels_fit = LABELS[y_name]
    person, persons_fit = PERSONS[p_name]
    fields = {"x": x, "y": label(np.arange(n))}
    if not split:
        fields |= {"x_test": x_test, "y_test": label(np.arange(tests))}
    if person is not None:
        fields["person"] = person(np.arange(n))
    pool, aside = data.pool.fifth_aside(n) if split else (np.arange(n), None)
    usable = (
        kind not in NO_NUMBERS and x.ndim > 1 and 0 not in shape and not bad
        and labels_fit and persons_fit and n >= (5 if split else 2) and (split or tests > 0)
        and len(np.unique(fields["y"][pool])) > 1
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "drawn.npz")
        np.savez(file, **fields)
        try:
            content = data.arrays(file)()
        except ValueError as error:
            assert not usable, error
            assert str(error).startswith(file) and "\n" not in str(error)
            return
    assert usable
    same(content, x[pool], x[aside] if split else x_test)
    np.testing.assert_array_equal(content.y, fields["y"].reshape(-1)[pool])
    if person is not None:
        of_all = fields["person"].reshape(-1)[pool]
        pairs = content.person[:, None] == content.person[None]
        np.testing.assert_array_equal(pairs, of_all[:, None] == of_all[None])
    assert data.digest(data.usable(content)) == data.digest(content)


class AnySet(tfds.core.GeneratorBasedBuilder):
    """A set of what was drawn."""

    pkg_dir_path = None
    VERSION = tfds.core.Version("1.0.0")
    shape: tuple = ()
    kind: type = np.float32
    rows: dict = {}

    def _info(self):
        features = {
            "x": tfds.features.Tensor(shape=self.shape, dtype=self.kind),
            "y": tfds.features.ClassLabel(num_classes=3),
        }
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {s: self._generate_examples(s) for s in self.rows}

    def _generate_examples(self, split):
        for i, (x, y) in enumerate(zip(*self.rows[split], strict=True)):
            yield i, {"x": x, "y": int(y)}


@pytest.mark.usefixtures("as_users_run")
@settings(deadline=None, max_examples=25, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(sample=st.data())
def test_any_tfds_set(sample):
    of = st.sampled_from
    kind = sample.draw(of(("uint8", "uint16", "int32", "int64", "float32", "bool")))
    shape, n = sample.draw(of(SHAPES[:5])), sample.draw(of((1, 2, 4, 12, 20)))
    tests = sample.draw(of((0, 1, 5)))  # 0: no such split
    columns = sample.draw(st.lists(of(sorted(COLUMNS)), min_size=1, max_size=4))
    rng = np.random.default_rng(sample.draw(st.integers(0, 1000)))
    x, x_test = (rows(rng, m, shape, kind, columns) for m in (n, tests))
    bad = kind == "float32" and sample.draw(st.booleans())
    if bad:
        x.flat[sample.draw(st.integers(0, x.size - 1))] = sample.draw(of(BAD_VALUES[:3]))
    one_class = sample.draw(of((False, False, True)))
    y = np.full(n, 2) if one_class else np.arange(n) % 3
    AnySet.shape, AnySet.kind = shape, np.dtype(kind).type
    AnySet.rows = {"train": (x, y)} | ({"test": (x_test, y[:1].repeat(tests))} if tests else {})
    pool, aside = (np.arange(n), None) if tests else data.pool.fifth_aside(n)
    usable = not bad and len(np.unique(y[pool])) > 1 and (tests > 0 or n >= 5)
    with tempfile.TemporaryDirectory() as folder:
        AnySet(data_dir=folder, file_format="array_record").download_and_prepare()
        try:
            content = data.tfds("any_set", folder)()
        except ValueError as error:
            assert not usable, error
            assert str(error).startswith(folder) and "\n" not in str(error)
            return
    assert usable
    same(content, x[pool], x_test if tests else x[aside])
    np.testing.assert_array_equal(content.y, y[pool])
