"""What `experiments.studies.defences` defends, and how strongly: recipes, data, and the grid."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from jaxmia import data, defences, recipes
from jaxmia.defences import outputs
from jaxmia.models import mlp, resnet
from jaxmia.types import Data, Recipe

BASELINE = "dp_sgd epsilon=inf"  # its recipe without clipping and noise: what the noise costs


class Setup(NamedTuple):
    """What is defended, and how strongly."""

    source: Callable[[], Data]
    recipe: Recipe
    canaries: int
    cells: dict[str, Callable[[Recipe], Recipe]]  # "defence strength": the defence


def digits() -> Setup:
    """MLPs on scikit-learn's scans; half of 1438 are members."""
    recipe = recipes.sgd(mlp(128, 128), epochs=50, batch_size=64, rate=0.1)
    large = replace(recipe, epochs=30, batch_size=128)  # fewer, larger steps need less noise
    large = defences.weight_decay(large, 0.0)
    return Setup(data.digits(image=True), recipe, 160, _cells(large, epochs=(3, 6, 12), pixels=1))


def cifar(name: str) -> Setup:
    """ResNet-20 on 50 000 images; for DP-SGD with GroupNorm."""
    recipe = recipes.sgd(resnet(20), epochs=60, batch_size=128, rate=0.1)
    group = recipes.sgd(
        resnet(20, norm="group"), epochs=60, batch_size=1024, rate=1.0, weight_decay=0.0
    )
    return Setup(data.tfds(name), recipe, 1000, _cells(group, epochs=(10, 20, 40), pixels=4))


SETUPS = {
    "digits": digits,
    "cifar10": partial(cifar, "cifar10"),
    "cifar100": partial(cifar, "cifar100"),
}


def _cells(private: Recipe, epochs: tuple[int, ...], pixels: int) -> dict[str, Callable]:
    """The grid. DP-SGD starts from a recipe of its own."""
    d = defences

    def grid(defence: Callable, name: str, strengths: tuple, **more: Any) -> dict[str, Callable]:
        cells = {s: partial(defence, **{name: s}, **more) for s in strengths}
        return {f"{defence.__name__} {name}={s:g}": cell for s, cell in cells.items()}

    return (
        {"none": lambda recipe: recipe}
        | grid(d.mixup, "alpha", (0.2, 1.0, 4.0))
        | grid(d.mixup_mmd, "weight", (1.0, 3.0, 10.0))
        | {
            f"dp_sgd epsilon={e:g}": lambda _, e=e: d.dp_sgd(private, epsilon=e, clip=1.0)
            for e in (64.0, 16.0, 4.0)
        }
        | {BASELINE: lambda _: private}
        | grid(d.early_stopping, "epochs", epochs)
        | grid(d.weight_decay, "strength", (2e-3, 5e-3, 2e-2))
        | grid(d.dropout, "rate", (0.25, 0.5, 0.75))
        | grid(d.label_smoothing, "smoothing", (0.1, 0.3, 0.6))
        | grid(d.flip_and_shift, "pixels", (pixels, 2 * pixels), flip=pixels > 1)
        | grid(d.cutout, "size", (2 * pixels, 3 * pixels, 4 * pixels))
        | grid(d.relax_loss, "alpha", (0.05, 0.15, 0.5))
        | grid(d.hamp, "gamma", (0.5, 0.7, 0.9))
    )


OUTPUTS = {
    "temperature t=10": outputs.temperature(10.0),
    "top_k k=3": outputs.top_k(3),
    "top_k k=1": outputs.top_k(1),
    "rounded digits=3": outputs.rounded(3),
    "rounded digits=1": outputs.rounded(1),
    "label_only": outputs.label_only(),
    "mem_guard budget=0.05": outputs.mem_guard(0.05),
    "mem_guard budget=0.5": outputs.mem_guard(0.5),
}
