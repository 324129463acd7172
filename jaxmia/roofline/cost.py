"""Kernels, bytes and operations of one call of a compiled program, by what the kernels do.

Loops count as often as XLA knows that they run, of branches the dearest. A kernel reads its
operands, of one that it only slices or gathers from what it takes; it writes its result, of one
that it updates in place the update. Operations are those of convolutions and matrix products, a
multiplication and an addition each, without those on padding and on zeros between pixels. Caches,
occupancy and the choice of algorithms are not in it: it bounds a time from below.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from jaxmia.roofline.hlo import ArrayShape, Computation, Instruction, Module
from jaxmia.roofline.operations import kind, operations, target_of

# what is no work of the device's: names for what is there already, and the ends of what was begun
FREE = frozenset(
    "parameter constant get-tuple-element tuple bitcast after-all partition-id replica-id iota "
    "opt-barrier add-dependency copy-done slice-done async-done async-update".split()
)
NAMES = ("AllocateBuffer", "ConcatBitcast")  # custom calls of a TPU that do nothing
COLLECTIVES = (
    "all-gather", "all-reduce", "all-to-all", "collective-broadcast", "collective-permute",
    "ragged-all-to-all", "reduce-scatter",
)  # fmt: skip
SLICES = ("dynamic-slice", "gather", "slice")
THROUGH = ("bitcast", "convert", "copy", "reshape", "transpose")  # of what is needed, no more


class Cost(NamedTuple):
    """Of some kernels: how many, the bytes that they move, the operations that they do."""

    kernels: float = 0.0
    bytes: float = 0.0
    operations: float = 0.0

    def plus(self, other: "Cost") -> "Cost":
        """Both together."""
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: int | float) -> "Cost":
        """So often, or such a part."""
        return Cost(*(factor * a for a in self))


class Costs(NamedTuple):
    """By kind of kernel; and how many loops count once since nothing says how often they run."""

    kinds: dict[str, Cost]
    unknown_loops: int

    @property
    def total(self) -> Cost:
        """Of all kinds."""
        return together(self.kinds.values())


def together(costs: Iterable[Cost]) -> Cost:
    """The sum of some."""
    total = Cost()
    for cost in costs:
        total = total.plus(cost)
    return total


def costs(module: Module) -> Costs:
    """What one call of a program costs one device."""
    return _computation(module, module.entry, {})


def collectives(module: Module) -> Counter[str]:
    """How often a program's text has each operation in which devices wait for each other."""
    names = (
        i.opcode.removesuffix("-start") for c in module.computations.values() for i in c.values()
    )
    return Counter(name for name in names if name in COLLECTIVES)


def _computation(module: Module, name: str, known_costs: dict[str, Costs]) -> Costs:
    if name in known_costs:
        return known_costs[name]
    kinds: dict[str, Cost] = {}
    unknown = 0
    computation = module.computations[name]
    for i in computation.values():
        if i.opcode in FREE or target_of(i) in NAMES:
            continue
        inner, more, factor = _inside(module, i, known_costs)
        for name_of, cost in inner.items():
            kinds[name_of] = kinds.get(name_of, Cost()).plus(cost.times(factor))
        unknown += more
        if not inner and i.opcode not in ("while", "call", "conditional"):
            name_of, cost = _kernel(module, computation, i)
            kinds[name_of] = kinds.get(name_of, Cost()).plus(cost)
    known_costs[name] = Costs(kinds, unknown)
    return known_costs[name]


def _inside(
    module: Module, i: Instruction, known_costs: dict[str, Costs]
) -> tuple[dict[str, Cost], int, int]:
    """What an instruction runs in other computations: by kind, unknown loops, and how often."""
    if i.opcode == "while":
        body = _computation(module, i.calls("body")[0], known_costs)
        trips = _trips(module, i)
        return body.kinds, body.unknown_loops + (trips is None), trips or 1
    if i.opcode == "conditional":
        names = i.calls("branch_computations", "true_computation", "false_computation")
        branches = [_computation(module, n, known_costs) for n in names]
        dearest = max(branches, key=lambda c: (c.total.bytes, c.total.operations))
        return dearest.kinds, dearest.unknown_loops, 1
    if i.opcode in ("call", "async-start"):
        (name,) = i.calls("to_apply", "calls")
        called = _computation(module, name, known_costs)
        return called.kinds, called.unknown_loops, 1
    return {}, 0, 1


