"""What a regression from the examples expects each model to say of them, had it not seen them.

For the attack by quantile regression (Bertran et al. 2023): a network of the recipe's own kind with
a Gaussian head is fitted, by likelihood, to one model's phi on the population, points in nobody's
training set, and asked about the pool. One for each model, an ensemble of them, all trained
together as the models were.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from jaxmia import data as sources
from jaxmia.attacks.infinite import finite
from jaxmia.recipes import batch_gradient
from jaxmia.training import parallel
from jaxmia.training.pool import Pool, normalised, pool
from jaxmia.training.trainer import model_key, trainer
from jaxmia.types import Array, Data, Key, Params, Recipe, Signals, State, StepContext

ENSEMBLE = 4
EPOCHS = 30
RATE = 3e-3
BATCH = 512
LEAST = 0.3  # of a scale, in standard deviations of phi over the population
_STREAM = 77


def expected(
    recipe: Recipe, seed: int, data: Data, signals: Signals, convolution: str
) -> Float[np.ndarray, "M N 2"]:
    """Mean and scale of view 0's phi; NaN for a model whose phi is not known everywhere.

    Raises `ValueError` for a data set without a population.
    """
    population = sources.held_out(data).population
    if not len(population) or signals.population is None:
        raise ValueError(f"attacks: quantile_regression needs test examples, {data.name} has none")
    (z,) = finite(np.asarray(signals.population)[..., 0])
    sound = np.asarray(np.isfinite(z).all(1))
    mesh = parallel.mesh()
    fit = parallel.over_models(
        _fitter(recipe, data, len(population)), mesh, convolution=convolution
    )
    around = pool(data, data.x_test[population], data.y_test[population])
    inside = pool(data, data.x, data.y)
    shared = parallel.shared((around, inside), mesh)
    rows = np.resize(np.arange(len(z)), -(-len(z) // mesh.devices.size) * mesh.devices.size)
    keys = jax.vmap(lambda m: model_key(seed, m))(jnp.asarray(rows, jnp.int32))
    targets = np.where(sound[:, None], z, 0)[rows].astype(np.float32)
    moments = fit(shared, *parallel.spread((targets, keys), mesh))
    out = np.asarray(moments, np.float64)[: len(z)]
    return np.where(sound[:, None, None], out, np.nan)


def _fitter(recipe: Recipe, data: Data, points: int) -> Callable:
    """`fit((around, inside), phi [Z], key) -> [N, 2]` for one model."""
    recipe = replace(
        recipe,
        loss=_likelihood,
        optimizer=lambda steps: optax.adam(optax.cosine_decay_schedule(RATE, steps)),
        epochs=EPOCHS,
        dtype="float32",
        gradient=batch_gradient,
        batches="shuffled",
        validation=False,
        init_from=None,
        tune=None,
    )
    one = trainer(recipe, replace(data, classes=2), points)

    def fit(shared: tuple[Pool, Pool], phi: Float[Array, " Z"], key: Key) -> Array:
        around, inside = shared
        centre, scale = phi.mean(), phi.std() + 1e-6
        standard = around._replace(y=(phi - centre) / scale)

        def member(key: Key) -> Array:
            def epoch(shadow: Any, number: Array) -> tuple[Any, None]:
                everyone = jnp.ones(points, bool)
                return one.epoch(standard, everyone, key, number, shadow)[0], None

            shadow, _ = jax.lax.scan(epoch, one.init(key), jnp.arange(EPOCHS))

            def answer(x: Array) -> Array:
                return one.model.apply(shadow.params, shadow.state, x, key, False)[0]

            return _answers(answer, inside)

        keys = jax.random.split(jax.random.fold_in(key, _STREAM), ENSEMBLE)
        mean, spread = _head(jax.lax.map(member, keys))
        together = mean.mean(0)
        variance = (spread**2 + (mean - together[None]) ** 2).mean(0)
        return jnp.stack([together * scale + centre, jnp.sqrt(variance) * scale], -1)

    return fit


def _answers(answer: Callable[[Array], Array], inside: Pool) -> Float[Array, "N 2"]:
    """A network's answers on the whole pool, batch by batch."""
    examples = len(inside.y)
    size = min(BATCH, examples)
    x = jnp.concatenate([inside.x, inside.x[: -examples % size]])
    batches = x.reshape(-1, size, *x.shape[1:])
    outputs = jax.lax.map(lambda x: answer(normalised(inside, x)), batches)
    return outputs.reshape(-1, outputs.shape[-1])[:examples]


def _head(out: Float[Array, "*N 2"]) -> tuple[Array, Array]:
    """Mean and scale from a network's two outputs."""
    return out[..., 0], jax.nn.softplus(out[..., 1]) + LEAST


def _likelihood(
    apply: Callable,
    params: Params,
    state: State,
    x: Array,
    y: Array,
    key: Key,
    context: StepContext,
) -> tuple[Array, tuple[State, Array]]:
    """The negative Gaussian log-likelihood of y, and an L2 penalty as in the recipes."""
    out, state = apply(params, state, x, key, True)
    mean, scale = _head(out)
    value = (0.5 * ((y - mean) / scale) ** 2 + jnp.log(scale)).mean()
    weights = [w for w in jax.tree.leaves(params) if w.ndim > 1]
    value += 0.5 * 5e-3 * sum(jnp.vdot(w, w) for w in weights)
    return value, (state, out)
