"""The estimators of a run: fitted in parallel processes, asked, written as each is finished."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxmia import machine
from jaxmia.estimators import Procedure, Table, fitting
from jaxmia.estimators.fitting import Answers, Task
from jaxmia.signals import OF_LOGITS, log_odds, logits_of
from jaxmia.storage.locks import LockHeldError
from jaxmia.training.interrupt import Interrupt
from jaxmia.work import Work

REPEAT = 1 << 32  # added to the seed of models that are trained once more on the first sets


def fit(work: Work) -> bool:
    """Fits and asks this worker's models that are not finished; whether there were any.

    What is there is compared with its digests first. As `blocks.train`, which is for networks: a
    block that another process holds is left out, and `LockHeldError` raised if it stays unfinished.
    """
    store, progress, models = work.store, work.options.progress, work.experiment.models
    for line in store.verify(_fixed(work), work.mine):
        progress.say(line)
    todo = [number for number, _ in work.missing() if work.mine(number)]
    if not todo:
        return False
    busy, noted = None, {}
    whole = sum(len(lacking) for number, lacking in work.missing() if work.mine(number))
    with Interrupt() as interrupt, progress.models(whole, 1, len(todo)):
        for number in todo:
            progress.block()
            try:
                with store.lock(number):
                    for model, answers in _fitted(work, store.lacking(number, models)):
                        _finish(work, number, model, answers)
                        noted.update({line: model for line in answers.warnings})
                        progress.advance(1, 1)
                        interrupt.check()
            except LockHeldError as error:
                busy = error
                progress.say(str(error))
    for line, model in noted.items():
        progress.say(f"the fit of model {model}, and maybe of others, warned: {line}")
    if busy and any(work.mine(number) for number, _ in work.missing()):
        raise busy
    return True


def _fitted(work: Work, models: list[int]) -> Iterator[tuple[int, Answers]]:
    """Models with their answers, as they are ready."""
    from joblib import Parallel, delayed

    recipe, data, seed = work.experiment.recipe, work.data, work.experiment.seed
    assert isinstance(recipe, Procedure) and isinstance(data, Table)
    seed += REPEAT * work.repeat
    same = (recipe.estimator, data.x, data.target, data.values)
    tasks = (delayed(_numbered)(*same, Task(m, seed, work.membership.of([m])[0])) for m in models)
    jobs = machine.cores() if work.options.width == "auto" else int(work.options.width)
    many = max(1, min(jobs, len(models)))
    yield from Parallel(many, return_as="generator_unordered")(tasks)


def _numbered(estimator: Any, x: Any, target: Any, classes: Any, task: Task) -> tuple[int, Answers]:
    return task.model, fitting.fit(estimator, x, target, classes, task)


def signals_of(data: Table, kind: str, values: np.ndarray) -> dict[str, Float[np.ndarray, "N ..."]]:
    """A model's answers as signals of view 0: phi `[N, 1]`, the others `[N]`.

    phi of a classifier is the log-odds of the true class, in float64; of a regression the negative
    logarithm of the squared error: +inf for an error of exactly 0.
    """
    if kind == "errors":
        with np.errstate(divide="ignore"):
            return {"phi": -np.log(values)[:, None]}
    z = logits_of(values) if kind == "probabilities" else values
    out = {k: np.asarray(of(z.astype(np.float32), data.y)) for k, of in OF_LOGITS.items()}
    if kind == "probabilities":
        out["phi"] = log_odds(values, data.y)
    return out | {"phi": out["phi"][:, None]}


def _finish(work: Work, block: int, model: int, answers: Answers) -> None:
    """Writes a model's signals, then the record that vouches for them."""
    store, member = work.store, work.membership.of([model])[0]
    signals = signals_of(work.data, answers.kind, answers.values)
    arrays = {"member": member[None]}
    arrays |= {k: v.astype(np.float32)[None] for k, v in signals.items()}
    facts = {"train_accuracy": {}, "test_accuracy": {}}
    if "margin" in signals:
        right = signals["margin"] > 0
        rates = {"train_accuracy": right[member], "test_accuracy": right[~member]}
        facts = {k: {str(model): _mean(v)} for k, v in rates.items() if len(v)}
    fixed = {name: store.write_fixed(name, values) for name, values in _fixed(work).items()}
    store.finish(
        block,
        [model],
        arrays,
        work.experiment.models,
        **facts,
        structure={str(model): answers.structure},
        fixed=fixed,
        seconds={str(model): answers.seconds},
    )
    store.log(block=block, models=1, seconds=answers.seconds)


def _mean(right: Bool[np.ndarray, " n"]) -> float:
    return round(float(right.mean()), 6)


def _fixed(work: Work) -> dict[str, np.ndarray]:
    """What a run folder holds once: labels, if these are classes, and whose a record is."""
    assert isinstance(work.data, Table)
    labels = {} if work.data.values is None else {"y": work.data.y}
    return labels | ({} if work.data.person is None else {"person": work.data.person})
