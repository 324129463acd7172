import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from jaxmia import data

SHARED = Path(__file__).parents[2] / "shared" / "data"


def test_digits():
    pool = data.digits()()
    assert pool.x.shape == (1438, 64) and pool.x_test.shape == (359, 64)
    assert pool.x.dtype == np.uint8 and pool.x.max() == 16 and pool.classes == 10
    images = data.digits(image=True)()
    np.testing.assert_array_equal(images.x.reshape(1438, 64), pool.x)
    assert data.digest(pool) == data.digest(data.digits()()) != data.digest(images)


def test_held_out_parts_are_disjoint_and_fixed():
    for size in (3, 10, 359):
        d = data.first(data.synthetic(20, 4, 3, test=size), 20)()
        parts = data.held_out(d)
        assert sorted(np.concatenate(parts)) == list(range(size))
        assert all(len(p) for p in parts) or size == 3
        again = data.held_out(d)
        for a, b in zip(parts, again, strict=True):
            np.testing.assert_array_equal(a, b)


def test_sources_are_values():
    assert data.first(data.digits(), 10) == data.first(data.digits(), 10)
    assert repr(data.arrays("a.npz")) == "arrays('a.npz')"
    pool = data.random_labels(data.digits())()
    assert (pool.y == data.digits()().y).mean() < 0.2
    np.testing.assert_array_equal(pool.x, data.digits()().x)


