import importlib
import json
import shutil
import struct
import subprocess
import sys
import types
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxmia import data
from jaxmia.types import Data

COUNTS = {"train": 40, "test": 10}


def example(split: str, i: int) -> tuple[np.ndarray, int]:
    rng = np.random.default_rng([len(split), i])
    return rng.integers(0, 256, (6, 5, 3)).astype(np.uint8), int(rng.integers(4))


class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """A small set that is really prepared."""

    pkg_dir_path = None  # this module is no package that could hold metadata
    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(6, 5, 3), dtype=np.uint8),
                "label": tfds.features.ClassLabel(names=["a", "b", "c", "</script>"]),
                "id": tfds.features.Scalar(dtype=np.int64),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {s: self._generate_examples(s) for s in COUNTS}

    def _generate_examples(self, split):
        for i in range(COUNTS[split]):
            image, label = example(split, i)
            yield i, {"image": image, "label": label, "id": i}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    TinyShapes(data_dir=str(root), file_format="array_record").download_and_prepare()
    return root


def expected(split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*(example(split, i) for i in range(COUNTS[split])), strict=True)
    return np.stack(images), np.array(labels)


def test_reads_array_record(prepared):
    pool = data.tfds("tiny_shapes", str(prepared))()
    for x, y, split in ((pool.x, pool.y, "train"), (pool.x_test, pool.y_test, "test")):
        np.testing.assert_array_equal(x, expected(split)[0])
        np.testing.assert_array_equal(y, expected(split)[1])
    assert pool.classes == 4 and pool.label_names[-1] == "</script>"
    assert pool.x.dtype == np.uint8 and pool.shift == 127.5


def test_reads_tfrecord(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "set")
    (folder,) = (tmp_path / "set").glob("*/1.2.0")
    from array_record.python.array_record_module import ArrayRecordReader

    info = json.loads((folder / "dataset_info.json").read_text())
    for split in COUNTS:
        (old,) = folder.glob(f"*-{split}.array_record*")
        reader = ArrayRecordReader(str(old))
        with open(str(old).replace("array_record", "tfrecord"), "wb") as out:
            for record in reader.read_all():
                out.write(struct.pack("<Q", len(record)) + bytes(4) + record + bytes(4))
        reader.close()
        old.unlink()
    info["fileFormat"] = "tfrecord"
    for split in info["splits"]:
        split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    (folder / "dataset_info.json").write_text(json.dumps(info))
    pool = data.tfds("tiny_shapes", str(tmp_path / "set"))()
    np.testing.assert_array_equal(pool.x, expected("train")[0])
    np.testing.assert_array_equal(pool.y_test, expected("test")[1])
    (file,) = folder.glob("*-train.tfrecord*")
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(ValueError, match="middle of a record"):
        data.tfds("tiny_shapes", str(tmp_path / "set"))()


def test_without_a_test_split_a_fifth_is_set_aside(prepared):
    pool = data.tfds("tiny_shapes", str(prepared), test="nowhere")()
    assert (len(pool.y), len(pool.y_test)) == (32, 8)


def test_reading_needs_no_tensorflow(prepared):
    code = (
        "import sys; from jaxmia import data\n"
        f"assert len(data.tfds('tiny_shapes', {str(prepared)!r})().y) == 40\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_not_prepared_fails_at_once_and_names_the_command(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    assert len(data.tfds("tiny_shapes")().y) == 40
    with pytest.raises(FileNotFoundError, match="jaxmia data prepare cifar10"):
        data.tfds("cifar10")()


def test_an_unreachable_network_is_one_clear_line(tmp_path, monkeypatch):
    class Builder:
        def download_and_prepare(self):
            raise ConnectionError("no route to www.example.org")

    library = types.SimpleNamespace(builder=lambda *_, **__: Builder())
    monkeypatch.setattr(importlib.import_module("jaxmia.data.tfds"), "_library", lambda: library)
    with pytest.raises(RuntimeError, match="cannot prepare cifar10 in .*no route"):
        data.prepare("cifar10", str(tmp_path))


def test_ready_lists_what_lies_there(prepared, tmp_path):
    (entry,) = data.ready(str(prepared))
    assert entry[:4] == ("tiny_shapes", "1.2.0", 50, "array_record")
    assert data.ready(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("features.json", {"pythonClassName": "os.path.FeaturesDict"}, "is not allowed"),
        ("dataset_info.json", {"fileFormat": "parquet"}, "fileFormat='parquet'"),
    ],
)
def test_refuses(prepared, tmp_path, file, change, words):
    shutil.copytree(prepared, tmp_path / "set")
    (path,) = (tmp_path / "set").glob(f"*/*/{file}")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=words):
        data.tfds("tiny_shapes", str(tmp_path / "set"))()


