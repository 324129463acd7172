"""Writes every table and every sentence with a number again, from the rows in experiments/results.

    python -m experiments.pages

A page is Markdown with marked parts: what stands between `<!-- rows: NAME -->` and `<!-- end -->`
is the part of this name, made of rows; the rest is written by hand and holds no measured number.
Pictures of which a module has `PICTURES` are drawn again, too. A test says when the pages that are
kept differ from those that the rows make.
"""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from experiments.pages import (
    accelerators,
    benchmark,
    cascade,
    defences,
    federated,
    fine_tuning,
    finite_pool,
    frequencies,
    imitation,
    ladder,
    many_models,
    offline,
    one_run,
    people,
    poisoning,
    private,
    ratings,
    sets,
    shifted,
    speed,
    unlearning,
    whitebox,
)
from jaxmia.command.terminal import guarded

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
MARKED = re.compile(r"(<!-- rows: ([\w-]+) -->)(.*?)(<!-- end -->)", re.S)
MODULES = (
    accelerators, benchmark, cascade, defences, federated, fine_tuning, finite_pool, frequencies,
    imitation, ladder, many_models, offline, one_run, people, poisoning, private, ratings, sets,
    shifted, speed, unlearning, whitebox,
)  # fmt: skip
PARTS: dict[str, Callable[[], str]] = {
    f"{module.__name__.rpartition('.')[2]}-{name}": part
    for module in MODULES
    for name, part in module.PARTS.items()
}


PICTURES: dict[str, Callable[[], str]] = {
    f"{module.__name__.rpartition('.')[2]}_{name}.svg": picture
    for module in (benchmark,)
    for name, picture in module.PICTURES.items()
}  # of docs, drawn from rows


def filled(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """A page with its marked parts made anew; raises `ValueError` for a name that is no part."""

    def part(match: re.Match) -> str:
        start, name, old, end = match.groups()
        if name not in parts:
            raise ValueError(f"rows: {name!r} is not one of {', '.join(sorted(parts))}")
        between = "\n\n" if old.startswith("\n") else ""  # a part of its own, or within a line
        try:
            new = parts[name]()
        except FileNotFoundError as error:
            new = f"*Not measured by this version: no {Path(error.filename).name} is kept.*"
        return f"{start}{between}{new}{between}{end}"

    return MARKED.sub(part, text)


def main() -> None:
    """Rewrites the pages and their pictures, and says which have changed."""
    for name, picture in PICTURES.items():
        (ROOT / "docs" / name).write_text(picture())
    for page in PAGES:
        old = page.read_text()
        new = filled(old, PARTS)
        if new != old:
            page.write_text(new)
            print(page.relative_to(ROOT), file=sys.stderr)


if __name__ == "__main__":
    guarded(main)
