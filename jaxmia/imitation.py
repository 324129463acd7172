"""Shadow models that learn to answer as the target does (IMIA): their data, and their recipe.

Ordinary shadow models differ from the target by their own random start and members. An imitative
one is first trained as usual, then also drawn towards the target's logits on its own members
(IMIA, USENIX Security 2026), so that it stands nearer to what the target would say of an example
that it has not seen. `attacks.imitative` scores by such models.
"""

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxmia.types import Array, Data, Key, Model, Params, Recipe, State, StepContext
from jaxmia.values import factory

WARM_UP = 0.8  # of the epochs, before which an imitative model is an ordinary one


@factory
def answered(source: Callable[[], Data], logits: Float[Array, "N C"]) -> Callable[[], Data]:
    """A pool whose examples carry the target's logits, behind their own flattened features.

    Test examples carry zeros: nobody is trained on them. Raises `ValueError` for logits that are
    not finite, and when called for another number of examples or classes.
    """
    answers = np.asarray(logits, np.float32)
    if answers.ndim != 2 or not np.isfinite(answers).all():
        raise ValueError(f"answered: logits of shape {answers.shape} must be [N, C] and finite")

    def load() -> Data:
        data = source()
        if answers.shape != (len(data.y), data.classes):
            raise ValueError(
                f"answered: logits of shape {answers.shape} are not those of {len(data.y)} "
                f"examples and {data.classes} classes"
            )

        def with_answers(x: np.ndarray, answers: np.ndarray) -> np.ndarray:
            flat = x.reshape(len(x), -1).astype(np.float32)
            return np.concatenate([flat, answers], 1)

        def of_features(value: np.ndarray | np.float32, rest: float) -> np.ndarray:
            flat = np.broadcast_to(np.asarray(value, np.float32), data.x.shape[1:]).reshape(-1)
            return np.concatenate([flat, np.full(data.classes, rest, np.float32)])

        nothing = np.zeros((len(data.x_test), data.classes), np.float32)
        return replace(
            data,
            name=f"{data.name}, answered",
            x=with_answers(data.x, answers),
            x_test=with_answers(data.x_test, nothing),
            shift=of_features(data.shift, 0.0),
            scale=of_features(data.scale, 1.0),
            public=False,
            shape=(),
        )

    return load


def imitating(recipe: Recipe, shape: tuple[int, ...], warm_up: float = WARM_UP) -> Recipe:
    """The recipe of models that imitate the target on `answered` data.

    `shape` is that of an example in the source. After a share `warm_up` of the epochs the loss is
    half the recipe's own and half the squared distance of the logits to the target's.
    """
    return replace(
        recipe,
        model=without_answers(recipe.model, shape),
        augment=augmented(recipe.augment, shape),
        loss=imitation(recipe.loss, warm_up),
    )


@factory
def without_answers(
    model: Callable[[Data], Model], shape: tuple[int, ...]
) -> Callable[[Data], Model]:
    """A network that sees an example's own features alone, in their shape."""

    def build(data: Data) -> Model:
        size = int(np.prod(shape))

        def features(x: np.ndarray) -> np.ndarray:
            return np.asarray(x)[..., :size].reshape(*np.shape(x)[:-1], *shape)

        def own(value: np.ndarray | np.float32) -> np.ndarray | np.float32:
            return features(np.asarray(value)) if np.ndim(value) else value

        plain = replace(
            data, x=features(data.x), x_test=features(data.x_test), shift=own(data.shift),
            scale=own(data.scale),
        )  # fmt: skip
        inner = model(plain)

        def apply(
            params: Params, state: State, x: Array, key: Key, train: bool
        ) -> tuple[Array, State]:
            x = x[..., :size].reshape(*x.shape[:-1], *shape)
            return inner.apply(params, state, x, key, train)

        return Model(inner.init, apply)

    return build


@factory
def augmented(
    augment: Callable[[Array, Key], Array], shape: tuple[int, ...]
) -> Callable[[Array, Key], Array]:
    """The augmentation of an example's own features; the target's answer stays."""

    def one(x: Array, key: Key) -> Array:
        size = int(np.prod(shape))
        return jnp.concatenate([augment(x[:size].reshape(shape), key).reshape(-1), x[size:]])

    return one


@factory
def imitation(plain: Callable, warm_up: float = WARM_UP) -> Callable:
    """`plain`, and after the warm-up `plain / 2 + mean((z - z_target)^2) / 2`.

    IMIA's loss with a margin weight and a temperature of 1, which is what its authors ran.
    """
    if not 0 <= warm_up <= 1:
        raise ValueError(f"imitation: warm_up={warm_up} must be between 0 and 1")

    def loss(
        apply: Callable,
        params: Params,
        state: State,
        x: Array,
        y: Array,
        key: Key,
        context: StepContext,
    ) -> tuple[Array, tuple[State, Array]]:
        value, (after, logits) = plain(apply, params, state, x, y, key, context)
        apart = ((logits - x[..., -logits.shape[-1] :]) ** 2).mean()
        late = jnp.asarray(context.epoch) >= warm_up * context.epochs
        return jnp.where(late, (value + apart) / 2, value), (after, logits)

    return loss
