"""What a run was made from and on: its identity, which must agree, and the facts around it."""

import json
import platform
import subprocess
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxmia import data as sources
from jaxmia import defences, design
from jaxmia.experiment import Experiment
from jaxmia.storage.store import Store
from jaxmia.types import Data
from jaxmia.values import describe

PACKAGES = ("jaxmia", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def identity(experiment: Experiment, data: Data) -> dict[str, Any]:
    """What every start of a run must agree on: not the attacks, not a larger number of models."""
    out = {
        "pool": sources.digest(data),
        "examples": len(data.y),
        "recipe": describe(experiment.recipe),
        "design": describe(experiment.design),
        "views": describe(experiment.views),
        "seed": experiment.seed,
    }
    if data.person is not None:
        out["people"] = len(np.unique(data.person))  # who are in or out whole
    if experiment.copies is not None:
        out["copies"] = describe(experiment.copies)
    if experiment.outputs is not None:
        out["outputs"] = describe(experiment.outputs)
    if design.fixed_models(experiment.design):
        out["models"] = experiment.models  # its columns are balanced over just so many
    return out


def about(experiment: Experiment) -> dict[str, Any]:
    """The rest of an experiment, and the machine: recorded, but free to change."""
    return {
        "name": experiment.name[:200],
        "data": describe(experiment.data),
        "models": experiment.models,
        "attacks": list(experiment.attacks),
        "versions": versions(),
        "device": device(),
        "git": revision(),
    }


def versions(more: Sequence[str] = ()) -> dict[str, str]:
    """The packages that a result hangs on, and more."""
    out = {"python": platform.python_version()}
    for name in (*PACKAGES, *more):
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def device() -> str:
    """The kind and number of this process's devices."""
    found = jax.local_devices()
    return f"{len(found)} x {found[0].device_kind}"


def revision() -> str | None:
    """The git revision of the code, with "+" if it was changed since; None outside a checkout."""
    here = Path(__file__).parent
    try:
        run = [
            subprocess.run(
                ["git", "-C", str(here), *words],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return run[0].strip() + ("+" if run[1].strip() else "")


def of_run(experiment: Experiment, store: Store) -> dict[str, Any]:
    """What a run's records say, for its summary."""
    records = store.records()
    accuracy = {}
    for key in ("train_accuracy", "test_accuracy"):
        values = [v for r in records for m, v in r.get(key, {}).items() if _counts(m, experiment)]
        accuracy[key] = float(np.mean(values)) if values else float("nan")
    gap = accuracy["train_accuracy"] - accuracy["test_accuracy"]
    expected = expected_members(experiment, identity_of(store)["examples"], store.read("person"))
    private = defences.guarantee(experiment.recipe, expected)
    told = {**accuracy, "generalization_gap": gap}
    seconds = sum(s for r in records for s in r.get("seconds", {}).values())
    attempts = {int(m): n for r in records for m, n in r.get("attempts", {}).items()}
    retrained = {str(m): n for m, n in sorted(attempts.items()) if _counts(m, experiment)}
    finished = sum(len(r["models"]) for r in records)
    return {
        **{k: v if np.isfinite(v) else None for k, v in told.items()},
        "diverged": sorted(
            m for r in records for m in r.get("diverged", []) if _counts(m, experiment)
        ),
        **({"retrained": retrained} if retrained else {}),
        "models_per_hour": finished / seconds * 3600 if seconds else None,
        **({"differential_privacy": private._asdict()} if private else {}),
        "experiment": {
            **identity_of(store),
            "name": experiment.name[:200],
            "signals": store.state(experiment.models),
            "plan": store.plan,
            **{k: store.experiment["about"][k] for k in ("versions", "device", "git")},
        },
    }


def members(experiment: Experiment, data: Data) -> int:
    """How many members a model is expected to have."""
    return expected_members(experiment, len(data.y), data.person)


def expected_members(
    experiment: Experiment, examples: int, person: Int[np.ndarray, " N"] | None
) -> int:
    """How many members that is, of a pool known by its size and its people."""
    drawn = drawing(experiment, person)
    return design.expected_members(drawn, experiment.seed, examples)


def drawing(experiment: Experiment, person: Int[np.ndarray, " N"] | None) -> Callable:
    """The experiment's design as it is drawn: over persons, where records belong to them."""
    return experiment.design if person is None else design.of_people(experiment.design, person)


def _counts(model: str | int, experiment: Experiment) -> bool:
    return int(model) < experiment.models


def identity_of(store: Store) -> dict[str, Any]:
    """The identity that a run folder holds."""
    return dict(store.experiment["identity"])


def read_json(path: Path) -> Any:
    """A JSON file of a run; raises `ValueError` if it is absent or broken."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
