"""What the report of a run draws besides its scores: labels, references, training, examples."""

from typing import Any

import numpy as np

from jaxmia import report
from jaxmia.attacks.references import balance_of
from jaxmia.types import Data, Signals


def of_run(
    records: list[dict[str, Any]],
    signals: Signals,
    member: np.ndarray,
    pairs: np.ndarray | None = None,
    data: Data | None = None,
    examples: bool = False,
) -> report.Shown:
    """A run's own material. The examples themselves only if they are public, or asked for.

    `examples` asks for them; records that belong to people are never shown unasked.
    """
    may = data is not None and (examples or (data.public and data.person is None))
    return report.Shown(
        y=None if signals.y is None else np.asarray(signals.y),
        names=data.label_names if data is not None else (),
        reference=np.asarray(signals.phi)[..., 0],
        reference_member=member,
        leaving=balance_of(member, "auto", pairs).leaving(len(member)),
        training=training(records, len(member)),
        x=data.x if may and data is not None else None,
        shape=data.shape if data is not None else (),
    )


def training(records: list[dict[str, Any]], models: int) -> report.Training | None:
    """Loss and accuracy by epoch of a run's first models, from the records of its blocks."""
    curves = {}
    for name in ("loss", "accuracy"):
        rows = {int(m): v for r in records for m, v in r.get(name, {}).items() if int(m) < models}
        epochs = max([len(v) for v in rows.values()], default=0)
        curves[name] = np.full((models, epochs), np.nan)
        for m, values in rows.items():
            curves[name][m, : len(values)] = [np.nan if v is None else v for v in values]
    if not curves["loss"].size:
        return None
    known = [v for r in records for m, v in r.get("test_accuracy", {}).items() if int(m) < models]
    tested = [v for v in known if v is not None]
    diverged = sorted({m for r in records for m in r.get("diverged", []) if m < models})
    test = float(np.mean(tested)) if tested else None
    return report.Training(curves["loss"], curves["accuracy"], test, tuple(diverged))
