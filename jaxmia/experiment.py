"""An experiment: what is trained, on what, how often, and how it is attacked."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from jaxmia import augment, design
from jaxmia.attacks import ATTACKS as KNOWN
from jaxmia.train import DTYPES
from jaxmia.types import Data, Recipe

ATTACKS = ("lira_online", "lira_offline", "global_threshold", "correctness")


@dataclass(frozen=True)
class Experiment:
    """Plain values: `data() -> Data`, `design(seed, M, N) -> member`, `views(x) -> [Q, ...]`.

    `views` sees one example as the network does; its view 0 is the example itself. `copies(x)` are
    the changed copies of which label-only attacks count how many keep the label. `outputs(logits)`
    is what a model's answers go through, a defence.
    """

    name: str
    data: Callable[[], Data]
    recipe: Recipe
    models: int = 128
    design: Callable = design.complementary_halves
    views: Callable = augment.itself
    copies: Callable | None = None
    outputs: Callable | None = None
    attacks: tuple[str, ...] = ATTACKS
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what no run could be made of."""
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", self.name):
            raise ValueError(
                f"name={self.name[:120]!r} must be 1 to 100 letters, digits, '_', '.', '-', "
                "since it names a folder"
            )
        if self.models < 1:
            raise ValueError(f"models={self.models} must be 1 or more")
        if self.recipe.epochs < 1 or self.recipe.batch_size < 1:
            raise ValueError(
                f"epochs={self.recipe.epochs} and batch_size={self.recipe.batch_size} "
                "must be 1 or more"
            )
        if self.recipe.dtype not in DTYPES:
            raise ValueError(f"recipe.dtype={self.recipe.dtype!r} is not one of {DTYPES}")
        for name in self.attacks:
            if name not in KNOWN:
                raise ValueError(f"attacks: {name[:80]!r} is not one of {', '.join(sorted(KNOWN))}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must be between 0 and 2**32 - 1")
