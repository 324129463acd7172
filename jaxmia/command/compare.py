"""`jaxmia report RUN1 RUN2 ...`: several folders drawn side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmia.report import compare
from jaxmia.report.write import save
from jaxmia.storage.files import read_json, writable, write_bytes, write_json
from jaxmia.storage.run import Run


def runs(paths: Sequence[Path]) -> list[compare.RunResults]:
    """The folders, opened: runs, or what `jaxmia score` wrote.

    Raises `ValueError`, naming the folder, for one that has no scores of known membership.
    """
    results = []
    for path, name in zip(paths, compare.unique(paths), strict=True):
        phi = None
        if (path / "experiment.json").is_file():
            phi = np.asarray(Run.open(path).signals.phi)[..., 0]
        results.append(_opened(path, name, phi))
    return results


def _opened(path: Path, name: str, phi: np.ndarray | None) -> compare.RunResults:
    if not (path / "scores.npz").is_file():
        raise ValueError(f"{path}: has no scores.npz; a finished run or a scored folder is needed")
    try:
        with np.load(path / "scores.npz", allow_pickle=False) as archive:
            arrays = {k: archive[k] for k in archive.files}
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}/scores.npz: cannot be read ({error})") from error
    summary = read_json(path / "summary.json")
    member = arrays.pop("member", None)
    if member is None or not summary.get("attacks"):
        raise ValueError(f"{path}: whether the target was trained on them is not known there")
    if phi is not None and phi.shape != member.shape:
        phi = None  # models were added since the scores were written
    return compare.RunResults(name, summary, arrays, member.astype(bool), phi)


def write(out: Path, paths: Sequence[Path]) -> dict[str, Any]:
    """Writes the page, its charts and `summary.json` into a folder; returns the summary."""
    writable(out)
    results = runs(paths)
    comparison = compare.look(results)
    charts = compare.draw(comparison, results)
    save(out, charts)
    write_bytes(out / "index.html", compare.page(comparison, charts, results).encode())
    summary = compare.summary(comparison, results)
    write_json(out / "summary.json", summary)
    return summary
