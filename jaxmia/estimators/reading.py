"""An estimator and its records from files: skops and .npz, .csv, .parquet; never a pickle."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmia.estimators.table import Table
from jaxmia.estimators.tabled import tabled
from jaxmia.values import factory

EXTRA = "pip install 'jaxmia[sklearn]' adds it"
ENDINGS = (".npz", ".csv", ".parquet")


def estimator(file: Path, trust: Sequence[str] = ()) -> Any:
    """What `skops.io.dump` wrote. Raises `ValueError` for types of which nobody said to trust them.

    skops trusts those of scikit-learn, NumPy and SciPy by itself; a pickle is never opened, since
    to read it is to run it.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file}: is no file; skops.io.dump(estimator, FILE) writes one")
    with open(file, "rb") as stream:
        start = stream.read(2)
    if start != b"PK":
        what = "is a pickle, which is never opened" if start[:1] == b"\x80" else "is no skops file"
        raise ValueError(f"{file}: {what}: skops.io.dump(estimator, FILE) writes one")
    try:
        from skops import io
    except ImportError as error:
        raise ValueError(f"{file}: skops is needed to read it; {EXTRA}") from error
    try:
        unknown = io.get_untrusted_types(file=file)
        if others := [name for name in unknown if name not in trust]:
            raise ValueError(
                f"{file}: holds types that nobody said to trust: if you know them, give "
                f"--trust {' '.join(others)}"
            )
        return io.load(file, trusted=unknown)
    except ValueError:
        raise
    except Exception as error:  # a damaged file raises whatever the reader does
        raise ValueError(f"{file}: cannot be read by skops ({error!s:.300})") from error


@factory
def table(
    file: str,
    label: str = "y",
    person: str = "",
    groups: Sequence[str] = (),
    drop: Sequence[str] = (),
    features: Sequence[str] = (),
    regression: bool = False,
) -> Callable[[], Table]:
    """Records from a .csv or .parquet, a column a name, or from an .npz with `x [N, ...]`.

    `label` is what is predicted, `person` whose a record is, `groups` are told apart in the report.
    An estimator gets the `features`, by default all columns but label, person and those to `drop`.
    """

    def load() -> Table:
        x, column = read(Path(file))
        used = [name for name in (label, person, *groups) if name]
        if lacking := [n for n in (*used, *drop, *features) if n not in column]:
            names = ", ".join(column)
            raise ValueError(f"{file}: has no column {lacking[0]!r}; it has {names:.400}")
        if unused := [n for n in drop if n in features]:
            raise ValueError(f"{file}: column {unused[0]!r} cannot be dropped: the model takes it")
        if x is None:
            away = {label, person, *drop}
            x = column.frame[list(features) or [n for n in column if n not in away]]
        if not x.shape[1:] or not x.shape[1]:
            raise ValueError(f"{file}: no column is left for the estimator")
        of_people = column[person] if person else None
        by = {name: column[name] for name in groups}
        return tabled(x, column[label], of_people, by, regression, Path(file).stem, file)

    return load


class Columns(dict[str, np.ndarray]):
    """The columns of a file by name, and the frame that they are of, if any."""

    frame: Any = None


def read(file: Path) -> tuple[Any, Columns]:
    """The records of an .npz (None of a table with named columns), and all columns."""
    if file.suffix not in ENDINGS:
        raise ValueError(f"{file}: is none of {', '.join(ENDINGS)}")
    if not file.is_file():
        raise FileNotFoundError(f"{file}: is no file")
    if file.suffix == ".npz":
        return _npz(file)
    try:
        import pandas
    except ImportError as error:
        raise ValueError(f"{file}: pandas is needed to read it; {EXTRA}") from error
    try:
        frame = (pandas.read_csv if file.suffix == ".csv" else pandas.read_parquet)(file)
    except ImportError as error:
        raise ValueError(f"{file}: pyarrow is needed to read it; {EXTRA}") from error
    except Exception as error:  # of somebody's file: whatever the reader raises
        what = " ".join(str(error).split())
        raise ValueError(f"{file}: cannot be read as {file.suffix} ({what:.300})") from error
    frame.columns = [str(name) for name in frame.columns]
    if twice := frame.columns[frame.columns.duplicated()].tolist():
        raise ValueError(f"{file}: has two columns {twice[0]!r}")
    columns = Columns({name: frame[name].to_numpy() for name in frame.columns})
    columns.frame = frame
    return None, columns


def _npz(file: Path) -> tuple[np.ndarray, Columns]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            columns = Columns({name: archive[name] for name in archive.files})
    except Exception as error:  # a damaged header raises whatever its parser does
        raise ValueError(f"{file}: cannot be read as an .npz of plain arrays ({error})") from error
    if "x" not in columns:
        raise ValueError(f"{file}: has no array 'x'; it has {', '.join(columns):.400}")
    return columns["x"], columns
