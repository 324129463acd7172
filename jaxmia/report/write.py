"""A report as files: scores, summary, the page, every chart as SVG, PNG and CSV."""

import csv
import io
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.evaluation import figures
from jaxmia.evaluation.summary import Stage
from jaxmia.metrics import Ranked
from jaxmia.report import chart, previous, raster, svg
from jaxmia.report.chart import Chart
from jaxmia.report.contents import Found, draw, look
from jaxmia.report.inputs import Shown
from jaxmia.report.page import page
from jaxmia.storage.files import write_bytes, write_json, writing


def write(
    folder: Path,
    ranked: Mapping[str, Ranked],
    member: Bool[np.ndarray, "T N"],
    phi: Float[np.ndarray, "T N"] | None,
    summary: dict[str, Any],
    shown: Shown | None = None,
    stage: Stage = nullcontext,
) -> list[Path]:
    """Writes `scores.npz`, `summary.json` and then the report, its page last; returns the files.

    Numbers come first: a disk that fills up while charts are drawn costs none. An earlier report
    goes before the new summary is there. `stage` names what takes a while.
    """
    with stage("writing scores"):
        file = write_scores(folder, {name: r.score for name, r in ranked.items()}, member)
    write_summary(folder, summary)
    with stage("drawing"):
        drawn = report(folder / "report", ranked, member, phi, summary, shown)
    return [file, folder / "summary.json", *drawn]


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Writes `summary.json`, once the report of an earlier one is removed."""
    previous.clear(folder / "report")
    write_json(folder / "summary.json", summary)


def write_scores(
    folder: Path,
    scores: Mapping[str, Float[np.ndarray, "T N"]],
    member: Bool[np.ndarray, "T N"] | None,
) -> Path:
    """Writes `scores.npz`: an array for each attack, and `member` where it is known.

    As they are: digits of scores hardly compress, and trying takes longer than an attack.
    """
    arrays: dict[str, Any] = {**scores, **({} if member is None else {"member": member})}
    with writing(folder / "scores.npz") as out:
        np.savez(out, **arrays)
    return folder / "scores.npz"


def report(
    folder: Path,
    ranked: Mapping[str, Ranked],
    member: Bool[np.ndarray, "T N"],
    phi: Float[np.ndarray, "T N"] | None,
    summary: dict[str, Any],
    shown: Shown | None = None,
) -> list[Path]:
    """Writes the page, every chart as SVG, PNG and CSV, and the numbers of attacks and examples."""
    shown = shown or Shown()
    found = look(ranked, summary, shown)
    charts = draw(found, member, phi, summary, shown)
    files = save(folder, charts)
    files.append(_csv(folder / "attacks.csv", *_attacks(summary)))
    if found.exposed:
        files.append(_csv(folder / "examples.csv", *_examples(found, shown)))
    files.append(folder / "index.html")
    write_bytes(files[-1], page(folder, found, charts, summary, shown).encode())
    return files


def save(folder: Path, charts: dict[str, Chart]) -> list[Path]:
    """Writes charts as files: `NAME.svg`, `NAME.png` and `NAME.csv`."""
    files = []
    for name, drawn in charts.items():
        contents = (("svg", svg.document(drawn).encode()), ("png", raster.png(drawn)))
        for ending, content in contents:
            files.append(folder / f"{name}.{ending}")
            write_bytes(files[-1], content)
        files.append(_csv(folder / f"{name}.csv", chart.COLUMNS, chart.rows(drawn)))
    return files


def _attacks(summary: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple]]:
    head = ("attack", "figure", "value", "low", "high", "mean_over_targets", "sd_over_targets")
    rows, nothing = [], (None, None)
    for name, found in summary["attacks"].items():
        if found["auc"] is None:
            continue
        over, ends = found.get("targets") or {}, found.get("intervals") or {}
        for figure in figures.FIGURES:
            values = (figure.at(found), *(figure.at(ends) or nothing))
            rows.append((name, figure.key, *values, *(figure.at(over) or nothing)))
    return head, rows


def _examples(found: Found, shown: Shown) -> tuple[tuple[str, ...], Iterable[tuple]]:
    """Every example: in how many of its models it is found at 0.1 % FPR, and what is known."""
    head = ("example", "label", "found", "models", "posterior", "phi_in", "phi_out")
    at = found.exposed[found.start]
    none = [None] * len(at.found)
    known = found.known
    columns = (
        range(len(at.found)),
        none if shown.y is None else np.asarray(shown.y).tolist(),
        at.found.tolist(),
        at.models.tolist(),
        none if found.posterior is None else found.posterior.tolist(),
        none if known is None else known.inside.tolist(),
        none if known is None else known.outside.tolist(),
    )
    return head, zip(*columns, strict=True)


def _csv(path: Path, head: Iterable[str], rows: Iterable[Iterable[Any]]) -> Path:
    """Numbers with six digits, text as it is; what is no number is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([_cell(v) for v in row])
    write_bytes(path, out.getvalue().encode())
    return path


def _cell(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if np.isfinite(value) else ""
    if isinstance(value, str):  # no spreadsheet takes a name for a formula
        return "'" + value if value[:1] in "=+-@\t\r" and value else value
    return "" if value is None else value
