"""What the report of a run draws besides its scores: labels, references, training, examples."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks.references import LeaveOut
from jaxmia.estimators import Table
from jaxmia.types import Data, Signals


class Training(NamedTuple):
    """What was recorded of the shadow models' training: by model and epoch, NaN where unknown."""

    loss: Float[np.ndarray, "M E"]
    accuracy: Float[np.ndarray, "M E"]
    test_accuracy: float | None = None
    diverged: tuple[int, ...] = ()


class ReportInputs(NamedTuple):
    """What a report draws besides the scores; what is absent is left out.

    `reference` is phi of the models that the targets were held against (view 0), `leave_out` which
    of them are no references of each target; `x` are the examples themselves, only where they may
    be shown, and `shape` that of an image which is stored flat; `person` is whose each is. `own`
    names figures that lie in the folder already, with their alt texts; `price` is that of an hour
    of the device.
    """

    y: Int[np.ndarray, " N"] | None = None
    names: tuple[str, ...] = ()
    reference: Float[np.ndarray, "R N"] | None = None
    reference_member: Bool[np.ndarray, "R N"] | None = None
    leave_out: LeaveOut | None = None
    training: Training | None = None
    x: np.ndarray | None = None
    shape: tuple[int, ...] = ()
    person: Int[np.ndarray, " N"] | None = None
    own: Mapping[str, str] = {}
    price: float | None = None


def of_run(
    records: list[dict[str, Any]],
    models: int,
    y: Int[np.ndarray, " N"] | None,
    data: Data | Table | None = None,
    examples: bool = False,
    person: Int[np.ndarray, " N"] | None = None,
) -> ReportInputs:
    """A run's own material. The examples themselves only if they are public, or asked for.

    `examples` asks for them; records that belong to people are never shown unasked.
    """
    may = data is not None and (examples or (data.public and data.person is None))
    return ReportInputs(
        y=y,
        names=data.label_names if data is not None else (),
        training=training(records, models),
        x=data.x if may and data is not None else None,
        shape=data.shape if data is not None else (),
        person=person,
    )


def with_signals(
    inputs: ReportInputs, signals: Signals, member: Bool[np.ndarray, "R N"], leave_out: LeaveOut
) -> ReportInputs:
    """The same with what is drawn of phi, where it is in memory."""
    phi = np.asarray(signals.phi)[..., 0]
    return inputs._replace(reference=phi, reference_member=member, leave_out=leave_out)


def training(records: list[dict[str, Any]], models: int) -> Training | None:
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
    accuracies = [
        v for r in records for m, v in r.get("test_accuracy", {}).items() if int(m) < models
    ]
    finite = [v for v in accuracies if v is not None]
    diverged = sorted({m for r in records for m in r.get("diverged", []) if m < models})
    test = float(np.mean(finite)) if finite else None
    return Training(curves["loss"], curves["accuracy"], test, tuple(diverged))
