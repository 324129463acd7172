"""A table of people: who was asked how often they see a doctor, in the RAND experiment.

    pip install 'jaxmia[tables]' && python -m experiments.randhie

20 190 years of 5912 people in the Health Insurance Experiment of 1974 to 1982 (Manning et al. 1987,
public domain), as they ship with statsmodels: how many visits to a doctor a person makes in a year
(none, 1 or 2, 3 to 5, more), from insurance, family, income, education, age, sex and health. A
person is in a training set with all years or with none, and is found as a whole, too. The network
and the recipe are those of `experiments.tabular`, unchanged: all epochs, nothing tuned.
"""

import importlib.util
from pathlib import Path

import numpy as np

from jaxmia import Experiment, cli, data, recipes
from jaxmia.data.pool import fifth_aside
from jaxmia.models import mlp
from jaxmia.types import Data

COLUMNS = (
    "coins", "mdeoff", "pioff", "year", "xage", "female", "educdec", "income", "lfam", "child",
    "physlm", "disea", "mhi", "hlthg", "hlthf", "hlthp",
)  # fmt: skip
VISITS = (0, 2, 5)  # the last of each class but the last
NAMES = ("none", "1 or 2", "3 to 5", "6 or more")


def table() -> np.ndarray:
    """The file as it ships, one field for each column; raises `ValueError` without statsmodels."""
    package = importlib.util.find_spec("statsmodels")
    if package is None or not package.submodule_search_locations:
        raise ValueError(
            "randhie: needs statsmodels, in which it ships: pip install 'jaxmia[tables]'"
        )
    file = Path(package.submodule_search_locations[0]) / "datasets/randhie/src/randhie.csv"
    return np.genfromtxt(file, delimiter=",", names=True, encoding="utf-8")


def visits() -> Data:
    """Years `[N, 22]` and how often a doctor was seen in each; a fifth of the people aside.

    The last six columns say which of the six sites; what is missing (5 years) is the column's mean.
    """
    rows = table()
    x = np.stack([rows[name] for name in COLUMNS], axis=1)
    x = np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    x = np.concatenate([x, rows["site"][:, None] == np.arange(1, 7)], axis=1).astype(np.float32)
    y = np.searchsorted(VISITS, rows["mdvis"]).astype(np.int32)
    ids, person = np.unique(rows["zper"].astype(np.int64), return_inverse=True)
    _, aside = fifth_aside(len(ids))
    test = np.isin(person, aside)
    parts = (x[~test], y[~test], x[test], y[test])
    return data.standardise(Data("randhie", *parts, 4, label_names=NAMES, person=person[~test]))


experiment = Experiment(
    name="randhie",
    data=visits,
    recipe=recipes.sgd(mlp(128, 128), epochs=50, batch_size=64, rate=0.05),
    models=64,
)

if __name__ == "__main__":
    cli(experiment)
