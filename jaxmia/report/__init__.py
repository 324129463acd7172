"""What is said of a run: summary, table, figures. Numbers come from `metrics`, never from here."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.report.belief import Shadows
from jaxmia.report.figures import draw, draw_curve
from jaxmia.report.page import page
from jaxmia.report.summary import SCHEMA, summarise
from jaxmia.report.table import remarks, table
from jaxmia.store import write_bytes, write_json

__all__ = ["SCHEMA", "Shadows", "draw", "draw_curve", "remarks", "summarise", "table", "write"]


def write(
    folder: Path,
    scores: dict[str, Float[np.ndarray, "T N"]],
    member: Bool[np.ndarray, "T N"] | None,
    phi: Float[np.ndarray, "T N"] | None,
    summary: dict[str, Any],
    y: Int[np.ndarray, " N"] | None = None,
) -> list[Path]:
    """Writes `scores.npz`, the figures, the page and, last, `summary.json`; returns the files.

    Without `member` there are scores but nothing to measure or draw.
    """
    out = io.BytesIO()
    held: dict[str, Any] = {**scores, **({} if member is None else {"member": member})}
    np.savez_compressed(out, **held)
    write_bytes(folder / "scores.npz", out.getvalue())
    drawn = []
    if member is not None:
        drawn = draw(folder / "report", scores, member, phi)
        drawn.append(folder / "report" / "index.html")
        text = page(folder / "report", scores, member, summary, y)
        write_bytes(drawn[-1], text.encode())
    write_json(folder / "summary.json", summary)
    return [folder / "scores.npz", *drawn, folder / "summary.json"]
