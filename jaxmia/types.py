"""The nouns of the pipeline, and the letters of its axes.

| letter | axis                | letter   | axis                                    |
| ------ | ------------------- | -------- | --------------------------------------- |
| `M`    | shadow models       | `C`      | classes                                 |
| `N`    | examples in a pool  | `B`      | minibatch                               |
| `K`    | members of a model  | `S`      | training steps                          |
| `Q`    | queries (views)     | `T`, `R` | target and reference models (rows of M) |
| `Z`    | population examples |          |                                         |
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

Array: TypeAlias = jax.Array | np.ndarray
Key: TypeAlias = jax.Array  # a typed threefry key, one for each model
Params: TypeAlias = Any  # a pytree of float32 arrays
State: TypeAlias = Any  # a pytree of what a model carries but does not learn (running statistics)


@dataclass(frozen=True, eq=False)
class Data:
    """A pool of examples to draw members from, and examples that nobody is trained on.

    A network sees `(x - shift) / scale`; on disk and on the device `x` stays as it was stored. A
    report shows examples of a `public` set unasked, in this `shape` if they are images stored flat.
    """

    name: str
    x: np.ndarray
    y: Int[np.ndarray, " N"]
    x_test: np.ndarray
    y_test: Int[np.ndarray, " _"]
    classes: int
    shift: np.ndarray | np.float32 = np.float32(0)
    scale: np.ndarray | np.float32 = np.float32(1)
    label_names: tuple[str, ...] = ()
    person: Int[np.ndarray, " N"] | None = None  # the individual that a record belongs to
    public: bool = False
    shape: tuple[int, ...] = ()


class Model(NamedTuple):
    """One network as two pure functions.

    `init(key) -> params, state` and `apply(params, state, x, key, train) -> logits, state`,
    for a batch `x [B, ...]` and float32 logits `[B, C]`. `key` feeds dropout and the like.
    """

    init: Callable[[Key], tuple[Params, State]]
    apply: Callable[[Params, State, Array, Key, bool], tuple[Array, State]]


class Moment(NamedTuple):
    """Where in its training a model is, and what a step has besides its batch."""

    epoch: Array | int  # counted from 0
    epochs: int
    steps: int  # of the whole training
    batch_size: int  # as expected
    members: int  # as expected
    present: Bool[Array, " B"] | None = None  # the places of the batch that are filled; None: all
    validation: Array | None = None  # examples outside of the pool, with the labels of the batch
    gap: Array | float | None = None  # training less validation accuracy, before this epoch


@dataclass(frozen=True)
class Recipe:
    """How one model is trained: comparable values, no arrays.

    `model(data) -> Model`; `optimizer(steps) -> optax.GradientTransformation`;
    `loss(apply, params, state, x, y, key, at) -> scalar, (state, logits)` over a batch;
    `augment(x, key) -> x` for one example as the network sees it;
    `gradient(loss, apply, params, state, x, y, key, at) -> grads, scalar, state, logits`.
    `at` is the `Moment`, which few look at. `batches` are "shuffled", or "poisson": each member
    is in each batch with the same probability, independently. With `validation` every step also
    gets examples from outside of the pool.
    """

    model: Callable[[Data], Model]
    optimizer: Callable[[int], Any]
    loss: Callable[..., Any]
    augment: Callable[[Array, Key], Array]
    gradient: Callable[..., Any]
    epochs: int = 50
    batch_size: int = 64
    dtype: str = "float32"
    batches: str = "shuffled"
    validation: bool = False


@dataclass(frozen=True)
class Signals:
    """What was seen of one model (`phi [N, Q]`) or of many (`phi [M, N, Q]`).

    View 0 is the example itself; signals other than phi may hold that view alone. `population` is
    phi `[..., Z, Q]` of points in nobody's training set; `robustness` is the share of changed
    copies that are classified rightly; `expected` is the mean and scale of phi by a regression on
    examples that the model has not seen. `gradient` is the log-norm of the loss's gradient, whole
    and then of each layer; `activations` are the last hidden layer's; `trajectory` is phi of view 0
    after some of the epochs, the last one included. What an attack does not need may be None.
    """

    phi: Float[Array, "*M N Q"]
    y: Int[Array, " N"] | None = None
    margin: Float[Array, "*M N _"] | None = None
    entropy: Float[Array, "*M N _"] | None = None
    modified_entropy: Float[Array, "*M N _"] | None = None
    logits: Float[Array, "*M N C"] | None = None
    robustness: Float[Array, "*M N"] | None = None
    expected: Float[Array, "*M N 2"] | None = None
    gradient: Float[Array, "*M N G"] | None = None
    activations: Float[Array, "*M N H"] | None = None
    trajectory: Float[Array, "*M N E"] | None = None
    population: Float[Array, "*M Z Q"] | None = None


class Attack(NamedTuple):
    """An attack in its two uses. A higher score always means "more likely a member".

    `score(target, reference, member) -> [N]` for one target and `member [R, N]` of the references;
    `leave_one_out(signals, member, leave_out) -> [M, N]`, where each model is the target in turn
    and `leave_out` (`attacks.references.LeaveOut`) says who is no reference of it. NaN marks what
    cannot be scored.
    `missing(signals) -> str` names what the signals lack for it, "" if nothing; `needs` are the
    signals that a run takes of its models only if an attack asks for them.
    """

    score: Callable[[Signals, Signals, Bool[Array, "R N"]], Float[np.ndarray, " N"]]
    leave_one_out: Callable[..., Float[np.ndarray, "M N"]]
    missing: Callable[[Signals], str]
    needs: tuple[str, ...] = ()
    panels: Any = None  # `attacks.chunks.Panels`, where an example hangs on others by sums alone
