"""A run folder, opened again: its experiment, membership, signals, scores, posteriors."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxmia.attacks import ATTACKS
from jaxmia.attacks import calibration as posteriors
from jaxmia.attacks.references import leave_out
from jaxmia.storage.folder import Folder
from jaxmia.storage.store import Store
from jaxmia.storage.urls import Place, local
from jaxmia.types import SIGNALS, Signals


@dataclass(frozen=True)
class Run:
    """A run folder, opened again: what is in it is read when it is asked for."""

    folder: Folder
    evaluated: bool = False  # whether it was this process, just now, that wrote the report

    @classmethod
    def open(cls, path: Place) -> "Run":
        """Raises `ValueError` for a folder that is no run."""
        return cls(Store(path).folder)

    @property
    def path(self) -> Path:
        """Where it lies on this machine; raises `ValueError` for a run that lies elsewhere."""
        return local(str(self.folder), "run")

    @cached_property
    def experiment(self) -> dict[str, Any]:
        """Every resolved field, the execution plan and what it ran on."""
        return Store(self.folder).experiment

    @cached_property
    def models(self) -> int:
        """How many models are finished, counted from the first."""
        store = Store(self.folder)
        numbers = sorted(m for r in store.records() for m in r["models"])
        return next((i for i, m in enumerate(numbers) if i != m), len(numbers))

    @cached_property
    def member(self) -> np.ndarray:
        """Bool `[M, N]`: who was trained on."""
        return read_signals(Store(self.folder), self.models)[1]

    @cached_property
    def signals(self) -> Signals:
        """What was seen of every model."""
        return read_signals(Store(self.folder), self.models)[0]

    @cached_property
    def scores(self) -> dict[str, np.ndarray]:
        """The score `[T, N]` of every attack."""
        with self.folder.open("scores.npz") as file, np.load(file, allow_pickle=False) as archive:
            return {k: archive[k] for k in archive.files if k != "member"}

    def posterior(
        self, prior: float = 0.5, attack: str = "lira_online"
    ) -> Float[np.ndarray, "T N"]:
        """The probability of each example's membership in each model, calibrated on other models.

        Raises `ValueError` for an attack that was not made, or whose scores are no log-ratios.
        """
        fit = [n for n in self.scores if n in ATTACKS and ATTACKS[n].log_ratio]
        if attack not in fit:
            fit = ", ".join(fit) or "none in this run"
            raise ValueError(f"attack={attack!r} has no log-ratios here; those that have: {fit}")
        groups = leave_out(self.member).groups
        odds = posteriors.crossed(self.scores[attack], self.member, groups)
        return posteriors.at_prior(odds, prior)

    @cached_property
    def repeats(self) -> "Run | None":
        """The models trained once more on the sets of the first ones; None without any."""
        folder = Store.repeats_of(self.folder)
        return Run(folder) if Store.there(folder) and Run(folder).models else None

    @cached_property
    def shadow_data(self) -> "Run | None":
        """The models trained on other data, asked about the pool and about these behind it."""
        folder = Store.shadow_data_of(self.folder)
        return Run(folder) if Store.there(folder) and Run(folder).models else None

    @cached_property
    def person(self) -> np.ndarray | None:
        """The person `[N]` that each record belongs to, if it does."""
        return Store(self.folder).read("person")

    @cached_property
    def summary(self) -> dict[str, Any]:
        """`summary.json`."""
        return read_summary(self.folder)


def read_summary(folder: Folder) -> dict[str, Any]:
    """A run's `summary.json`; raises `ValueError` if it is absent or broken."""
    try:
        return json.loads(folder.read("summary.json"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}/summary.json: cannot be read ({error})") from error


def read_signals(store: Store, models: int) -> tuple[Signals, np.ndarray]:
    """The signals of a run's first models, and their membership."""
    arrays: dict[str, Any] = {}
    for name, signal in SIGNALS.items():
        array = store.read(name, models if "M" in signal.axes else None)
        view0 = array is not None and signal.axes.endswith("1")  # stored without their last axis
        arrays[name] = array[..., None] if array is not None and view0 else array
    return Signals(**arrays), np.asarray(store.read("member", models), bool)
