"""Membership designs: who is in which model's training set.

A design is a function `(seed, M, N) -> member [M, N]`. Row m depends on (seed, m) alone, so that
more models can be added later, unless `fixed_models` says otherwise. One that takes `rows` besides
gives those rows by themselves, `[n, N]`, so that no worker draws the models of others.
Each design samples a membership family of Li et al. 2013, and goes with one relation of
differential privacy: "add/remove" or "replace-one".
"""

import inspect
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from jaxmia.types import Array
from jaxmia.values import Value, factory

Member = Bool[np.ndarray, "M N"]
Rows = Sequence[int] | None  # of which models; None for all


def _draws(seed: int, row: int, count: int) -> np.ndarray:
    """64 random bits for each example; the raw stream is the same in every version of NumPy."""
    return np.random.Philox(np.random.SeedSequence([seed, row])).random_raw(count)


def _uniform(seed: int, row: int, count: int) -> np.ndarray:
    return (_draws(seed, row, count) >> np.uint64(11)) * 2.0**-53


def _subset(seed: int, row: int, size: int, examples: int) -> np.ndarray:
    """`size` of the examples, every set of them equally likely."""
    member = np.zeros(examples, bool)
    if size:
        member[np.argpartition(_draws(seed, row, examples), size - 1)[:size]] = True
    return member


def _numbers(M: int, rows: Rows) -> Int[np.ndarray, " n"]:
    return np.arange(M) if rows is None else np.asarray(rows, int)


