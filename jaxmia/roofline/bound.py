"""What a program's cost says of its time on a chip: no less than this."""

from typing import NamedTuple

from jaxmia.roofline.cost import Cost
from jaxmia.roofline.devices import Chip

LAUNCH = 2.5e-6  # seconds of a GPU for a kernel to start: an assumption; a TPU's are not counted


class Bound(NamedTuple):
    """The least seconds that a cost takes, by each of three limits."""

    memory: float
    arithmetic: float
    launches: float

    @property
    def seconds(self) -> float:
        """The largest of the three: the limits overlap at best."""
        return max(self)

    def plus(self, other: "Bound") -> "Bound":
        """Of one after the other."""
        return Bound(*(a + b for a, b in zip(self, other, strict=True)))


def bound(cost: Cost, chip: Chip, dtype: str) -> Bound:
    """Bytes over bandwidth, operations over the rate of products in `dtype`, kernels' starts."""
    rate = chip.bfloat16 if dtype == "bfloat16" else chip.float32
    launch = LAUNCH if chip.platform == "cuda" else 0.0
    return Bound(cost.bytes / chip.bandwidth, cost.operations / rate, cost.kernels * launch)
