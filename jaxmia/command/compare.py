"""`jaxmia report RUN1 RUN2 ...`: several folders drawn side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmia.evaluation import streamed_scores
from jaxmia.evaluation.exposure import count
from jaxmia.metrics import rank_all
from jaxmia.report import compare
from jaxmia.report.write import save
from jaxmia.storage import scores
from jaxmia.storage.files import read_json, writable, write_bytes, write_json
from jaxmia.storage.run import Run


def runs(paths: Sequence[Path]) -> list[compare.RunResults]:
    """The folders, opened: runs, or what `jaxmia score` wrote.

    Raises `ValueError`, naming the folder, for one that has no scores of known membership.
    """
    return [_opened(p, name) for p, name in zip(paths, compare.unique(paths), strict=True)]


def _opened(path: Path, name: str) -> compare.RunResults:
    file = path / "scores.npz"
    if not file.is_file():
        raise ValueError(f"{path}: has no scores.npz; a finished run or a scored folder is needed")
    summary = read_json(path / "summary.json")
    if "member" not in scores.names(file) or not summary.get("attacks"):
        raise ValueError(f"{path}: whether the target was trained on them is not known there")
    if "streamed" in summary:  # which does not fit into memory
        return compare.RunResults(name, summary, streamed_scores.curves(file, summary["attacks"]))
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {k: archive[k] for k in archive.files}
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}/scores.npz: cannot be read ({error})") from error
    member, phi = arrays.pop("member").astype(bool), None
    if (path / "experiment.json").is_file():
        phi = np.asarray(Run.open(path).signals.phi)[..., 0]
        phi = phi if phi.shape == member.shape else None  # models were added since
    return compare.RunResults(name, summary, count(rank_all(arrays, member)), phi, member)


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
