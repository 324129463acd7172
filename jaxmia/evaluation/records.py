"""What a run was made from and on: its identity, which must agree, and the facts around it."""

from typing import Any

import numpy as np

from jaxmia import defences
from jaxmia.estimators import Procedure
from jaxmia.evaluation import structure
from jaxmia.experiment import Experiment, expected_members
from jaxmia.storage.store import Store
from jaxmia.types import Recipe


def of_run(experiment: Experiment, store: Store) -> dict[str, Any]:
    """What a run's records say, for its summary."""
    records = store.records()
    accuracy = {}
    for key in ("train_accuracy", "test_accuracy"):
        values = [v for r in records for m, v in r.get(key, {}).items() if _counts(m, experiment)]
        accuracy[key] = float(np.mean(values)) if values else float("nan")
    gap = accuracy["train_accuracy"] - accuracy["test_accuracy"]
    expected = expected_members(experiment, store.identity["examples"], store.read("person"))
    recipe = experiment.recipe
    private = defences.guarantee(recipe, expected) if isinstance(recipe, Recipe) else None
    rates = {**accuracy, "generalization_gap": gap}
    seconds = sum(s for r in records for s in r.get("seconds", {}).values())
    attempts = {int(m): n for r in records for m, n in r.get("attempts", {}).items()}
    retrained = {str(m): n for m, n in sorted(attempts.items()) if _counts(m, experiment)}
    finished = sum(len(r["models"]) for r in records)
    return {
        **{k: v if np.isfinite(v) else None for k, v in rates.items()},
        "diverged": sorted(
            m for r in records for m in r.get("diverged", []) if _counts(m, experiment)
        ),
        **({"retrained": retrained} if retrained else {}),
        **(_of_estimators(experiment, records) if isinstance(recipe, Procedure) else {}),
        "models_per_hour": finished / seconds * 3600 if seconds else None,
        **({"differential_privacy": private._asdict()} if private else {}),
        "experiment": {
            **store.identity,
            "name": experiment.name[:200],
            "signals": store.state(experiment.models),
            "plan": store.plan,
            **{k: store.experiment["about"][k] for k in ("versions", "device", "git")},
        },
    }


def _of_estimators(experiment: Experiment, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Which models are attacked, in words, and what lies in them."""
    models = experiment.models
    attacked = (
        f"each of {models} models in turn, which the estimator's procedure fitted anew, the others "
        "as references; the estimator itself is none of them"
    )
    inside = structure.of_models(records, models)
    return {"attacked": attacked} | ({"structure": inside} if inside else {})


def _counts(model: str | int, experiment: Experiment) -> bool:
    return int(model) < experiment.models
