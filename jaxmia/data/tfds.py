"""Any prepared TensorFlow Datasets classification set, read without TensorFlow.

Preparing is a step of its own (`jaxmia data prepare NAME`), which may need TensorFlow and a
network; training only reads what lies in the folder.
"""

import json
import logging
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmia.data.fields import CLASSES, labels, numbers
from jaxmia.data.pool import fifth_aside
from jaxmia.data.usable import standardise
from jaxmia.types import Data
from jaxmia.values import factory

# sets of things and scenes that everybody may look at; any other is shown only when asked for
PUBLIC = ("cifar10", "cifar100", "mnist", "fashion_mnist", "kmnist", "emnist", "svhn_cropped")


class Prepared(NamedTuple):
    """A set that lies ready."""

    name: str
    version: str
    examples: int
    format: str
    folder: Path


@factory
def tfds(
    name: str,
    data_dir: str | None = None,
    train: str = "train",
    test: str = "test",
    image: str = "",
    label: str = "",
) -> Callable[[], Data]:
    """The set `name`, or `name/config`, its newest version below `data_dir`.

    `data_dir` is `TFDS_DATA_DIR` or ~/tensorflow_datasets if None. `image` and `label` name the
    features; by default the only image or tensor, and the only class label. Without a split `test`
    a fixed fifth of the pool is set aside. Images of uint8 are seen as x / 127.5 - 1, any other
    numbers (also images of 16 bits or floats) standardised per feature by the pool's mean and
    deviation. Raises `FileNotFoundError`, naming the command that prepares it, for a set that is
    not ready; `ValueError` for one that is no classification set, or that `usable` refuses.
    """

    def load() -> Data:
        folder = _folder(name, data_dir)
        _refuse_foreign(folder)
        builder = _library().builder_from_directory(str(folder))
        x_key, y_key = _keys(name, builder.info.features, image, label)
        x, y = _split(builder, folder, train, x_key, y_key)
        if test in builder.info.splits:
            x_test, y_test = _split(builder, folder, test, x_key, y_key)
        else:
            pool, aside = fifth_aside(len(y))
            x, y, x_test, y_test = x[pool], y[pool], x[aside], y[aside]
        label_feature, public = builder.info.features[y_key], name.split("/")[0] in PUBLIC
        if (many := label_feature.num_classes or 0) > CLASSES:
            raise ValueError(f"{folder}: {y_key} has {many} classes, allowed are {CLASSES}")
        names = tuple(str(n)[:80] for n in label_feature.names) if many else ()
        data = Data(name, x, y, x_test, y_test, many, label_names=names, public=public)
        return standardise(data, str(folder))

    return load


def prepare(name: str, data_dir: str | None = None) -> Prepared:
    """Downloads and prepares a set in array_record format; a no-op where it is ready.

    Where several processes do so at once, one wins and the others take its result. Raises
    `RuntimeError`, naming the extra to install, where TensorFlow is needed and absent, and saying
    what could not be reached (after ten tries in three minutes) where the network is.
    """
    root = folder_of(data_dir)
    if not any(p.name == name for p in ready(data_dir)):
        try:
            builder = _library().builder(name, data_dir=str(root), file_format="array_record")
            builder.download_and_prepare()
        except FileExistsError:  # another process was faster
            pass
        except ImportError as error:
            raise RuntimeError(
                f"preparing {name} needs TensorFlow ({error}): pip install 'jaxmia[prepare]'"
            ) from error
        except OSError as error:
            raise RuntimeError(f"cannot prepare {name} in {root}: {error}") from error
    return next(p for p in ready(data_dir) if p.name == name)


def ready(data_dir: str | None = None) -> list[Prepared]:
    """The sets that lie ready below a folder, by name and version."""
    root, sets = folder_of(data_dir), []
    for file in sorted(root.glob("*/**/dataset_info.json")):
        if not (file.parent / "features.json").is_file():
            continue
        try:
            info = json.loads(file.read_text())
            lengths = [int(n) for s in info["splits"] for n in s.get("shardLengths", [])]
            name = "/".join(file.parent.relative_to(root).parts[:-1])
            kind = info.get("fileFormat") or "tfrecord"
            sets.append(Prepared(name, file.parent.name, sum(lengths), kind, file.parent))
        except (ValueError, KeyError, TypeError, OSError):
            continue  # not finished, or not a data set
    return sets


def _library() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # a line for each of ten tries
    import tensorflow_datasets

    return tensorflow_datasets


