"""How much memory scoring takes at most, from shapes alone.

Measured in memory at 4 x 1000 and 64 x 20 000 signals with 1 and 3 attacks (tests/test_memory.py
holds a run to it), from disk by experiments.benchmarks.streaming; on Linux, whose count of resident
memory has the mapped input files in it.
"""

from collections.abc import Sequence

from jaxmia.evaluation.counted import BINS
from jaxmia.evaluation.streamed_signals import PANEL_BYTES, ROW_BYTES
from jaxmia.machine import cores

PROGRAM = 450 << 20  # Python, JAX and the libraries, and what drawing takes
CHUNKS = 96 << 20  # what one core works on at once
SCORE = 60  # bytes of a score that stay: itself, its rank, its point of the ROC
COUNTED = 160  # bytes of an example that stay of a streamed attack, for its intervals
P_VALUES = 512  # bytes of an example for what becomes of p-values
DRAWING = 400 << 20  # what a panel of examples takes under all draws
WORK = 120  # bytes of a score of the attack that is being measured or drawn


def in_memory(shape: Sequence[int], itemsize: int, attacks: int, classes: int = 0) -> int:
    """Bytes for signals `[M, N]` or `[M, N, Q]`; with logits of so many `classes`."""
    models, examples, *queries = shape
    of_each = itemsize * (queries[0] if queries else 1) + 1 + 4 * classes + 16 * bool(classes)
    each = of_each + SCORE * attacks + WORK
    temporary = 40 * examples * classes  # of a model's logits
    return PROGRAM + CHUNKS * cores() + models * examples * each + temporary


def streamed(shape: Sequence[int], itemsize: int, attacks: int) -> int:
    """Bytes where signals stay on disk: a panel of all models, or some rows of all examples.

    And what is counted of each example.
    """
    models, examples, *queries = shape
    column = models * (itemsize * (queries[0] if queries else 1) + 9)
    panel = max(PANEL_BYTES, column) * 6  # in float64, and the attack's own
    row = max(ROW_BYTES, 5 * examples) * 3 + 64 * examples * cores()
    counts = attacks * (COUNTED * examples + 12 * BINS) + P_VALUES * examples
    return PROGRAM + CHUNKS * cores() + 16 * BINS + max(panel, DRAWING) + row + counts


def in_words(size: int) -> str:
    """GiB, with two digits."""
    return f"{size / 2**30:.2f} GiB"
