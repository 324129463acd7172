"""The real sets of the benchmark: all rows of each, and a fixed part of them as a pool.

A column of text becomes one of 0 and 1 for each of its values; what is missing in a column of
numbers is its mean, and 1 in a column beside it. Images are averaged down, so that trees can be
grown on their pixels and one small network suits every set.
"""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import randhie
from experiments.benchmarks.attacks.frames import table
from jaxmia import data
from jaxmia.allele_frequencies import packed
from jaxmia.data.pool import fifth_aside, fixed_order
from jaxmia.types import Data
from jaxmia.values import factory

SNPS = 500  # of the genotypes


class Records(NamedTuple):
    """Rows `x [R, F]`, the class `y [R]` of each, and whose it is, where rows are persons'.

    `groups` are columns of which exposure is told by value.
    """

    x: np.ndarray
    y: np.ndarray
    person: np.ndarray | None = None
    groups: dict[str, np.ndarray] | None = None


@factory
def pool(name: str, examples: int, file: str = "") -> Callable[[], Data]:
    """At most so many rows of a set, drawn once for all, of which a fifth is set aside.

    Where rows belong to persons, whole persons are drawn, as long as there are no more rows.
    """

    def load() -> Data:
        return _pool(name, SETS[name].rows(Path(file)), examples)

    return load


def groups(name: str, examples: int, file: str = "") -> dict[str, np.ndarray]:
    """The groups of a set's pool, a value for each of its records."""
    records = SETS[name].rows(Path(file))
    at, _ = _places(records, examples)
    return {column: values[at].astype(str) for column, values in (records.groups or {}).items()}