def complementary_halves(seed: int, M: int, N: int, rows: Rows = None) -> Member:
    """Each pair of models (2i, 2i + 1) splits the pool in two random halves.

    Bounded (fixed-size) distributions; replace-one. Every example is IN M/2 models. With odd M the
    last model has no partner; with odd N the second of a pair has one member more.
    """
    models = _numbers(M, rows)
    member = np.zeros((len(models), N), bool)
    for pair in np.unique(models // 2).tolist():
        half = _subset(seed, pair, N // 2, N)
        member[models == 2 * pair] = half
        member[models == 2 * pair + 1] = ~half
    return member


@factory
def poisson(p: float | Sequence[float] | Array = 0.5) -> Callable[[int, int, int], Member]:
    """Each example is in each model with probability p, or its own `p [N]`, independently.

    Unbounded, mutually independent families; add/remove. p = 1/2 is the framework's new notion, p
    in {0, b} differential privacy under sampling. Raises `ValueError` for a p outside [0, 1].
    """
    chance = np.asarray(p, np.float64)
    if not ((chance >= 0) & (chance <= 1)).all() or chance.ndim > 1:
        raise ValueError(f"poisson: p={p} must be between 0 and 1, one number or one per example")

    def draw(seed: int, M: int, N: int, rows: Rows = None) -> Member:
        if chance.ndim and chance.shape != (N,):
            raise ValueError(f"poisson: p has {chance.size} entries, the pool has {N} examples")
        return np.stack([_uniform(seed, int(m), N) < chance for m in _numbers(M, rows)])

    return draw


@factory
def fixed_size(k: int) -> Callable[[int, int, int], Member]:
    """Each model has exactly k members, drawn without replacement.

    Bounded (fixed-size) distributions; replace-one. Raises `ValueError` unless 1 <= k <= N.
    """

    def draw(seed: int, M: int, N: int, rows: Rows = None) -> Member:
        if not 1 <= k <= N:
            raise ValueError(f"fixed_size: k={k} must be between 1 and the pool's {N} examples")
        return np.stack([_subset(seed, int(m), k, N) for m in _numbers(M, rows)])

    if k < 1:
        raise ValueError(f"fixed_size: k={k} must be 1 or more")
    return draw


def _balanced(u: np.ndarray, p: float) -> Member:
    """In every column, the models with the int(pM) smallest draws."""
    return u.argsort(0) < int(p * len(u))


def _check_share(name: str, p: float) -> None:
    if not 0 < p < 1:
        raise ValueError(f"{name}: p={p} must be above 0 and below 1")


@factory
def balanced_columns(p: float = 0.5) -> Callable[[int, int, int], Member]:
    """Every example is IN exactly int(pM) of the M models.

    One row alone is independent with probability p; add/remove. Defined for a fixed M. Leaving one
    model out tells its membership unless a reference of the opposite side leaves too (`lira`).
    """
    _check_share("balanced_columns", p)

    def draw(seed: int, M: int, N: int) -> Member:
        return _balanced(np.stack([_uniform(seed, m, N) for m in range(M)]), p)

    return draw


@factory
def official_lira(p: float = 0.5) -> Callable[[int, int, int], Member]:
    """Balanced columns as the published LiRA code draws them, bit by bit at seed 0.

    Carlini et al. 2022, code: `u.argsort(0) < int(p M)` for a uniform `u [M, N]` of NumPy's old
    generator. Fixed M; add/remove, one row at a time.
    """
    _check_share("official_lira", p)

    def draw(seed: int, M: int, N: int) -> Member:
        return _balanced(np.random.RandomState(seed).uniform(0, 1, (M, N)), p)  # noqa: NPY002

    return draw


@factory
def one_unknown(candidates: Sequence[int]) -> Callable[[int, int, int], Member]:
    """Everyone is in but the candidates, of whom exactly one is, drawn uniformly.

    Identifiability among m candidates (Lee & Clifton 2012); replace-one.
    """
    index = _index("one_unknown", candidates, least=2)

    def draw(seed: int, M: int, N: int, rows: Rows = None) -> Member:
        models = _numbers(M, rows)
        member = _everyone_but("one_unknown", index, len(models), N)
        picks = [int(_draws(seed, int(m), 1)[0] % len(index)) for m in models]
        member[np.arange(len(models)), index[picks]] = True
        return member

    return draw


@factory
def canaries(index: Sequence[int]) -> Callable[[int, int, int], Member]:
    """Everyone is in but the canaries, each of which is with probability 1/2, independently.

    Auditing with chosen, say mislabelled, examples (Steinke, Nasr & Jagielski 2023); add/remove.
    """
    examples = _index("canaries", index, least=1)

    def draw(seed: int, M: int, N: int, rows: Rows = None) -> Member:
        models, count = _numbers(M, rows), len(examples)
        member = _everyone_but("canaries", examples, len(models), N)
        member[:, examples] = np.stack([_uniform(seed, int(m), count) < 0.5 for m in models])
        return member

    return draw


@factory
def anchored(base: Callable, anchors: Mapping[int, int]) -> Callable[[int, int, int], Member]:
    """The base design, but that anchors are in every model (1) or in none (0), by their numbers.

    So shadow models resemble a target whose members are known in part (CMIA, Du et al. 2026). No
    column but the anchors' changes. Raises `ValueError` for other values than 0 and 1, or for
    numbers that are not in the pool.
    """
    index = _index("anchored", list(anchors), least=1)
    values = np.asarray(list(anchors.values()))
    if not np.isin(values, (0, 1)).all():
        raise ValueError("anchored: an anchor must be 1 (in every model) or 0 (in none)")

    def draw(seed: int, M: int, N: int, rows: Rows = None) -> Member:
        if index.max() >= N:
            raise ValueError(f"anchored: example {index.max()} is not in the pool of {N}")
        member = np.array(some(base, seed, M, N, rows), bool)
        member[:, index] = values.astype(bool)
        return member

    return draw


@factory
def after(base: Callable, examples: int) -> Callable[[int, int, int], Member]:
    """The base design over all but the first so many examples, which are in no model.

    So models are asked about records that they cannot have seen (`data.beside`). Raises
    `ValueError` for a pool that holds no others.
    """

    def draw(seed: int, M: int, N: int, rows: Rows = None) -> Member:
        if not 0 <= examples < N:
            raise ValueError(f"after: {examples} examples must be fewer than the pool's {N}")
        others = some(base, seed, M, N - examples, rows)
        return np.pad(np.asarray(others, bool), ((0, 0), (examples, 0)))

    return draw


DESIGNS = {
    "complementary_halves": complementary_halves,
    "poisson": poisson,
    "fixed_size": fixed_size,
    "balanced_columns": balanced_columns,
    "official_lira": official_lira,
    "one_unknown": one_unknown,
    "canaries": canaries,
    "anchored": anchored,
}


def of_people(design: Callable, person: Int[np.ndarray, " N"]) -> Callable[[int, int, int], Member]:
    """The design drawn over persons instead of records: who is in is in with all their records.

    A design's list of numbers counts the persons then, in the order of their ids. Raises
    `ValueError` for a pool of another size.
    """
    ids, index = np.unique(person, return_inverse=True)

    def draw(seed: int, M: int, N: int, rows: Rows = None) -> Member:
        if len(person) != N:
            raise ValueError(f"of_people: {len(person)} records have a person, the pool has {N}")
        of_ids = some(design, seed, M, len(ids), rows)
        return np.asarray(of_ids, bool)[:, index.reshape(-1)]

    return draw


def _index(name: str, index: Sequence[int], least: int) -> np.ndarray:
    array = np.asarray(index)
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(np.unique(array)) != len(array):
        raise ValueError(f"{name}: needs a list of different example numbers, not {index!r:.80}")
    if len(array) < least or array.min() < 0:
        raise ValueError(f"{name}: needs {least} or more example numbers, from 0 up")
    return array


def _everyone_but(name: str, index: np.ndarray, M: int, N: int) -> Member:
    if index.max() >= N:
        raise ValueError(f"{name}: example {index.max()} is not in the pool of {N}")
    member = np.ones((M, N), bool)
    member[:, index] = False
    return member


def by_row(design: Callable) -> bool:
    """Whether a design gives the rows of some models by themselves."""
    if isinstance(design, Value):
        base = design.arguments.get("base")
        return design.takes("rows") and (base is None or by_row(base))
    return callable(design) and "rows" in inspect.signature(design).parameters


def some(design: Callable, seed: int, M: int, N: int, rows: Rows) -> Member:
    """Those rows of a membership; drawn whole where the design cannot do otherwise."""
    if rows is None:
        return design(seed, M, N)
    if by_row(design):
        return design(seed, M, N, rows)
    return np.asarray(design(seed, M, N))[np.asarray(rows)]


def fixed_models(design: Callable) -> bool:
    """Whether a design is defined for a fixed M, so that models cannot be added later."""
    if not isinstance(design, Value):
        return False
    if design.factory in [f.__wrapped__ for f in (anchored, after)]:
        return fixed_models(design.arguments["base"])
    return design.factory in [f.__wrapped__ for f in (balanced_columns, official_lira)]


def names_examples(design: Callable) -> bool:
    """Whether a design treats examples by their numbers, so that it fits one pool alone."""
    if not isinstance(design, Value):
        return False
    if design.factory is poisson.__wrapped__:
        return bool(np.ndim(design.arguments["p"]))
    return design.factory in [f.__wrapped__ for f in (one_unknown, canaries, anchored, after)]


def expected_members(design: Callable, seed: int, N: int) -> int:
    """How many members a model has on average, from 64 rows of the design whatever M is.

    It sets the number of training steps. Raises `ValueError` if models have no members at all.
    """
    members = round(float(design(seed, 64, N).sum(1).mean()))
    if members < 1:
        raise ValueError(f"design={design!r} leaves models of a pool of {N} without members")
    return members
