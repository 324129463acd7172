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
from dataclasses import dataclass, field, fields
from pathlib import Path
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


class StepContext(NamedTuple):
    """Where in its training a model is, and what a step has besides its batch."""

    epoch: Array | int  # counted from 0
    epochs: int
    steps: int  # of the whole training
    batch_size: int  # as expected
    members: int  # as expected
    present: Bool[Array, " B"] | None = None  # the slots of the batch that are filled; None: all
    validation: Array | None = None  # examples outside of the pool, with the labels of the batch
    gap: Array | float | None = None  # training less validation accuracy, before this epoch


@dataclass(frozen=True)
class Recipe:
    """How one model is trained: comparable values, no arrays.

    `model(data) -> Model`; `optimizer(steps) -> optax.GradientTransformation`;
    `loss(apply, params, state, x, y, key, context) -> scalar, (state, logits)` over a batch;
    `augment(x, key) -> x` for one example as the network sees it;
    `gradient(loss, apply, params, state, x, y, key, context) -> grads, scalar, state, logits`.
    `context` is the `StepContext`, which few look at. `batches` are "shuffled", or "poisson": each
    member is in each batch with the same probability, independently. With `validation` every step
    also gets examples from outside of the pool. `init_from` is a run's folder or an .npz with the
    parameters that every model starts from (`training.start`); None: each draws its own. `tune`
    says which of them train (`tuning`), while the others stay as they are; None: all of them.
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
    # an experiment is known by the parameters, not by where they lie (`experiment.identity`)
    init_from: str | Path | None = field(default=None, metadata={"described": False})
    tune: Callable[..., Any] | None = field(default=None, metadata={"described": False})


class Signal(NamedTuple):
    """What there is to know of one kind of signal.

    `axes` are the letters of a run's arrays (a last 1: of view 0 alone), `words` what it is called
    where it is missing, `when` a run takes it of its models: "always", only if an attack asks
    for it ("asked"), if the experiment has "copies", or from the others by "regression", or from
    the "examples" themselves; `flag` is the field of `jaxmia score` that gives it.
    """

    axes: str
    words: str
    when: str = "always"
    flag: str = ""


def _signal(*about: str) -> Any:
    return field(default=None, metadata={"signal": Signal(*about)})


@dataclass(frozen=True)
class Signals:
    """What was seen of one model (`phi [N, Q]`) or of many (`phi [M, N, Q]`).

    View 0 is the example itself; signals other than phi may hold that view alone. `population` is
    phi `[..., Z, Q]` of points in nobody's training set; `robustness` is the share of changed
    copies that are classified rightly; `expected` is the mean and scale of phi by a regression on
    examples that the model has not seen. `gradient` is the log-norm of the loss's gradient, whole
    and then of each layer; `activations` are the last hidden layer's; `trajectory` is phi of view 0
    after some of the epochs, the last one included. `features` say which examples are alike.
    What an attack does not need may be None.
    """

    phi: Float[Array, "*M N Q"] = field(
        metadata={"signal": Signal("MNQ", "phi", "always", "signals")}
    )
    y: Int[Array, " N"] | None = _signal("N", "labels", "always", "labels")
    margin: Float[Array, "*M N _"] | None = _signal("MN1", "margin (or logits and labels)")
    entropy: Float[Array, "*M N _"] | None = _signal("MN1", "entropy (or logits and labels)")
    modified_entropy: Float[Array, "*M N _"] | None = _signal(
        "MN1", "modified entropy (or logits and labels)"
    )
    logits: Float[Array, "*M N C"] | None = _signal("MNC", "logits", "asked", "logits")
    robustness: Float[Array, "*M N"] | None = _signal(
        "MN", "robustness (an experiment's `copies`)", "copies"
    )
    expected: Float[Array, "*M N 2"] | None = _signal(
        "MN2", "the examples themselves: an experiment has them", "regression"
    )
    gradient: Float[Array, "*M N G"] | None = _signal(
        "MNG",
        "gradient norms (a run takes them of its models if it is started with this attack)",
        "asked",
        "gradient_norms",
    )
    activations: Float[Array, "*M N H"] | None = _signal(
        "MNH",
        "activations (a run takes them if it is started with this attack)",
        "asked",
        "activations",
    )
    trajectory: Float[Array, "*M N E"] | None = _signal(
        "MNE",
        "phi along the training (a run takes it if it is started with this attack)",
        "asked",
        "trajectory",
    )
    features: Float[Array, "N F"] | None = _signal(
        "NF",
        "features of the examples (--features; an experiment has them)",
        "examples",
        "features",
    )
    population: Float[Array, "*M Z Q"] | None = _signal(
        "MZQ", "a population", "always", "population"
    )

    def models(self, index: Any) -> "Signals":
        """Those of some of many models; of one model for a whole number."""
        return self._along("M", index)

    def examples(self, index: Any) -> "Signals":
        """Those of some examples; the population stays whole."""
        return self._along("N", index)

    def _along(self, letter: str, index: Any) -> "Signals":
        out = {}
        for name, signal in SIGNALS.items():
            value, axes = getattr(self, name), signal.axes
            if value is not None and letter in axes:
                many = np.ndim(value) == len(axes)  # the signals of one model lack the first axis
                place = axes.index(letter) - (0 if many or "M" not in axes else 1)
                value = np.asarray(value)[(slice(None),) * place + (index,)]
            out[name] = value
        return Signals(**out)


SIGNALS: dict[str, Signal] = {f.name: f.metadata["signal"] for f in fields(Signals)}


class Attacker(NamedTuple):
    """Whom an attack stands for: what it sees of the target, and what it knows besides.

    `access` is black-box (asks the model), white-box (has its parameters), or other words.
    """

    access: str
    sees: str
    knows: str


class Attack(NamedTuple):
    """An attack in its two uses. A higher score always means "more likely a member".

    `score(target, reference, member) -> [N]` for one target and `member [R, N]` of the references;
    `leave_one_out(signals, member, leave_out) -> [M, N]`, where each model is the target in turn
    and `leave_out` (`attacks.references.LeaveOut`) says who is no reference of it. NaN marks what
    cannot be scored. `needs` names signals; `log_ratio` says that scores are log-likelihood ratios,
    `trains` that networks are trained on the references, `panels` (`attacks.by_example.Panels`) how
    it is carried out where an example depends on others by sums alone, `p_value` which p-value
    under an example's OUT law goes with it (`attacks.p_values.KINDS`), if any, `paper` its source.
    """

    score: Callable[[Signals, Signals, Bool[Array, "R N"]], Float[np.ndarray, " N"]]
    leave_one_out: Callable[..., Float[np.ndarray, "M N"]]
    attacker: Attacker
    needs: tuple[str, ...] = ("phi",)
    log_ratio: bool = False
    trains: bool = False
    panels: Any = None
    p_value: str = ""
    paper: str = ""

    def missing(self, signals: Signals) -> str:
        """What the signals lack for the attack, in words; "" if nothing."""
        lacking = [n for n in self.needs if getattr(signals, n) is None]
        return " and ".join(SIGNALS[n].words for n in lacking)
