"""How many models fit on a chip: together in one vmap (width), and in one block."""

from collections.abc import Sequence

from jaxmia.roofline.compiled import Compiled

WIDEST = 1024


def fits(program: Compiled, memory: float) -> bool:
    """Whether a program runs in so many bytes as it was compiled."""
    return program.memory.total <= memory


def total(program: Compiled, width: int, models: int, per_width: float) -> float:
    """Bytes of a program on a chip at another width and block than it was compiled for.

    `per_width` is the temporary memory of one model more in a vmap. A model more in the block is in
    the arguments and once more in the loop over the block, and has its results.
    """
    own = 2 * program.own + program.memory.results / program.models
    grown = (models - program.models) * own
    return program.memory.total + grown + (width - program.width) * per_width


def per_width(programs: Sequence[Compiled]) -> float:
    """Temporary bytes of one model more in a vmap, from one program at one or two widths."""
    narrow, wide = programs[0], programs[-1]
    if narrow.width == wide.width:
        return wide.memory.temporary / wide.width
    return (wide.memory.temporary - narrow.memory.temporary) / (wide.width - narrow.width)


def largest_width(programs: Sequence[Compiled], memory: float) -> int:
    """The largest power of two that fits in so much memory, in blocks no larger; 0 if none does."""
    slope, width = max(0.0, per_width(programs)), 0
    for power in range(WIDEST.bit_length()):
        models = max(programs[-1].models, 1 << power)
        if total(programs[-1], 1 << power, models, slope) <= memory:
            width = 1 << power
    return width


def largest_block(programs: Sequence[Compiled], memory: float) -> int:
    """The models that fit at the widths that the programs are compiled for; 0 if none do."""
    return max(0, min(_models(p, memory) for p in programs))


def _models(program: Compiled, memory: float) -> int:
    one = total(program, program.width, program.models + 1, 0.0) - program.memory.total
    free = memory - program.memory.total
    more = int(free // max(1.0, one)) // program.width * program.width
    return program.models + more