def _places(records: Records, examples: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are in the pool, and which set aside."""
    unit = np.arange(len(records.y)) if records.person is None else records.person
    _, unit = np.unique(unit, return_inverse=True)
    order = fixed_order(int(unit.max()) + 1)
    many = np.cumsum(np.bincount(unit)[order])
    some = order[: int(np.searchsorted(many, examples, side="right"))]
    inside, outside = (some[at] for at in fifth_aside(len(some)))
    at, aside = (np.flatnonzero(np.isin(unit, part)) for part in (inside, outside))
    return at, aside


def _pool(name: str, records: Records, examples: int) -> Data:
    at, aside = _places(records, examples)
    classes, y = np.unique(records.y, return_inverse=True)
    x = records.x.astype(np.float32)
    parts = (x[at], y[at].astype(np.int32), x[aside], y[aside].astype(np.int32))
    person = None
    if records.person is not None:
        person = np.unique(records.person, return_inverse=True)[1][at].astype(np.int64)
    return data.standardise(Data(name, *parts, len(classes), person=person), name)


class Set(NamedTuple):
    """A set: what is predicted from what, and all of its rows, some of them from a file."""

    words: str
    rows: Callable[[Path], Records]
    file: str = ""  # the flag that names it


def _numbers(columns: dict[str, np.ndarray], names: str) -> list[np.ndarray]:
    """Columns of numbers, and one of 0 and 1 beside each that has gaps."""
    out = []
    for name in names.split():
        column = columns[name].astype(np.float64)
        gaps = np.isnan(column)
        out.append(np.where(gaps, np.nanmean(column), column))
        out += [gaps.astype(np.float64)] if gaps.any() else []
    return out


def _values(columns: dict[str, np.ndarray], names: str) -> list[np.ndarray]:
    """A column of 0 and 1 for each value of each column but the first of two."""
    out = []
    for name in names.split():
        text = columns[name].astype(str)
        values = np.unique(text)
        out += [(text == v).astype(np.float64) for v in values[len(values) == 2 :]]
    return out


def _some(columns: dict[str, np.ndarray], which: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[which] for name, column in columns.items()}


def _nafld(_: Path) -> Records:
    rows = table("survival", "nafld1")
    return Records(np.stack(_numbers(rows, "age male weight height bmi futime"), 1), rows["status"])


def _stops(_: Path) -> Records:
    rows = table("carData", "MplsStops")
    rows = _some(rows, rows["MDC"] == "MDC")  # of others there is neither race nor sex
    hour = np.array([float(text[11:13]) for text in rows["date"]])
    x = [*_numbers(rows, "lat long"), *_values(rows, "race gender policePrecinct"), hour]
    own = {"race": rows["race"], "sex": rows["gender"]}
    return Records(np.stack(x, 1), rows["problem"].astype(str), groups=own)


def _drinks(_: Path) -> Records:
    rows = table("stevedata", "nesarc_drinkspd")
    rows = _some(rows, ~np.isnan(rows["s2aq8b"]))
    x = [*_numbers(rows, "age educ"), *_values(rows, "sex ethrace2a region marital")]
    return Records(np.stack(x, 1), np.searchsorted([1, 2], rows["s2aq8b"]))


def _abortion(_: Path) -> Records:
    rows = table("stevedata", "gss_abortion")
    rows = _some(rows, ~np.isnan(rows["abany"].astype(np.float64)))
    x = [*_numbers(rows, "year age educ pid relactiv"), *_values(rows, "race sex")]
    return Records(np.stack(x, 1), rows["abany"].astype(np.int64))


def _fertility(_: Path) -> Records:
    rows = table("AER", "Fertility")
    x = [*_numbers(rows, "age work"), *_values(rows, "gender1 gender2 afam hispanic other")]
    return Records(np.stack(x, 1), rows["morekids"].astype(str))


def _visits(_: Path) -> Records:
    whole = randhie.visits()
    assert whole.person is not None
    return Records(whole.x, whole.y, whole.person)


def _of_sklearn(name: str) -> Callable[[Path], Records]:
    def rows(_: Path) -> Records:
        from sklearn import datasets

        return Records(*getattr(datasets, f"load_{name}")(return_X_y=True))

    return rows


def _fashion(folder: Path) -> Records:
    x = _idx(folder / "train-images-idx3-ubyte.gz")
    return Records(_smaller(x, 4), _idx(folder / "train-labels-idx1-ubyte.gz"))


def _idx(file: Path) -> np.ndarray:
    """An array of bytes as LeCun's format has it: two zeros, 8, the axes, their lengths."""
    if not file.is_file():
        raise ValueError(f"{file}: is no file; Debian's dataset-fashion-mnist has it")
    content = gzip.decompress(file.read_bytes())
    axes = content[3]
    lengths = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(lengths)


def _smaller(images: np.ndarray, by: int) -> np.ndarray:
    """Means of squares of so many pixels a side, flat `[N, F]`."""
    n, height, width, *colours = images.shape
    tiles = images.reshape(n, height // by, by, width // by, by, *colours)
    return tiles.mean((2, 4), dtype=np.float32).reshape(n, -1)


def _cifar(file: Path) -> Records:
    whole = data.arrays(str(file))()
    return Records(_smaller(np.asarray(whole.x), 8), whole.y)


def _genotypes(file: Path) -> Records:
    people = packed(file)
    people = people[:, :: people.shape[1] // SNPS][:, :SNPS]
    people = np.where(np.isnan(people), np.nanmean(people, 0), people)
    with np.load(file, allow_pickle=False) as archive:
        y = archive["pop"].astype(str)
    return Records(people, y)


SETS: dict[str, Set] = {
    "wine": Set("three growers of wine by 13 measurements", _of_sklearn("wine")),
    "breast_cancer": Set("tumours, benign or not, by 30 features", _of_sklearn("breast_cancer")),
    "genotypes": Set("HapMap 3, CEU or TSI by 500 SNPs", _genotypes, "genotypes"),
    "nafld1": Set("who died, by age, sex, body and follow-up", _nafld),
    "fertility": Set("a third child or not, by sexes, age, work, ethnicity", _fertility),
    "gss_abortion": Set("for or against, by year, age, education, party, race", _abortion),
    "mpls_stops": Set("police stops: suspicion or traffic, by place, hour, race, sex", _stops),
    "nesarc": Set("drinks a day (1, 2, more), by age, sex, region, marriage", _drinks),
    "randhie": Set("visits to a doctor (4 classes); by person", _visits),
    "digits": Set("scikit-learn's scans of 8 x 8", _of_sklearn("digits")),
    "fashion_mnist": Set("articles of 7 x 7 pixels", _fashion, "fashion_mnist"),
    "cifar10": Set("images of 4 x 4 pixels, 3 colours", _cifar, "cifar10"),
}
