"""`--explain`: how a run would be carried out, before it is."""

import math

import jax

from jaxmia import data as sources
from jaxmia import defences, machine
from jaxmia.data.beside import Beside
from jaxmia.evaluation import memory
from jaxmia.evaluation.from_disk import on_disk
from jaxmia.experiment import Experiment, members, shape_of_phi
from jaxmia.options import Options
from jaxmia.training import parallel, processes
from jaxmia.training.batches import schedule, slots
from jaxmia.training.plan import choose, measure
from jaxmia.types import Data
from jaxmia.work import other_shadows


def explain(experiment: Experiment, options: Options) -> list[str]:
    """The plan with its measurements, the memory of a block, and the time to finish.

    The time is that of the training steps, from a few that were timed; queries come on top.
    """
    processes.start(machine.cache_folder() / "programs")
    data, mesh = sources.usable(experiment.data()), parallel.mesh()
    plan, trials = choose(
        experiment.recipe, data, mesh, experiment.models, options.width, options.block
    )
    trials = trials or measure(experiment.recipe, data, mesh, [(plan.width, plan.convolution)])
    trial = next(t for t in trials if (t.width, t.convolution) == (plan.width, plan.convolution))
    expected = members(experiment, data)
    steps = _steps(experiment, expected)
    models = experiment.models + experiment.repeat_sets
    seconds = trial.step_seconds * steps * models
    other = other_shadows(experiment, data)
    blocks = -(-experiment.models // plan.block)
    lines = [
        f"device: {machine.device()}",
        f"plan: {blocks} block(s) of {plan.block} models, {plan.width} vmapped together, "
        f"convolutions {plan.convolution}",
    ]
    for t in sorted(trials, key=lambda t: t.step_seconds):
        lines.append(
            f"  width {t.width}, {t.convolution}: {t.step_seconds * 1e3:.3f} ms per model-step, "
            f"{t.compile_seconds:.1f} s to compile, {t.bytes / 2**20:.0f} MiB"
        )
    views = 4 * plan.block * len(data.y)
    return [
        *lines,
        *_private(experiment, data, expected, plan.width),
        *(
            [f"repeats: {experiment.repeat_sets} of the training sets are trained on once more"]
            if experiment.repeat_sets
            else []
        ),
        f"training: {models} models x {steps} steps, about {seconds:.0f} s "
        f"({3600 * models / seconds:,.0f} models/h)",
        *(_other_shadows(*other, len(data.y), trial.step_seconds) if other else []),
        f"signals: {views / 2**20:.0f} MiB per block and view",
        _scoring(experiment, data, options),
    ]


def _scoring(experiment: Experiment, data: Data, options: Options) -> str:
    """The memory it takes, as it would be done on this machine now; or why it cannot be."""
    try:
        from_disk = on_disk(experiment, data, options.stream)
    except ValueError as error:
        return f"scoring: {error}"
    size, where = (memory.streamed, ", from disk") if from_disk else (memory.in_memory, "")
    shape, attacks = shape_of_phi(experiment, data), len(experiment.attacks)
    return f"scoring: at most {memory.in_words(size(shape, 4, attacks))}{where}"


def _steps(experiment: Experiment, members: int) -> int:
    """Training steps of a model."""
    recipe = experiment.networks
    return members // min(recipe.batch_size, members) * recipe.epochs


def _other_shadows(other: Experiment, both: Beside, pool: int, step_seconds: float) -> list[str]:
    """What the shadow models of other data take besides, and what is left out of them."""
    expected = members(other, both.data)
    steps, records = _steps(other, expected), len(both.data.y) - pool
    alike = f", {both.same} that the pool holds, too, left out" if both.same else ""
    return [
        f"shadow data: {other.models} more models, of {expected} each of {records} other records"
        f"{alike}, x {steps} steps, about {step_seconds * steps * other.models:.0f} s; attacks by "
        "these are figures besides"
    ]


def _private(experiment: Experiment, data: Data, members: int, width: int) -> list[str]:
    """What DP-SGD guarantees, and what the gradients of single examples take."""
    guarantee = defences.guarantee(experiment.recipe, members)
    if guarantee is None:
        return []
    params, _ = jax.eval_shape(
        experiment.networks.model(data).init, jax.random.key(0, impl="threefry2x32")
    )
    one = 4 * width * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    whole = slots(schedule(experiment.recipe, members)[0], members, len(data.y))
    group = min(defences.microbatch(experiment.recipe) or whole, whole)
    return [
        f"DP-SGD: epsilon {guarantee.epsilon:.3f} at delta {guarantee.delta:g} "
        f"({guarantee.relation}), noise multiplier {guarantee.noise_multiplier:.3f}, "
        f"clip {guarantee.clip:g}, sampling rate {guarantee.rate:.4f}, {guarantee.steps} steps",
        f"gradients of {group} examples at once: {group * one / 2**20:.1f} MiB on a device "
        f"(microbatch=None: {whole}, {whole * one / 2**20:.1f} MiB)",
    ]
