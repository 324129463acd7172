"""Speed: training against PyTorch and plain JAX, many models, scoring, from signals to report."""

from itertools import groupby

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row


def _ratio(row: Row | None, best: Row) -> str:
    return f"{row['step_ms'] / best['step_ms']:.2f}×" if row else "–"


def throughput() -> str:
    """A line for each recipe and run: the best width and convolution against the loops."""
    heads = (
        "recipe", "jaxmia, best", "a step", "models/h", "against plain JAX",
        "against the PyTorch loop", "against two of them", "of the matrix product", "compile",
        "asking, an example", "date",
    )  # fmt: skip
    body = []
    for recipe, group in groupby(rows.read("throughput"), key=lambda row: row["recipe"]):
        own = list(group)
        best = next(r for r in own if r["auto"])
        others = {r["method"]: r for r in own}
        ask = next((r["ask_us"] for r in own if r["ask_us"]), 0.0)
        body.append((
            f"`{recipe}`", f"width {best['width']}, {best['convolution']}",
            f"{words.number(best['step_ms'])} ms", words.number(best["models_per_hour"]),
            _ratio(others.get("jax_sequential"), best), _ratio(others.get("torch_loop"), best),
            _ratio(others.get("torch_pair"), best), words.percent(best["arithmetic_share"], 0),
            f"{best['compile_s']:.1f} s", f"{words.number(ask)} µs" if ask else "–",
            best["time"][:10],
        ))  # fmt: skip
    return words.table(heads, body)


def scaling() -> str:
    """A line for each number of models."""
    heads = ("models", "ms a model (train and query)", "peak memory")
    own = rows.read("scaling")
    return words.table(
        heads,
        [(str(r["models"]), f"{r['model_ms']:.1f}", f"{r['peak_mib']:.0f} MiB") for r in own],
    )


def scoring() -> str:
    """A line for each size and variant of LiRA."""
    heads = ("M × N × Q", "variant", "seconds", "copies", "× refit", "ns a number")
    body = [
        (
            f"{r['models']} × {words.count(r['examples'])} × {r['queries']}",
            f"`{r['work']}`", f"{r['seconds']:.3f}", f"{r['copies']:.0f}", f"{r['refits']:.0f}",
            f"{r['ns_per_number']:.1f}",
        )
        for r in rows.read("scoring_speed")
    ]  # fmt: skip
    return words.table(heads, body)


def evaluation() -> str:
    """A line for each version, in turn."""
    heads = ("revision", "seconds", "CPU seconds", "highest memory", "ratio of seconds", "date")
    body = [
        (
            f"`{r['git'][:7]}`" + (" (before)" if r["version"] == "other" else ""),
            f"{r['seconds']:.1f}", f"{r['cpu_seconds']:.1f}", f"{r['peak_bytes'] / 2**30:.2f} GiB",
            f"{r['ratio']:.2f}" if "ratio" in r else "", r["time"][:10],
        )
        for r in rows.read("evaluation")
    ]  # fmt: skip
    return words.table(heads, body)


PARTS = {
    "throughput": throughput,
    "scaling": scaling,
    "scoring": scoring,
    "evaluation": evaluation,
}
