"""What is known of an experiment on an absent device, in lines and as JSON. Bounds, no speeds."""

from typing import Any

from jaxmia.roofline.ask import Answer
from jaxmia.roofline.bound import LAUNCH, Bound
from jaxmia.roofline.compiled import Compiled
from jaxmia.roofline.devices import Accelerator

LIMITS = ("memory", "arithmetic", "launches")


def lines(answer: Answer, price: float = 0.0) -> list[str]:
    """For people; `price` is that of all chips for an hour."""
    chip = answer.device.chip
    out = _head(answer.device)
    if answer.blanks:
        out.append(f"data: {', '.join(answer.blanks)} not prepared here: as many black images")
    for refusal in answer.refusals:
        out.append(f"{refusal.name} at width {refusal.width} DOES NOT COMPILE: {refusal.reason}")
    for program, least in answer.tried:
        parts = ", ".join(
            f"{1e3 * s:.3g} ms of {n}" for n, s in zip(LIMITS, least, strict=True) if s
        )
        out.append(f"width {program.width}: training a model takes at least {parts}")
    for program in answer.programs:
        out += _program(program, chip.memory)
    for program in answer.too_large:
        out.append(f"{program.name} at width {program.width} DOES NOT FIT on a chip")
    return out + (_whole(answer, price) if answer.programs else [])


def federation_lines(device: Accelerator, program: Compiled, least: Bound) -> list[str]:
    """For people, of one federation; its model-steps are those of its clients."""
    parts = ", ".join(f"{s:.3g} s of {n}" for n, s in zip(LIMITS, least, strict=True) if s)
    return [
        *_head(device),
        *_program(program, device.chip.memory),
        f"bound: a federation takes at least {least.seconds:.3g} s ({parts})",
    ]


def _head(device: Accelerator) -> list[str]:
    chip = device.chip
    launch = f", {LAUNCH * 1e6:g} µs a kernel (assumed)" if chip.platform == "cuda" else ""
    return [
        f"compiled for {device.name}, not run: bounds, no measurements",
        f"device: {device.chips} x {device.kind}, each {chip.memory / 1e9:g} GB, "
        f"{chip.bandwidth / 1e12:g} TB/s, {chip.bfloat16 / 1e12:g} TFLOP/s in bfloat16, "
        f"{chip.float32 / 1e12:g} in float32{launch}",
    ]


def _program(program: Compiled, memory: float) -> list[str]:
    """One program: memory, collectives, and its kernels by kind."""
    waits = ", ".join(f"{n} {name}" for name, n in program.collectives.items()) or "none"
    per, scale = "model", program.calls / program.models
    if program.steps > 1:
        per, scale = "model-step", 1 / program.steps / program.models
    out = [
        f"{program.name}: compiles ({program.seconds:.0f} s); "
        f"{program.memory.total / 1e9:.2f} of {memory / 1e9:g} GB with {program.models} models on "
        f"a chip, {program.width} together; collectives: {waits}",
    ]
    if program.costs.unknown_loops:
        out.append(f"  {program.costs.unknown_loops} loops of unknown length count once")
    by_bytes = sorted(program.costs.kinds.items(), key=lambda item: -item[1].bytes)
    for kind, cost in [("together", program.costs.total), *by_bytes]:
        one = cost.times(scale)
        work = f", {one.operations / 1e9:,.1f} GFLOP" if one.operations else ""
        out.append(f"  {kind}: {one.kernels:,.1f} kernels, {one.bytes / 1e6:,.1f} MB{work} a {per}")
    return out


def _whole(answer: Answer, price: float) -> list[str]:
    """The bound on models an hour, what fits, and what it costs."""
    limits = ", ".join(
        f"{3600 * answer.device.chips / s:,.0f} by {name}"
        for name, s in zip(LIMITS, answer.whole, strict=True)
        if s
    )
    out = [
        f"fits on a chip: width {answer.largest_width}, or blocks of {answer.largest_block} at "
        f"width {answer.programs[0].width}",
    ]
    if answer.sound:
        out.append(f"bound: at most {answer.models_per_hour:,.0f} models/h ({limits})")
    if answer.models_per_hour:
        hours = answer.models / answer.models_per_hour
        out.append(f"{answer.models} models: at least {hours:.2f} hours")
        if price:
            out[-1] += f", {hours * price:.2f} at {price:g} an hour"
            out.append(f"models for 1: at most {answer.models_per_hour / price:,.0f}")
    return out


def as_json(answer: Answer, price: float = 0.0) -> dict[str, Any]:
    """The same for programs; times in seconds, sizes in bytes."""
    hours = answer.models / answer.models_per_hour if answer.models_per_hour else None
    return {
        "device": answer.device.name,
        "chips": answer.device.chips,
        "chip": answer.device.chip._asdict(),
        "measured": False,
        "blank_data": answer.blanks,
        "refusals": [r._asdict() for r in answer.refusals],
        "too_large": [p.name for p in answer.too_large],
        "widths": {str(p.width): b._asdict() for p, b in answer.tried},
        "programs": {
            p.name: {
                "width": p.width,
                "models": p.models,
                "compile_seconds": p.seconds,
                "memory": p.memory._asdict(),
                "collectives": p.collectives,
                "unknown_loops": p.costs.unknown_loops,
                "calls": p.calls,
                "steps": p.steps,
                "kinds": {k: c._asdict() for k, c in p.costs.kinds.items()},
                "bound_seconds_of_a_model": b._asdict(),
            }
            for p, b in zip(answer.programs, answer.bounds, strict=True)
        },
        "largest_width": answer.largest_width,
        "largest_block": answer.largest_block,
        "bound_models_per_hour": answer.models_per_hour or None,
        "bound_hours": hours,
        "bound_price": hours * price if hours and price else None,
    }
