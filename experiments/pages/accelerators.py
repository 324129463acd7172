"""Experiments compiled for devices that are not here: structure and bounds, no measurements."""

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

LIMITS = {"memory": "memory", "arithmetic": "arithmetic", "launches": "kernel starts"}


def _line(row: Row) -> tuple[str, ...]:
    name = (f"`{row['experiment']}`", row["on"])
    if row.get("too_large"):
        return (*name, "yes, and does not fit", *["–"] * 4)
    if row["refusals"]:
        return (*name, f"no: {row['refusals'][0]['reason']}", *["–"] * 4)
    step, limits = row["step"], row["limits"]
    by = max(limits, key=lambda k: limits[k])
    return (
        *name,
        f"yes, width {row['width']}, {row['memory'] / 1e9:.2f} GB",
        f"{step['kernels']:.0f}",
        f"{words.number(step['bytes'] / 1e6)} MB",
        f"{words.number(step['operations'] / 1e9)} GFLOP",
        f"{words.count(round(row['bound_models_per_hour']))} ({LIMITS[by]})",
    )


def table(*names: str) -> str:
    """A line for each experiment (of these names, if any) and device."""
    heads = ("experiment", "compiled for", "compiles", "kernels", "bytes", "operations",
             "bound, models/h (by)")  # fmt: skip
    order = sorted(rows.read("compiled"), key=lambda r: (r["on"], r["bound_models_per_hour"] or 0))
    some = [r for r in order if not names or r["experiment"] in names]
    return words.table(heads, map(_line, some))


def front() -> str:
    """The experiments that are for accelerators."""
    return table("cifar10_fast", "cifar10_lira")


def about() -> str:
    """With what it was compiled."""
    row = rows.read("compiled")[0]
    names = ("jax", "jax-cuda13-plugin", "libtpu")
    versions = ", ".join(f"{k} {row['versions'][k]}" for k in names if k in row["versions"])
    waits = sum(r.get("collectives", 0) for r in rows.read("compiled"))
    return (
        f"Kernels, bytes and operations of a model's training step; {waits or 'no'} collectives. "
        f"Compiled, not run: bounds at data-sheet speeds, **no measurements**. "
        f"`{row['command']}`; {versions}; {row['time'][:10]}."
    )


PARTS = {"table": table, "front": front, "about": about}