def folder_of(data_dir: str | None = None) -> Path:
    """Where TFDS sets lie: as given, TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    folder = data_dir or os.environ.get("TFDS_DATA_DIR")
    return Path(folder).expanduser() if folder else Path.home() / "tensorflow_datasets"


def _folder(name: str, data_dir: str | None) -> Path:
    root = folder_of(data_dir)
    versions = [p for p in ready(data_dir) if p.name == name]
    if not versions:
        have = ", ".join(sorted({p.name for p in ready(data_dir)})) or "none"
        raise FileNotFoundError(
            f"data set {name[:200]!r} is not prepared in {root} (ready there: {have}): "
            f"run `jaxmia data prepare {name[:200]}`"
        )
    kinds = ("array_record", "tfrecord")
    newest = max(versions, key=lambda p: [int(n) for n in p.version.split(".") if n.isdigit()])
    if newest.format not in kinds:
        raise ValueError(f"{newest.folder}: fileFormat={newest.format!r} is not one of {kinds}")
    return newest.folder


def _refuse_foreign(folder: Path) -> None:
    """TFDS imports the modules that features.json names: only its own may be named."""
    pending = [json.loads((folder / "features.json").read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            for key in ("pythonClassName", "type"):
                class_name = node.get(key, "")
                if isinstance(class_name, str) and class_name and not _own(class_name, key):
                    raise ValueError(
                        f"{folder}/features.json: {key} {class_name[:200]!r} is not allowed, "
                        "only modules of tensorflow_datasets"
                    )
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _own(class_name: str, key: str) -> bool:
    return class_name.startswith("tensorflow_datasets.") or (
        key == "type" and "." not in class_name
    )


def _keys(name: str, features: Any, image: str, label: str) -> tuple[str, str]:
    core = _library().features
    if not hasattr(features, "items"):
        raise ValueError(f"{name}: has no named features, so it is no classification set")
    pairs = sorted(features.items())  # the file keeps them in any order
    kinds = {k: type(f).__name__ for k, f in pairs}
    classes = [k for k, f in pairs if isinstance(f, core.ClassLabel)]
    images = [
        k
        for k, f in pairs
        if isinstance(f, (core.Image, core.Tensor))
        and not isinstance(f, (core.ClassLabel, core.Text))
        and f.shape
        and np.dtype(f.np_dtype).kind in "buif"
    ]
    return (
        _only(name, "image", "image or tensor of numbers", image, images, kinds),
        _only(name, "label", "class label", label, classes, kinds),
    )


def _only(
    name: str, option: str, noun: str, choice: str, fit: list[str], kinds: dict[str, str]
) -> str:
    """The one feature that fits, or among them the `choice`."""
    if not fit:
        raise ValueError(
            f"{name}: has no {noun}, so it is no classification set; its features are "
            + ", ".join(f"{key[:80]} ({kind})" for key, kind in kinds.items())[:1000]
        )
    matches = [key for key in fit if key == choice] if choice else fit
    if len(matches) != 1:
        of = f", {choice[:80]!r} is none" if choice else ""
        raise ValueError(f"{name}: name the {noun} by {option}=..., one of {fit} is needed{of}")
    return matches[0]


def _split(
    builder: Any, folder: Path, split: str, x_key: str, y_key: str
) -> tuple[np.ndarray, np.ndarray]:
    if split not in builder.info.splits:
        raise ValueError(f"{folder}: has no split {split!r}, but {sorted(builder.info.splits)}")
    expected = builder.info.splits[split].num_examples
    if builder.info.file_format.value == "array_record":
        source = builder.as_data_source(split)
        rows: Iterator[Any] = (source[i] for i in range(len(source)))
    else:
        features = builder.info.features
        files = [folder / f for f in builder.info.splits[split].filenames]
        rows = (features.deserialize_example_np(r) for f in sorted(files) for r in _records(f))
    x, y = [], []
    try:
        for row in rows:
            x.append(np.asarray(row[x_key]))
            y.append(int(row[y_key]))
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"{folder}: split {split!r} ends after {len(y)} examples") from error
    if len(y) != expected:
        raise ValueError(f"{folder}: split {split!r} holds {len(y)} examples of {expected}")
    shapes = {a.shape for a in x}
    if len(shapes) != 1:
        some = f"examples of {len(shapes)} shapes; all must have the same" if y else "no examples"
        raise ValueError(f"{folder}: split {split!r} has {some}")
    if min(y) < 0:
        raise ValueError(f"{folder}: split {split!r} has unlabelled examples (label -1)")
    of = f"of split {split!r}"
    return (
        numbers(str(folder), f"{x_key} {of}", np.stack(x)),
        labels(str(folder), f"{y_key} {of}", np.array(y)),
    )


def _records(file: Path) -> Iterator[bytes]:
    """The records of a tfrecord file: 8 bytes of length, 4 of checksum, the record, 4 more."""
    with open(file, "rb") as stream:
        while head := stream.read(12):
            if len(head) < 12:
                raise ValueError(f"{file}: ends in the middle of a record")
            (length,) = struct.unpack("<Q", head[:8])
            if length > 1 << 30:
                raise ValueError(f"{file}: a record claims {length} bytes")
            record = stream.read(length + 4)
            if len(record) < length + 4:
                raise ValueError(f"{file}: ends in the middle of a record")
            yield record[:-4]
