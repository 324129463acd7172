"""A compiled program's text, XLA's optimised HLO, read into its computations."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_ARRAY = re.compile(r"\b([a-z]+[0-9][a-z0-9]*|pred)\[([0-9,]*)\](?:\{([^}]*)\})?")
_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_NAME = re.compile(r"%([\w.\-]+)")


class ArrayShape(NamedTuple):
    """An array as it lies in memory."""

    dtype: str
    dims: tuple[int, ...]
    layout: str = ""  # `1,0:T(8,128)S(1)`: dimensions from the fastest on, tiles, which memory

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.dims)

    @property
    def laid_out(self) -> int:
        """Its bytes; where a TPU stores it in tiles, with what fills the last ones up."""
        dims = list(self.dims)
        order, _, rest = self.layout.partition(":")
        if (tile := re.match(r"T\(([\d,]+)\)", rest)) and order:
            minor = [int(d) for d in order.split(",")]
            sizes = reversed([int(n) for n in tile[1].split(",")])
            for d, n in zip(minor, sizes, strict=False):
                dims[d] = -(-dims[d] // n) * n
        bits = 8 if self.dtype == "pred" else int(re.findall(r"\d+", self.dtype)[0])
        return math.prod(dims) * bits // 8

    @property
    def bytes(self) -> int:
        """What it takes of the device's memory: nothing where it stays on the chip (`S(1)`)."""
        return 0 if "S(1)" in self.layout else self.laid_out


class Instruction(NamedTuple):
    """One line: `%name = shape opcode(operands), attributes`."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    root: bool
    number: int | None = None  # of a parameter; the value of a whole constant

    @property
    def arrays(self) -> list[ArrayShape]:
        """What it gives: one array, or those of a tuple."""
        return arrays(self.shape)

    def calls(self, *keys: str) -> list[str]:
        """The computations that it names by one of these attributes."""
        return [name for k in keys for name in _names_of(self.attributes, k)]


Computation = dict[str, Instruction]


class Module(NamedTuple):
    """Computations by name; the program is that of the name `entry`."""

    computations: dict[str, Computation]
    entry: str


def arrays(shape: str) -> list[ArrayShape]:
    """The arrays of a shape as it is written."""
    return [
        ArrayShape(dtype, tuple(int(n) for n in dims.split(",") if n), layout)
        for dtype, dims, layout in _ARRAY.findall(shape)
    ]


def parse(text: str) -> Module:
    """Reads a program's text; raises `ValueError` for one without an entry."""
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in map(str.strip, text.splitlines()):
        if head := _HEAD.match(line):
            current = computations.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
        elif line == "}":
            current = None
        elif current is not None and (instruction := _instruction(line)):
            current[instruction.name] = instruction
    if not entry:
        raise ValueError(f"no HLO program: {text[:80]!r}")
    return Module(computations, entry)


def reached(module: Module, name: str) -> Iterator[Instruction]:
    """The instructions of a computation and of those that it calls, but not inside fusions."""
    for i in module.computations[name].values():
        yield i
        if i.opcode != "fusion":
            for inner in i.calls("body", "to_apply", "calls", "branch_computations"):
                yield from reached(module, inner)


def _instruction(line: str) -> Instruction | None:
    left, equals, right = line.partition(" = ")
    name = _NAME.search(left)
    if not equals or name is None:
        return None
    end = _closing(right, 0) + 1 if right.startswith("(") else right.find(" ")
    shape, rest = right[:end], right[end:].strip()
    opening = rest.find("(")
    if opening < 1:
        return None
    closing = _closing(rest, opening)
    opcode, inside = rest[:opening], rest[opening + 1 : closing]
    whole = opcode in ("parameter", "constant") and re.fullmatch(r"-?\d+", inside)
    return Instruction(
        name[1],
        shape,
        opcode,
        tuple(_NAME.findall(inside)),
        rest[closing + 1 :],
        root=left.startswith("ROOT"),
        number=int(inside) if whole else None,
    )


def _closing(text: str, opening: int) -> int:
    """The place of the parenthesis that closes the one at `opening`."""
    depth = 0
    for match in re.finditer(r"[()]", text[opening:]):
        depth += 1 if match[0] == "(" else -1
        if not depth:
            return opening + match.start()
    return len(text) - 1


def _names_of(attributes: str, key: str) -> list[str]:
    match = re.search(rf"\b{key}=(?:\{{([^}}]*)\}}|%?([\w.\-]+))", attributes)
    if match is None:
        return []
    return _NAME.findall(match[1]) if match[1] is not None else [match[2]]
