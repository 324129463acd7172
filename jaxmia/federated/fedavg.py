"""FedAvg (McMahan et al. 2017) as one compiled program, with the observer's signals.

Every example of the pool has a slot at one client of each federation, drawn anew for each; in half
of the slots the example is really there (a member), in the others it is not. The observer asks of
each example whether the client at whose place it is holds it. So members and non-members are alike
in all but membership, and signals and membership of M federations are arrays `[M, N]`.

A round: each client that takes part trains from the server's parameters for the recipe's epochs on
its own members; the server adds the mean of their updates. Clients are mapped `width` at a time and
laid over the devices, rounds are scanned; once a round the updates are summed over the devices.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Bool, Float

from jaxmia import design, recipes, signals
from jaxmia.training import gradients, parallel
from jaxmia.training.pool import Pool, normalised, pool
from jaxmia.training.trainer import Shadow, Trainer, in_dtype, model_key, trainer
from jaxmia.types import Array, Data, Key, Params, Recipe, State

_CLIENT, _ROUND = 101, 102  # streams of a federation's key that no stage of a model uses


@dataclass(frozen=True)
class Federation:
    """How a federation learns; `recipe.epochs` are those of one client in one round.

    A share `participation` of the clients takes part in a round, at least one, drawn anew for each.
    """

    recipe: Recipe
    clients: int = 64
    rounds: int = 50
    participation: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what is no federation."""
        if self.clients < 1 or self.rounds < 1:
            raise ValueError(f"clients={self.clients} and rounds={self.rounds} must be 1 or more")
        if not 0 < self.participation <= 1:
            raise ValueError(f"participation={self.participation} must be above 0 and at most 1")

    @property
    def participants(self) -> int:
        """How many clients take part in a round."""
        return max(1, round(self.participation * self.clients))


class Observed(NamedTuple):
    """What the observer of M federations sees in every round, of each example's own client.

    Before the client trains: `phi` of the server's model, and by layer (0 is the whole network)
    `norm = ||grad phi||`; of the client's update its own norm and `dot = <grad phi, update>`. NaN
    in a round without the client. `accuracy [M, 2]` is the trained server's on members and on test
    examples.
    """

    member: Bool[np.ndarray, "M N"]
    phi: Float[np.ndarray, "M N R"]
    norm: Float[np.ndarray, "M N R G"]
    dot: Float[np.ndarray, "M N R G"]
    update: Float[np.ndarray, "M N R G"]
    accuracy: Float[np.ndarray, "M 2"]
    layers: tuple[str, ...]


def plain_sgd(
    model: Callable, *, rate: float = 0.1, batch_size: int = 8, epochs: int = 1
) -> Recipe:
    """SGD at a constant rate without momentum or weight decay: an update is a sum of gradients."""
    recipe = recipes.sgd(model, epochs=epochs, batch_size=batch_size, weight_decay=0.0)
    return replace(recipe, optimizer=recipes.momentum_sgd(rate, 0.0, schedule="constant"))


def assignment(
    seed: int, federation: int, member: Bool[np.ndarray, " N"], clients: int
) -> np.ndarray:
    """The examples at each client's slots, `[clients, N / clients]`: members in the first half.

    Raises `ValueError` unless members and non-members can be dealt out evenly.
    """
    parts = [np.flatnonzero(member), np.flatnonzero(~member)]
    if len(parts[0]) != len(parts[1]) or len(parts[0]) % clients:
        raise ValueError(
            f"clients={clients}: {len(parts[0])} members and {len(parts[1])} others cannot be "
            f"dealt out evenly; the pool must have a multiple of {2 * clients} examples"
        )
    draws = np.random.Philox(np.random.SeedSequence([seed, federation, _CLIENT]))
    dealt = [part[np.argsort(draws.random_raw(len(part)))] for part in parts]
    return np.concatenate([d.reshape(clients, -1) for d in dealt], axis=1)


