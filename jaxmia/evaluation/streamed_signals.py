"""Signals and membership that stay on disk, read panel by panel of examples, or row by row."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxmia.attacks.by_example import Inputs
from jaxmia.attacks.references import LeaveOut, leave_out_of_panels
from jaxmia.storage.sources import Source, panels

PANEL_BYTES = 32 << 20
ROW_BYTES = 64 << 20


class StreamedSignals(NamedTuple):
    """What is attacked: given targets, or (`target` is None) every model by the others."""

    reference: Source
    member: Source
    target: np.ndarray | None
    truth: np.ndarray | None  # of the targets, where it is told
    leave_out: LeaveOut | None
    margin: Source | None = None  # of every model, where each is attacked
    own: bool = False  # of a run, whose rows have digests: none is half-written

    @property
    def signals(self) -> tuple[str, ...]:
        """What attacks may look at."""
        return ("phi",) if self.margin is None else ("phi", "margin")

    @property
    def targets(self) -> int:
        """How many."""
        return self.reference.shape[0] if self.target is None else len(self.target)

    @property
    def attacked(self) -> str:
        """What is, in words."""
        if self.target is None:
            return "every model in turn, the others as its references"
        return f"{self.targets} given target{'s' * (self.targets > 1)}"

    @property
    def references(self) -> int:
        """How many a target has, whether or not they know an example."""
        return self.reference.shape[0] - (0 if self.leave_out is None else self.leave_out.fewer)

    @property
    def measured(self) -> bool:
        """Whether it is known whom the targets were trained on."""
        return self.target is None or self.truth is not None

    def jobs(self) -> Iterator[tuple[slice, Inputs]]:
        """The panels, as the attacks take them."""
        models, examples, *queries = self.reference.shape
        each = models * (self.reference.dtype.itemsize * int(np.prod(queries)) + 9)
        for at in panels(examples, each, PANEL_BYTES):
            phi = self.reference.columns(at).reshape(models, at.stop - at.start, -1)
            member = _truth(self.member, self.member.columns(at))
            target = phi if self.target is None else self.target[:, at]
            yield at, Inputs(target, phi, member, self.leave_out, at.start)

    def margins(self, at: slice, job: Inputs) -> Inputs:
        """A panel's job whose signal is the margin instead of phi."""
        assert self.margin is not None
        margin = self.margin.columns(at)[..., None]
        return job._replace(target=margin, reference=margin)

    def membership(self, at: slice) -> np.ndarray | None:
        """Who was trained on what, of some targets."""
        if self.target is None:
            return _truth(self.member, self.member.rows(at))
        return None if self.truth is None else self.truth[at]

    def inside(self, at: slice) -> np.ndarray | None:
        """Which targets were trained on each of some examples."""
        if self.target is None:
            return _truth(self.member, self.member.columns(at))
        return None if self.truth is None else self.truth[:, at]

    def columns(self, at: slice, job: Inputs) -> np.ndarray | None:
        """Which targets were trained on each example of a panel."""
        if self.target is None:
            return job.member
        return None if self.truth is None else self.truth[:, at]


def leave_out_of(member: Source, pairs: np.ndarray | None) -> LeaveOut:
    """Who leaves with the target (`references.leave_out`), without holding the membership."""
    models = member.shape[0]
    return leave_out_of_panels(models, lambda: memberships(member), "auto", pairs)


def memberships(member: Source) -> Iterator[np.ndarray]:
    """Who was trained on what, by panels of examples."""
    models, examples = member.shape
    for at in panels(examples, models, PANEL_BYTES):
        yield _truth(member, member.columns(at))


def _truth(source: Source, member: np.ndarray) -> np.ndarray:
    if member.dtype != bool and not np.isin(member, (0, 1)).all():
        raise ValueError(f"{source.name}: {source.path} has entries other than 0 and 1")
    return member.astype(bool)