def write(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


X, Y = np.arange(40, dtype=np.float64).reshape(10, 4), np.arange(10) % 3


def test_arrays(tmp_path):
    pool = data.arrays(write(tmp_path / "a.npz", x=X, y=Y, person=np.arange(10) // 2))()
    assert len(pool.y) == 8 and len(pool.y_test) == 2 and pool.classes == 3
    np.testing.assert_allclose(((pool.x - pool.shift) / pool.scale).std(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(pool.person, pool.x[:, 0].astype(int) // 8)
    whole = data.arrays(write(tmp_path / "b.npz", x=X, y=Y, x_test=X[:3], y_test=Y[:3]))()
    assert len(whole.y) == 10 and len(whole.y_test) == 3
    images = data.arrays(write(tmp_path / "c.npz", x=np.zeros((9, 2, 2, 1), np.uint8), y=Y[:9]))()
    assert images.shift == 127.5 and images.x.dtype == np.uint8
    flat = data.arrays(write(tmp_path / "d.npz", x=X * 0 + 5, y=Y))()
    assert np.isfinite((flat.x - flat.shift) / flat.scale).all()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X}, "has no array 'y'"),
        ({"y": Y}, "has no array 'x'"),
        ({"x": X, "y": Y[:-1]}, "x has 10 examples, y has 9"),
        ({"x": X, "y": Y + 0.5}, "needs whole numbers"),
        ({"x": X, "y": Y - 1}, "has label -1"),
        ({"x": X, "y": Y * 0}, "one class only"),
        ({"x": X, "y": Y + 2**40}, "has label 10995"),
        ({"x": X[:1], "y": Y[:1]}, "at least 2"),
        ({"x": X[:0], "y": Y[:0]}, "at least 2"),
        ({"x": X + np.nan, "y": Y}, "NaN or infinite"),
        ({"x": X + np.inf, "y": Y}, "NaN or infinite"),
        ({"x": X[:, 0], "y": Y}, "needs numbers"),
        ({"x": X.astype(str), "y": Y}, "needs numbers"),
        ({"x": X.astype(object), "y": Y}, "plain arrays.*save it as x=x.astype.float."),
        ({"x": X, "y": Y.astype(object)}, "save it as y=y.astype.int."),
        ({"x": X, "y": Y, "person": Y.astype(object)}, "save it as person=person.astype.str."),
        ({"x": X[:4], "y": Y[:4]}, "x has 4 examples, at least 5 .* a fifth aside; or give x_test"),
        ({"x": X, "y": Y, "x_test": X[:0], "y_test": Y[:0]}, "x_test has 0 examples, at least 1"),
        ({"x": X[:, :0], "y": Y}, r"x is float64 \(10, 0\)"),
        ({"x": X + (X == 38) * 1e300, "y": Y}, "1e.300 in example 9, feature 2"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y * 0 - 1}, "y_test has label -1 in example 0"),
        ({"x": X, "y": np.array([0, 7, 50000])[Y]}, "50001 classes, of which 3"),
        ({"x": X, "y": Y, "y_test": Y}, "go together"),
        ({"x": X, "y": Y, "x_test": X}, "go together"),
        ({"x": X, "y": Y, "x_test": X[:, :2], "y_test": Y}, "x_test holds"),
        ({"x": X, "y": Y, "person": Y[:4]}, "person"),
    ],
)
def test_bad_arrays_are_one_clear_line(tmp_path, arrays, words):
    file = write(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=words) as error:
        data.arrays(file)()
    assert "bad.npz" in str(error.value) and "\n" not in str(error.value)


def test_arrays_take_what_can_mean_one_thing_only(tmp_path):
    names = np.array(["b", "a", "c", "a", "b", "c", "c", "a", "b", "a"])
    more = {"person": names, "label_names": np.array(["u", "v", "w"])}
    file = write(tmp_path / "a.npz", x=X % 3 > 1, y=Y[:, None].astype(float), **more)
    content = data.arrays(file)()
    pool = data.arrays(write(tmp_path / "b.npz", x=X, y=Y, person=np.arange(10)))().person
    np.testing.assert_array_equal(content.person, np.array([1, 0, 2, 0, 1, 2, 2, 0, 1, 0])[pool])
    np.testing.assert_array_equal(content.y, Y[pool])
    np.testing.assert_array_equal(content.x, (X % 3 > 1)[pool])
    assert content.x.dtype == np.uint8 and content.label_names == ("u", "v", "w")


def test_arrays_as_they_are(tmp_path):
    columns = write(tmp_path / "a.npz", x=(X > 20).astype(np.uint8), y=Y)
    pool = data.arrays(columns, standardise=False)()
    assert (pool.shift, pool.scale) == (0, 1)
    images = write(tmp_path / "b.npz", x=np.full((10, 4, 4), 255, np.uint8), y=Y)
    assert data.arrays(images, standardise=False)().shift == 127.5
    seconds = write(tmp_path / "c.npz", x=1.7e9 + X, y=Y)
    with pytest.raises(ValueError, match="c.npz: feature 0 of x runs from 17000.* standardise"):
        data.arrays(seconds, standardise=False)()


def test_bad_files_are_one_clear_line(tmp_path):
    good = Path(write(tmp_path / "a.npz", x=X, y=Y))
    (tmp_path / "short.npz").write_bytes(good.read_bytes()[:-30])
    (tmp_path / "text.npz").write_text("x,y")
    np.save(tmp_path / "one.npy", X)
    for name in ("short.npz", "text.npz", "one.npy"):
        with pytest.raises(ValueError, match=name):
            data.arrays(str(tmp_path / name))()
    for name, words in (("one.npy", "a single array"), ("text.npz", "begins with b'x,y'")):
        with pytest.raises(ValueError, match=f"{words}.*np.savez") as error:
            data.arrays(str(tmp_path / name))()
        assert "pickle" not in str(error.value)
    for name in ("absent.npz", "."):
        with pytest.raises(FileNotFoundError, match="is no file"):
            data.arrays(str(tmp_path / name))()
    with pytest.raises(ValueError, match="has label 2, allowed are 0 to 1"):
        data.arrays(str(good), classes=2)()


def test_synthetic_refuses():
    with pytest.raises(ValueError, match="classes=0"):
        data.synthetic(classes=0)
    with pytest.raises(ValueError, match="shape"):
        data.synthetic(features=5, shape=(2, 2))


@pytest.mark.skipif(not SHARED.exists(), reason="CIFAR-10 lies only beside some checkouts")
def test_cifar10_reads_as_arrays(tmp_path):
    import importlib.util

    spec = importlib.util.spec_from_file_location("imgpack", SHARED / "imgpack.py")
    imgpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(imgpack)
    x, more = imgpack.load(str(SHARED / "cifar10_nl3_test.npz"))
    pool = data.arrays(write(tmp_path / "cifar.npz", x=x, y=more["y"]))()
    assert pool.x.shape == (8000, 32, 32, 3) and pool.classes == 10


def digest_elsewhere(out):
    out.put(data.digest(data.digits()()))


def test_the_pool_is_the_same_in_every_process():
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    child = context.Process(target=digest_elsewhere, args=(out,))
    child.start()
    assert out.get(timeout=120) == data.digest(data.digits()())
    child.join()
