"""The report that lies in a folder already: what of it goes, and what a new one would lose."""

import contextlib
import re
from pathlib import Path

from jaxmia.report.inputs import ReportInputs
from jaxmia.storage.files import UnwritableError

CHARTS = (
    "roc", "curve", "phi", "memory", "exposure", "gaussians", "reliability", "p_values", "training",
)  # fmt: skip
TABLES = ("attacks.csv", "examples.csv", "records.csv", "groups.csv")
PAGE = "index.html"  # written last: where it is, the report is whole
OF_SIGNALS = ("memory", "phi", "gaussians")  # charts that scores and summary do not hold
LABEL_WITH_NAME = re.compile(r"<tr data-example=[^>]*><td>\d+</td><td>\d+</td><td>\d+ [^<]+</td>")


def clear(folder: Path) -> None:
    """Removes the files of an earlier report, the page first; a user's own files stay.

    Raises `UnwritableError` if one cannot be removed.
    """
    charts = [f"{name}.{ending}" for name in CHARTS for ending in ("svg", "png", "csv")]
    for name in (PAGE, *TABLES, *charts):
        try:
            (folder / name).unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            message = f"cannot remove {folder / name}: {error.strerror or error}"
            raise UnwritableError(message) from error


def losses(folder: Path, inputs: ReportInputs) -> list[str]:
    """What the page that lies in a report's folder shows, and one drawn of `inputs` would not."""
    page = ""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        page = (folder / PAGE).read_text()
    signals = inputs.reference is not None
    there = [name for name in OF_SIGNALS if (folder / f"{name}.svg").exists()]
    out = [f"the chart {name}" for name in there if not signals]
    if 'id="gallery"' in page and inputs.x is None:
        out.append("pictures of examples")
    if LABEL_WITH_NAME.search(page) and not inputs.names:
        out.append("names of labels")
    if "an hour that is" in page and inputs.price is None:
        out.append("the price")
    return out
