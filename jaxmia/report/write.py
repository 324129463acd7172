"""A report as files: scores, summary, the page, every chart as SVG, PNG and CSV."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxmia.evaluation import figures, own_fpr
from jaxmia.evaluation.exposure import (
    DEFAULT,
    Exposure,
    count,
    exposures,
    exposures_of_rows,
    level_key,
    reach,
    strongest_first,
)
from jaxmia.evaluation.summary import Stage
from jaxmia.metrics import Ranked, RocCounts
from jaxmia.report import previous, raster, svg
from jaxmia.report.chart import COLUMNS, Chart, rows
from jaxmia.report.contents import Contents, draw, look, look_at_curves
from jaxmia.report.inputs import ReportInputs
from jaxmia.report.page import page
from jaxmia.storage import scores
from jaxmia.storage.files import write_bytes, write_json, writing


def write(
    folder: Path,
    ranked: Mapping[str, Ranked],
    member: Bool[np.ndarray, "T N"],
    phi: Float[np.ndarray, "T N"] | None,
    summary: dict[str, Any],
    inputs: ReportInputs | None = None,
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
        files = report(folder / "report", ranked, member, phi, summary, inputs)
    return [file, folder / "summary.json", *files]


def write_from_disk(
    folder: Path,
    curves: dict[str, RocCounts],
    summary: dict[str, Any],
    inputs: ReportInputs | None = None,
    stage: Stage = nullcontext,
) -> list[Path]:
    """Writes `summary.json`, then the report of the `scores.npz` that lies there already."""
    write_summary(folder, summary)
    if not summary["attacks"]:
        return [folder / "summary.json"]
    with stage("drawing"):
        files = report_from_disk(folder / "report", folder / "scores.npz", curves, summary, inputs)
    return [folder / "summary.json", *files]


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Writes `summary.json`, once the report of an earlier one is removed."""
    previous.clear(folder / "report")
    write_json(folder / "summary.json", summary)


def write_scores(
    folder: Path,
    arrays: Mapping[str, Float[np.ndarray, "T N"]],
    member: Bool[np.ndarray, "T N"] | None,
) -> Path:
    """Writes `scores.npz`: an array for each attack, and `member` where it is known.

    As they are: digits of scores hardly compress, and trying takes longer than an attack.
    """
    content: dict[str, Any] = {**arrays, **({} if member is None else {"member": member})}
    with writing(folder / "scores.npz") as out:
        np.savez(out, **content)
    return folder / "scores.npz"


def report(
    folder: Path,
    ranked: Mapping[str, Ranked],
    member: Bool[np.ndarray, "T N"],
    phi: Float[np.ndarray, "T N"] | None,
    summary: dict[str, Any],
    inputs: ReportInputs | None = None,
) -> list[Path]:
    """Writes the page, every chart as SVG, PNG and CSV, and the numbers of attacks and examples."""
    inputs = inputs or ReportInputs()
    contents = look(ranked, summary, inputs)
    charts = draw(contents, member, phi, summary, inputs)
    files = [_csv(folder / "records.csv", *_records(ranked, inputs))] if contents.curves else []
    return [*files, *_files(folder, contents, charts, summary, inputs)]


def report_from_disk(
    folder: Path,
    file: Path,
    curves: dict[str, RocCounts],
    summary: dict[str, Any],
    inputs: ReportInputs | None = None,
) -> list[Path]:
    """The same of scores that stay in `scores.npz`, a row at a time, given each attack's ROC.

    Without what needs phi or ranks: the summary's field `streamed` says what that is.
    """

    def exposed(name: str, thresholds: Float[np.ndarray, " F"]) -> list[Exposure]:
        members = scores.rows(file, "member")
        return exposures_of_rows(scores.rows(file, name), members, thresholds)

    inputs = inputs or ReportInputs()
    contents = look_at_curves(
        strongest_first(curves), summary["models"] == 1, exposed, summary, inputs
    )
    return _files(folder, contents, draw(contents, None, None, summary, inputs), summary, inputs)


def _files(
    folder: Path,
    contents: Contents,
    charts: dict[str, Chart],
    summary: dict[str, Any],
    inputs: ReportInputs,
) -> list[Path]:
    files = save(folder, charts)
    files.append(_csv(folder / "attacks.csv", *_attacks(summary, contents)))
    if contents.exposed:
        files.append(_csv(folder / "examples.csv", *_examples(contents, inputs)))
    if summary.get("groups"):
        files.append(_csv(folder / "groups.csv", *_groups(summary["groups"])))
    files.append(folder / "index.html")
    write_bytes(files[-1], page(folder, contents, charts, summary, inputs).encode())
    return files