def federate(
    settings: Federation,
    data: Data,
    federations: int,
    seed: int = 0,
    *,
    mesh: Mesh | None = None,
    width: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Observed:
    """Trains so many federations, on complementary halves of the pool, and observes each.

    Raises `ValueError` for a pool that cannot be dealt out evenly.
    """
    mesh = mesh or parallel.mesh()
    devices = mesh.devices.size
    member = design.complementary_halves(seed, federations, len(data.y))
    dealt = [assignment(seed, m, row, settings.clients) for m, row in enumerate(member)]
    one = trainer(settings.recipe, data, dealt[0].shape[1] // 2)
    run = parallel.with_sums(rounds(settings, one, width, mesh), mesh)
    examples = parallel.shared(pool(data, data.x, data.y), mesh)
    right = _accuracy(one, settings.recipe)
    outside = pool(data, data.x_test, data.y_test)
    together = devices * width
    filled = np.arange(-(-settings.clients // together) * together)
    observations, accuracy = [], []
    for m in range(federations):
        rows = np.resize(dealt[m], (len(filled), dealt[m].shape[1]))  # the last are nobody's
        shared = (examples, model_key(seed, m))
        server, out = run(shared, *parallel.spread((rows, filled), mesh))
        order = np.argsort(dealt[m].reshape(-1))
        observations.append([_by_example(v, settings.clients)[order] for v in out])
        rates = [right(server, examples, member[m])]
        rates += (
            [right(server, outside, np.ones(len(data.y_test), bool))] if data.y_test.size else []
        )
        accuracy.append([float(a) for a in rates] + [np.nan] * (2 - len(rates)))
        say(f"federation {m + 1} of {federations}: accuracy {accuracy[-1][0]:.3f}")
    phi, norm, dot, update = (np.stack(v) for v in zip(*observations, strict=True))
    shapes = jax.eval_shape(one.init, model_key(0, 0)).params
    names = tuple(gradients.layers(shapes))
    return Observed(member, phi, norm, dot, update, np.array(accuracy), names)


def _by_example(values: Array, clients: int) -> np.ndarray:
    """`[R, C, n, ...]` of clients' slots as `[C n, R, ...]`."""
    a = np.moveaxis(np.asarray(values)[:clients], 2, 1)
    return a.reshape(-1, *a.shape[2:])


def rounds(settings: Federation, one: Trainer, width: int, mesh: Mesh) -> Callable:
    """`function(total, (pool, key), slots [c, n], number [c])`: all rounds on one device.

    For `parallel.with_sums` on the devices of this mesh.
    """
    recipe, epochs = settings.recipe, settings.recipe.epochs
    platform = mesh.devices.flat[0].platform

    def every(total: Callable, shared: tuple, slots: Array, number: Array) -> tuple:
        examples, key = shared
        start = one.init(key)

        def client(server: tuple, index: Array, row: tuple) -> tuple:
            slots, number, present = row
            x, y = (jnp.asarray(a)[slots] for a in examples[:2])
            own = examples._replace(x=x, y=y)
            inside = jnp.arange(len(slots)) < len(slots) // 2
            own_key = jax.random.fold_in(jax.random.fold_in(key, _CLIENT), number)

            def work(server: tuple) -> tuple:
                shadow = Shadow(server[0], server[1], start.optimizer)
                for e in range(epochs):
                    shadow, _ = one.epoch(own, inside, own_key, index * epochs + e, shadow)
                new = (shadow.params, shadow.state)
                update = jax.tree.map(jnp.subtract, new, server)
                return update, observed(one, recipe, own, server, update[0], platform)

            def rest(server: tuple) -> tuple:
                blank = jax.eval_shape(work, server)
                update = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), blank[0])
                return update, jax.tree.map(lambda a: jnp.full(a.shape, jnp.nan), blank[1])

            return lax.cond(present, lambda: work(server), lambda: rest(server))

        def step(server: tuple, index: Array) -> tuple:
            draw = jax.random.fold_in(jax.random.fold_in(key, _ROUND), index)
            active = participants(draw, settings.clients, settings.participants)
            present = (number < settings.clients) & active[number % settings.clients]

            def one_client(row: tuple) -> tuple:
                return client(server, index, row)

            rows = (slots, number, present)
            updates, observations = lax.map(
                one_client, rows, batch_size=width if width > 1 else None
            )
            whole = total(jax.tree.map(lambda u: u.sum(0), updates))
            server = jax.tree.map(lambda a, u: a + u / settings.participants, server, whole)
            return server, observations

        server, observations = lax.scan(
            step, (start.params, start.state), jnp.arange(settings.rounds)
        )
        return server, jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), observations)

    return every


def participants(key: Key, clients: int, count: int) -> Bool[Array, " C"]:
    """Who takes part in a round: every set of `count` clients is equally likely."""
    return jax.random.permutation(key, clients) < count


def observed(
    one: Trainer,
    recipe: Recipe,
    own: Pool,
    server: tuple[Params, State],
    update: Params,
    platform: str = "",
) -> tuple[Array, Array, Array, Array]:
    """phi `[n]`, and `[n, 1 + L]` norm, dot and the update's norm, of a client's slots."""
    apply = in_dtype(one.model.apply, recipe.dtype)
    key = jax.random.key(0, impl="threefry2x32")  # evaluation draws nothing
    params, state = server
    leaves = list(gradients.layers(params).values())

    def by_layer(parts: list[Array]) -> Array:
        sums = [sum(parts[i] for i in own) for own in leaves]
        return jnp.stack([sum(parts), *sums])

    def products(a: Params, b: Params) -> Array:
        pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        return by_layer([jnp.vdot(x, y) for x, y in pairs])

    def phi(params: Params, x: Array, y: Array) -> Array:
        return signals.phi(apply(params, state, x[None], key, False)[0], y[None])[0]

    def example(at: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        value, gradient = jax.value_and_grad(phi)(params, *at)
        return value, jnp.sqrt(products(gradient, gradient)), products(gradient, update)

    size = min(len(own.y), gradients.microbatch(params, platform))
    values = lax.map(example, (normalised(own, own.x), own.y), batch_size=size)
    length = jnp.sqrt(products(update, update))
    return *values, jnp.broadcast_to(length[None], values[1].shape)


def _accuracy(one: Trainer, recipe: Recipe) -> Callable[..., Any]:
    """`right(server, pool, member)`: the share of a pool's members that is classified rightly."""
    apply = in_dtype(one.model.apply, recipe.dtype)

    @jax.jit
    def right(server: tuple, examples: Pool, member: Bool[Array, " N"]) -> Array:
        key = jax.random.key(0, impl="threefry2x32")
        z, _ = apply(*server, normalised(examples, jnp.asarray(examples.x)), key, False)
        return (signals.margin(z, examples.y) > 0).mean(where=member)

    return right
