"""Targets against references, example by example: chunks that fit a cache, on all cores.

An attack that looks at one example's references at a time is a function `Chunk -> [T, n]`; here it
becomes an `Attack` with both its uses.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks.infinite import finite
from jaxmia.attacks.references import LeaveOut, left_out
from jaxmia.machine import cores
from jaxmia.types import Array, Attack, Attacker, Signals

CHUNK = 1 << 18  # numbers of an array that are worked on at once: long enough for two threads


class Chunk(NamedTuple):
    """Some examples as the targets and the references see them, in float64.

    References whose phi is not known are on neither side, and are 0 in `reference`. `leaving`
    names for each target and example the models that are no references (-1 for none).
    """

    target: Float[np.ndarray, "T n Q"]
    reference: Float[np.ndarray, "M n Q"]
    inside: Bool[np.ndarray, "M n"]
    outside: Bool[np.ndarray, "M n"]
    leaving: list[Int[np.ndarray, "T n"]]


class Inputs(NamedTuple):
    """Targets against references; `leave_out` means that both are the same models.

    They may be a panel of more examples, of which theirs are `first` and the following.
    """

    target: Float[np.ndarray, "T N Q"]
    reference: Float[np.ndarray, "M N Q"]
    member: Bool[np.ndarray, "M N"]
    leave_out: LeaveOut | None
    first: int = 0

    def chunk(self, at: slice) -> Chunk:
        """The examples of a slice."""
        target = self.target[:, at].astype(np.float64)
        same = self.target is self.reference
        phi = target if same else self.reference[:, at].astype(np.float64)
        member, whole = self.member[:, at], np.all(np.isfinite(phi), -1, keepdims=True)
        phi = phi if whole.all() else np.where(whole, phi, 0.0)
        leaving = []
        if self.leave_out is not None:
            models = np.arange(len(phi))[:, None]
            leaving.append(np.broadcast_to(models, member.shape))
            beside = left_out(self.leave_out, member, self.first + at.start, whole[..., 0])
            leaving += [beside] if beside is not None else []
        whole = whole[..., 0]
        return Chunk(target, phi, member & whole, ~member & whole, leaving)

    def map(self, work: Callable[[slice], Any]) -> list[Any]:
        """`work` of every slice of examples, in their order."""
        models, examples, queries = self.reference.shape
        size = max(1, CHUNK // (models * queries))
        slices = [slice(i, min(i + size, examples)) for i in range(0, examples, size)]
        with ThreadPoolExecutor(cores()) as pool:
            return list(pool.map(work, slices))

    def scores(self, score: Callable[[Chunk], np.ndarray]) -> Float[np.ndarray, "T N"]:
        """The scores of all examples; NaN where a target's own signal is not known."""

        def work(at: slice) -> np.ndarray:
            chunk = self.chunk(at)
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                values = score(chunk)
            return np.where(np.isfinite(chunk.target).all(-1), values, np.nan)

        return np.concatenate(self.map(work), axis=1)


class Panels(NamedTuple):
    """An attack carried out on one panel of examples after the other.

    `totals(job)` are arrays that add up over the panels, and so are those of a second pass,
    `again(job, totals)`, if there is one; `scores(job, totals) -> [T, n]` takes the arrays of all
    passes. With `view0` it looks at the unaugmented example alone; `signal` is what of the models
    it looks at.
    """

    totals: Callable[[Inputs], list[np.ndarray]]
    scores: Callable[[Inputs, list[np.ndarray]], np.ndarray]
    view0: bool = True
    again: Callable[[Inputs, list[np.ndarray]], list[np.ndarray]] | None = None
    signal: str = "phi"


def arrays(phi: Array, member: Array) -> tuple[np.ndarray, np.ndarray]:
    """phi as `[M, N, Q]` and member as Bool `[M, N]`, checked against each other."""
    phi, member = np.asarray(phi), np.asarray(member)
    if phi.dtype.kind not in "fiu" or phi.ndim not in (2, 3):
        raise ValueError(f"phi: needs numbers [M, N] or [M, N, Q], is {phi.dtype} {phi.shape}")
    if member.shape != phi.shape[:2]:
        raise ValueError(f"member: has shape {member.shape}, phi has {phi.shape}")
    if member.dtype != bool and not np.isin(member, (0, 1)).all():
        raise ValueError("member: has entries other than 0 and 1")
    return phi.reshape(*phi.shape[:2], -1), member.astype(bool)


def one_target(target: Array, reference: Array, member: Array) -> Inputs:
    """A target `[N]` or `[N, Q]` against references, both made finite (`infinite.finite`).

    Raises `ValueError` for unequal shapes.
    """
    reference, member = arrays(reference, member)
    target = np.asarray(target)
    if target.reshape(*target.shape[:1], -1).shape != reference.shape[1:]:
        raise ValueError(f"target: has shape {target.shape}, reference has {reference.shape}")
    target, reference = finite(target, reference)
    return Inputs(target.reshape(1, *reference.shape[1:]), reference, member, None)


def every_model(phi: Array, member: Array, leave_out: LeaveOut) -> Inputs:
    """Every model against the others, made finite (`infinite.finite`)."""
    phi, member = arrays(phi, member)
    (phi,) = finite(phi)
    return Inputs(phi, phi, member, leave_out)


def attack(score: Callable[[Chunk], np.ndarray], attacker: Attacker, paper: str = "") -> Attack:
    """A rung of the ladder that sees the example itself (view 0), of target and references."""

    def on_target(target: Signals, reference: Signals, member: Bool[Array, "R N"]):
        return one_target(view0(target.phi), view0(reference.phi), member).scores(score)[0]

    def on_all(signals: Signals, member: Bool[Array, "M N"], leave_out: LeaveOut):
        return every_model(view0(signals.phi), member, leave_out).scores(score)

    panels = Panels(lambda job: [], lambda job, totals: job.scores(score))
    return Attack(on_target, on_all, attacker, panels=panels, paper=paper)


def view0(phi: Float[Array, "*M N Q"]) -> Float[np.ndarray, "*M N 1"]:
    """The unaugmented example's phi."""
    return np.asarray(phi)[..., :1]