def save(folder: Path, charts: dict[str, Chart]) -> list[Path]:
    """Writes charts as files: `NAME.svg`, `NAME.png` and `NAME.csv`."""
    files = []
    for name, plot in charts.items():
        contents = (("svg", svg.document(plot).encode()), ("png", raster.png(plot)))
        for ending, content in contents:
            files.append(folder / f"{name}.{ending}")
            write_bytes(files[-1], content)
        files.append(_csv(folder / f"{name}.csv", COLUMNS, rows(plot)))
    return files


def _attacks(summary: dict[str, Any], contents: Contents) -> tuple[tuple[str, ...], list[tuple]]:
    head = ("attack", "figure", "value", "low", "high", "mean_over_targets", "sd_over_targets")
    rows, nothing = [], (None, None)
    for name, attack in summary["attacks"].items():
        if attack["auc"] is None:
            continue
        ends = attack.get("intervals") or {}
        for figure in figures.FIGURES:
            values = (figure.at(attack), *(figure.at(ends) or nothing))
            rows.append((name, figure.key, *values, *(figures.spread(figure, attack) or nothing)))
        for figure in own_fpr.FIGURES if attack.get("p_values") else ():
            real = attack["p_values"]
            values = (figure.at(attack), *(figure.at(ends) or nothing))
            rows.append((name, figure.key, *values, *nothing))
            interval = real.get("interval", {}).get(figure.level, nothing)
            values = (real["fpr"][figure.level], *interval)
            rows.append((name, f"fpr_of_p_values_{figure.level}", *values, *nothing))
        rows += _rates(name, attack, contents)
    return head, rows


def _rates(name: str, attack: dict[str, Any], contents: Contents) -> Iterator[tuple]:
    """The TPR at every other FPR of the slider, and at no false alarm."""
    if reached := contents.reach.get(name):
        for fpr, *values in zip(contents.levels, *reached[:3], strict=True):
            if fpr not in figures.LEVELS.values() and np.isfinite(values[1]):
                yield (name, f"tpr_at_fpr_{level_key(fpr)}", *values, None, None)
    if none := attack.get("at_no_false_alarm"):
        yield (name, f"tpr_at_no_false_alarm_of_{none['n']}", none["tpr"], *[None] * 4)


def _examples(contents: Contents, inputs: ReportInputs) -> tuple[tuple[str, ...], Iterable[tuple]]:
    """Every example: in how many of its models it is found at 0.1 % FPR, and what is known.

    `own_fpr` is the share of the `others`, models not trained on it, that are `false_alarms`.
    """
    head = (
        "example", "label", "found", "models", "own_fpr", "false_alarms", "others",
        "posterior", "phi_in", "phi_out",
    )  # fmt: skip
    at = contents.exposed[contents.start]
    none = [None] * len(at.hits)
    means = contents.mean_phi
    columns = (
        range(len(at.hits)),
        none if inputs.y is None else np.asarray(inputs.y).tolist(),
        at.hits.tolist(),
        at.models.tolist(),
        at.own_fpr.tolist(),
        at.alarms.tolist(),
        at.others.tolist(),
        none if contents.posterior is None else contents.posterior.tolist(),
        none if means is None else means.inside.tolist(),
        none if means is None else means.outside.tolist(),
    )
    return head, zip(*columns, strict=True)


def _records(
    ranked: Mapping[str, Ranked], inputs: ReportInputs
) -> tuple[tuple[str, ...], Iterable[tuple]]:
    """Records by attacks: the share of its models in which each finds it at 0.1 % FPR."""
    shares = {}
    for name, curve in count(ranked).items():
        (exposed,) = exposures(ranked[name], reach(curve, [DEFAULT]).threshold)
        shares[name] = exposed.share.tolist()
    examples = len(next(iter(shares.values())))
    labels = [None] * examples if inputs.y is None else np.asarray(inputs.y).tolist()
    columns = (range(examples), labels, *shares.values())
    return ("example", "label", *shares), zip(*columns, strict=True)


def _groups(groups: Mapping[str, Any]) -> tuple[tuple[str, ...], Iterable[tuple]]:
    """Every group of every column, at each FPR of the one threshold that all records have."""
    head = (
        "column", "group", "records", "attack", "at_fpr", "tpr", "tpr_low", "tpr_high",
        "fpr", "fpr_low", "fpr_high", "auc", "auc_low", "auc_high",
    )  # fmt: skip
    none, rows = (None, None), []
    for name, of in groups.items():
        for row in of["groups"]:
            for level, at in row["at"].items():
                rates = [v for k in ("tpr", "fpr") for v in (at[k], *(at[f"{k}_interval"] or none))]
                auc = (row["auc"], *(row["auc_interval"] or none))
                rows.append((name, row["group"], row["records"], of["attack"], level, *rates, *auc))
    return head, rows


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