def _trips(module: Module, i: Instruction) -> int | None:
    """How often a loop runs: as XLA notes it, or as its counter from 0 is compared; or None."""
    if note := re.search(r'"known_trip_count":\{"n":"(\d+)"', i.attributes):
        return int(note[1])
    condition = module.computations[i.calls("condition")[0]]
    (root,) = (x for x in condition.values() if x.root)
    limits = [x.number for x in condition.values() if x.opcode == "constant"]
    return limits[0] if len(limits) == 1 and "direction=LT" in root.attributes else None


def _kernel(module: Module, around: Computation, i: Instruction) -> tuple[str, Cost]:
    """What one kernel does, and its cost."""
    operands = [around[name] for name in i.operands if name in around]
    if i.opcode != "fusion":
        return kind([i]), Cost(1, _moved(i, operands), operations(around, i))
    inside = _fused(module, i)
    moved = _moved_by_fusion(module.computations[i.calls("calls")[0]], i, operands)
    return kind([x for _, x in inside]), Cost(1, moved, sum(operations(c, x) for c, x in inside))


def _fused(module: Module, i: Instruction) -> list[tuple[Computation, Instruction]]:
    """What a fusion does, with what fusions inside of it do."""
    out = []
    for name in i.calls("calls"):
        computation = module.computations[name]
        for inner in computation.values():
            out.append((computation, inner))
            out += _fused(module, inner) if inner.opcode == "fusion" else []
    return out


def _bytes(i: Instruction) -> int:
    return sum(a.bytes for a in i.arrays)


def _moved(i: Instruction, operands: list[Instruction]) -> int:
    """Bytes that a kernel of one instruction reads and writes."""
    sizes = [_bytes(o) for o in operands]
    if i.opcode in ("copy-start", "slice-start"):  # a tuple: where to, where from, a token
        to = i.arrays[0]
        return to.bytes + (to.laid_out if sizes and sizes[0] else 0)
    if i.opcode in SLICES:
        return _bytes(i) + min(sizes[0], i.arrays[0].laid_out) + sum(sizes[1:])
    if i.opcode == "dynamic-update-slice":
        return 2 * sizes[1]
    return _bytes(i) + sum(sizes)


def _moved_by_fusion(inside: Computation, i: Instruction, operands: list[Instruction]) -> int:
    read = sum(
        _reads(inside, p, _bytes(operands[p.number]))
        for p in inside.values()
        if p.opcode == "parameter" and p.number is not None
    )
    (root,) = (x for x in inside.values() if x.root)
    return read + _writes(inside, root, i.arrays)


def _reads(inside: Computation, of: Instruction, whole: int) -> int:
    """Bytes of an array that a fusion needs: all of it, or what is sliced off."""
    total = 0
    for user in (x for x in inside.values() if of.name in x.operands):
        first = user.operands[0] == of.name
        if user.opcode in SLICES and first:
            total += sum(a.laid_out for a in user.arrays)
        elif user.opcode == "dynamic-update-slice" and first:
            continue
        elif user.opcode in THROUGH:
            total += _reads(inside, user, whole)
        else:
            return whole
    return min(total, whole)


def _writes(inside: Computation, root: Instruction, result: list[ArrayShape]) -> int:
    """Bytes that a fusion writes; of an array that is updated in place those of the update."""
    if root.opcode == "tuple":
        parts = [inside[name] for name in root.operands]
        return sum(_writes(inside, p, [a]) for p, a in zip(parts, result, strict=True))
    if root.opcode in THROUGH and inside[root.operands[0]].opcode in (
        "dynamic-update-slice",
        *THROUGH,
    ):
        return _writes(inside, inside[root.operands[0]], result)
    if root.opcode == "dynamic-update-slice" and all(a.bytes for a in result):
        return sum(a.laid_out for a in inside[root.operands[1]].arrays)
    return sum(a.bytes for a in result)
