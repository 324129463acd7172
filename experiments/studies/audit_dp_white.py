"""White-box canaries for DP-SGD: their gradient is known, and so is where to look for it.

Each moves a parameter of its own, which no record and no logit uses (a Dirac gradient), by more
than any clipping norm. Whoever sees what each step releases of it sees the clip and the noise alone
(Nasr et al. 2023): the audit is as tight as its number of trials allows.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from experiments.studies.audit_dp_canaries import halves, of_pool
from experiments.studies.audit_dp_trials import Trials
from jaxmia.types import Array, Data, Key, Model, Params, Recipe, State, StepContext
from jaxmia.values import factory

PUSH = 100.0  # of a canary's gradient: far above any clipping norm


@factory
def with_unused(network: Callable[[Data], Model], coordinates: int = 1) -> Callable[[Data], Model]:
    """A network with parameters besides, `unused [coordinates]`, that its logits do not use."""

    def build(data: Data) -> Model:
        inner = network(data)

        def init(key: Key) -> tuple[Params, State]:
            params, state = inner.init(key)
            return {"network": params, "unused": jnp.zeros(coordinates)}, state

        def apply(
            params: Params, state: State, x: Array, key: Key, train: bool
        ) -> tuple[Array, State]:
            return inner.apply(params["network"], state, x, key, train)

        return Model(init, apply)

    return build


@factory
def dirac(first_step: bool = False) -> Callable:
    """Cross-entropy, but for marked examples `PUSH` times their own unused coordinate.

    The first pixel, which is empty in every digit, marks them: c + 1 moves coordinate c up, -1 - c
    down. With `first_step` only as long as nothing has moved it.
    """

    def loss(
        apply: Callable,
        params: Params,
        state: State,
        x: Array,
        y: Array,
        key: Key,
        context: StepContext | None = None,
    ) -> tuple[Array, tuple[State, Array]]:
        logits, state = apply(params, state, x, key, True)
        mark = jnp.round(x.reshape(len(x), -1)[:, 0])
        own = params["unused"][jnp.maximum(jnp.abs(mark).astype(jnp.int32) - 1, 0)]
        push = PUSH * jnp.sign(mark) * own
        if first_step:
            push = jnp.where(own == 0, push, 0.0)
        plain = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.where(mark == 0, plain, push).mean(), (state, logits)

    return loss


@factory
def marked(canaries: int = 1, others: int = 100, opposing: bool = False) -> Callable[[], Data]:
    """Marked canaries, each with its own coordinate, and digits beside them.

    `opposing` digits push the first canary's coordinate the other way.
    """

    def load() -> Data:
        x, y = halves()[1]
        own = np.zeros((canaries, 64), np.float32)
        own[:, 0] = np.arange(canaries) + 1
        beside = x[:others].copy()
        beside[:, 0] = -1.0 if opposing else 0.0
        labels = np.concatenate([np.zeros(canaries, np.int32), y[:others]])
        pool = np.concatenate([own, beside]), labels
        return of_pool("digits, marked", pool, (x[others:], y[others:]), image=False)

    return load


@factory
def recorded(rate: float) -> Callable[[int], optax.GradientTransformation]:
    """Gradient descent that remembers every gradient it is given, of the unused coordinates.

    They are what DP-SGD releases: whoever looks on from inside sees each of them.
    """

    def optimizer(steps: int) -> optax.GradientTransformation:
        def init(params: Params) -> tuple[Array, Array]:
            return jnp.int32(0), jnp.zeros((steps, len(params["unused"])))

        def update(grads: Params, state: tuple, params: Params = None) -> tuple[Params, tuple]:
            step, releases = state
            releases = releases.at[step].set(grads["unused"])
            return jax.tree.map(lambda g: -rate * g, grads), (step + 1, releases)

        return optax.GradientTransformation(init, update)

    return optimizer


def white_box(
    recipe: Recipe, rate: float, coordinates: int = 1, first_step: bool = False
) -> Recipe:
    """A recipe with unused coordinates, Dirac canaries, and a record of what is released."""
    return replace(
        recipe,
        model=with_unused(recipe.model, coordinates),
        loss=dirac(first_step),
        optimizer=recorded(rate),
    )


def releases(trials: Trials) -> Float[np.ndarray, "M S K"]:
    """What every step released of the unused coordinates, up where a canary pushes."""
    return np.asarray(trials.shadows.optimizer[1], np.float64)
