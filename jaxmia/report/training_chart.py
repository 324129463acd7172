"""The chart of how the shadow models were trained."""

import numpy as np

from jaxmia.report.chart import (
    Axis,
    Chart,
    Line,
    Mark,
    Panel,
    Rule,
    even,
)
from jaxmia.report.inputs import Training

SHADOWS = 64  # whose training is drawn one by one


def training_chart(training: Training) -> Chart | None:
    """Loss and accuracy on its own members, of every shadow model by epoch."""
    models, epochs = training.loss.shape
    if not epochs or not np.isfinite(training.loss).any():
        return None
    shadows = np.unique(np.linspace(0, models - 1, min(models, SHADOWS)).astype(int))
    shadows = np.union1d(shadows, [m for m in training.diverged if m < models]).astype(int)
    when = np.arange(1, epochs + 1, dtype=float)
    x = Axis("epoch", 1, max(2, epochs), False, even(0, max(2, epochs), 5)[1:])
    loss, accuracy = _curves(training.loss, shadows, when), None
    lows = training.loss[np.isfinite(training.loss) & (training.loss > 0)]
    low, high = (float(lows.min()), float(lows.max())) if lows.size else (0.1, 1.0)
    low = max(10.0 ** np.floor(np.log10(low)), 1e-6)
    high = max(10.0 ** np.ceil(np.log10(high)), low * 10)
    powers = range(round(np.log10(low)), round(np.log10(high)) + 1)
    ticks = tuple((10.0**e, f"{10.0**e:g}") for e in powers)
    panels = [Panel(x, Axis("loss", low, high, True, ticks), loss, key="loss")]
    if np.isfinite(training.accuracy).any():
        accuracy = list(_curves(training.accuracy, shadows, when))
        least = float(np.nanmin(training.accuracy))
        if training.test_accuracy is not None:
            least = min(least, training.test_accuracy)
            label = f"test accuracy {training.test_accuracy:.3f}"
            accuracy.append(Rule(label, y=training.test_accuracy, kind="target"))
        least = np.floor(least * 10) / 10
        axis = Axis("accuracy", least, 1.005, False, even(least, 1, 5))
        panels.append(Panel(x, axis, tuple(accuracy), key="accuracy"))
    return Chart(
        "training",
        "How the shadow models were trained",
        f"Training loss and accuracy of {models} shadow models over {epochs} epochs, with their "
        "medians; what diverged is marked.",
        tuple(panels),
    )


def _curves(values: np.ndarray, shadows: np.ndarray, when: np.ndarray) -> tuple[Mark, ...]:
    lines: list[Mark] = []
    for m in shadows:
        fine = np.isfinite(values[m])
        if fine.any():
            lines.append(Line("one shadow model", when[fine], values[m][fine], "faint"))
    epochs = np.isfinite(values).any(0)
    if epochs.any():
        lines.append(Line("median", when[epochs], np.nanmedian(values[:, epochs], 0), "s0"))
    return tuple(lines)
