"""Which of a network's parameters a fine-tuned model trains: `Recipe.tune`, with `init_from`.

A parameter's name is its place in the network, such as `layers/2/kernel` (`init_from` has the same
names). A pattern is a name, or a part of the network (`layers/2`: all that is in it), in which `*`
stands for anything.
"""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, TypeAlias

from jaxmia.values import factory

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
NAMES = 12  # names in a refusal


class Parts(NamedTuple):
    """A network's parameters by name: those that train, and kernels that get an adapter.

    All others, and the adapted kernels themselves, stay as they are. An adapter adds
    `scale A B` to its kernel, with `A [in, rank]` and `B [rank, out]`.
    """

    trained: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    rank: int = 0
    scale: float = 1.0


@factory
def only(*patterns: str) -> Callable[[Shapes], Parts]:
    """These parameters train, all others stay bit for bit as `init_from` has them."""
    if not patterns:
        raise ValueError("only: needs the parameters that train, such as 'head'")

    def parts(shapes: Shapes) -> Parts:
        return Parts(trained=_matching("only", patterns, shapes))

    return parts


@factory
def lora(
    rank: int, *patterns: str, also: Sequence[str] = (), alpha: float | None = None
) -> Callable[[Shapes], Parts]:
    """Low-rank adapters `(alpha / rank) A B` train, added to kernels that stay (Hu et al. 2021).

    Of dense layers `[in, out]` and convolutions (a matrix `[height * width * in, out]`), all of
    them without patterns. B starts at zero, so that a model starts as the network was. `alpha` is
    the rank by default. The parameters named in `also` train themselves.
    """
    if rank < 1 or not (alpha is None or alpha > 0):
        raise ValueError(f"lora: rank={rank} must be 1 or more, alpha={alpha} above 0")
    if isinstance(also, str):
        raise ValueError(f"lora: also={also!r} must be several patterns, such as ({also!r},)")

    def parts(shapes: Shapes) -> Parts:
        trained = _matching("lora", also, shapes)
        matching = _matching("lora", patterns or ("*",), shapes)
        kernels = {n: matrix(shapes[n]) for n in matching if len(shapes[n]) in (2, 4)}
        adapted = tuple(n for n in kernels if n not in trained)
        if not adapted:
            raise ValueError(
                f"tune: lora({rank}) finds no kernel in {_some(matching)} that does not train "
                "itself"
            )
        small = min(adapted, key=lambda n: min(kernels[n]))
        if rank > min(kernels[small]):
            raise ValueError(
                f"tune: lora: rank={rank} must be at most {min(kernels[small])}, since {small} is "
                f"{list(kernels[small])}"
            )
        return Parts(trained, adapted, rank, 1.0 if alpha is None else alpha / rank)

    return parts


def matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """The rows and columns of a kernel: all that goes in, and what comes out."""
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows, shape[-1]


def _matching(what: str, patterns: Sequence[str], shapes: Shapes) -> tuple[str, ...]:
    """The parameters that the patterns name; raises `ValueError` for one that names none."""
    matching = set()
    for pattern in patterns:
        names = {n for n in shapes if fnmatchcase(n, pattern) or fnmatchcase(n, f"{pattern}/*")}
        if not names:
            raise ValueError(f"tune: {what}: {pattern[:80]!r} names none of {_some(list(shapes))}")
        matching |= names
    return tuple(n for n in shapes if n in matching)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more


TUNINGS = {"only": only, "lora": lora}