def test_lost_rows_are_noticed(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "set")
    (path,) = (tmp_path / "set").glob("*/*/dataset_info.json")
    info = json.loads(path.read_text())
    info["splits"][0]["shardLengths"] = ["41"]
    info["splits"][1]["shardLengths"] = ["41"]
    path.write_text(json.dumps(info))
    with pytest.raises(ValueError, match="ends after|holds 40"):
        data.tfds("tiny_shapes", str(tmp_path / "set"))()


class Numbers(tfds.core.GeneratorBasedBuilder):
    """A set of one's own numbers: `rows` are the features of each split's examples."""

    pkg_dir_path = None
    VERSION = tfds.core.Version("1.0.0")
    features: dict = {}
    rows: dict = {}

    def _info(self):
        features = tfds.features.FeaturesDict(self.features)
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {s: self._generate_examples(s) for s in self.rows}

    def _generate_examples(self, split):
        yield from enumerate(self.rows[split])


def numbers(monkeypatch, root, x, y=None, features=None) -> Callable[[], Data]:
    """The source of a set that is really prepared, with these examples in both splits."""
    y = np.arange(len(x)) % 3 if y is None else y
    rows = [{"x": a, "y": int(b)} for a, b in zip(x, y, strict=True)]
    usual = {
        "x": tfds.features.Tensor(shape=x.shape[1:], dtype=x.dtype.type),
        "y": tfds.features.ClassLabel(num_classes=3),
    }
    monkeypatch.setattr(Numbers, "features", features or usual)
    monkeypatch.setattr(Numbers, "rows", {"train": rows, "test": rows[:4]})
    Numbers(data_dir=str(root), file_format="array_record").download_and_prepare()
    return data.tfds("numbers", str(root))


RNG = np.random.default_rng(0)
KINDS = {
    "uint16 images": RNG.integers(0, 2**16, (12, 4, 4, 1)).astype(np.uint16),
    "floats": (100 + RNG.normal(size=(12, 3))).astype(np.float32),
    "integers": 10**10 + RNG.integers(0, 9, (12, 3)),
    "bits": RNG.integers(0, 2, (12, 3)).astype(np.uint8),
}


@pytest.mark.parametrize("x", KINDS.values(), ids=KINDS)
def test_numbers_of_any_kind_are_standardised(monkeypatch, tmp_path, x):
    pool = numbers(monkeypatch, tmp_path, x)()
    z = (x - x.mean(0, dtype=np.float64)) / x.std(0, dtype=np.float64)
    np.testing.assert_allclose((pool.x - pool.shift) / pool.scale, z, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose((pool.x_test - pool.shift) / pool.scale, z[:4], rtol=1e-5, atol=1e-5)


def test_numbers_that_cannot_be_used_are_refused(monkeypatch, tmp_path):
    for i, value in enumerate((np.nan, np.inf, 1e300)):
        x = RNG.normal(size=(12, 3))
        x[5, 1] = value
        with pytest.raises(ValueError, match="numbers.*x of split 'train' has NaN or infinite"):
            numbers(monkeypatch, tmp_path / str(i), x)()
        with pytest.raises(ValueError, match="in example 5, feature 1"):
            data.tfds("numbers", str(tmp_path / str(i)))()
    with pytest.raises(ValueError, match="numbers.*one class only"):
        numbers(monkeypatch, tmp_path / "one", RNG.normal(size=(12, 3)), np.full(12, 2))()
    with pytest.raises(ValueError, match="unlabelled"):
        numbers(monkeypatch, tmp_path / "none", RNG.normal(size=(12, 3)), np.full(12, -1))()


NO_LABEL = {
    "x": tfds.features.Tensor(shape=(3,), dtype=np.float64),
    "y": tfds.features.Scalar(np.int64),
}
NO_NUMBERS = {
    "x": tfds.features.Tensor(shape=(3,), dtype=np.str_),
    "y": tfds.features.ClassLabel(num_classes=3),
}


def test_sets_that_are_no_classification_sets_say_what_they_have(monkeypatch, tmp_path):
    rows = RNG.normal(size=(12, 3))
    words = r"numbers: has no class label, .*its features are x \(Tensor\), y \(Scalar\)"
    for options in ({}, {"label": "y"}):
        numbers(monkeypatch, tmp_path / "a", rows, features=NO_LABEL)
        with pytest.raises(ValueError, match=words):
            data.tfds("numbers", str(tmp_path / "a"), **options)()
    source = numbers(
        monkeypatch, tmp_path / "b", rows.astype(str).astype(object), features=NO_NUMBERS
    )
    with pytest.raises(ValueError, match="has no image or tensor of numbers"):
        source()
    numbers(monkeypatch, tmp_path / "c", rows)
    with pytest.raises(ValueError, match=r"label=..., one of \['y'\] is needed, 'x' is none"):
        data.tfds("numbers", str(tmp_path / "c"), label="x")()
