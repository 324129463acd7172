"""What everyone trains with anyway: the defences that others have to beat.

Song & Mittal 2021 and Kaya & Dumitras 2021 found how far such regularisation goes.
"""

from collections.abc import Callable
from dataclasses import replace

from jaxmia import augment
from jaxmia.defences.parts import with_setting
from jaxmia.types import Recipe
from jaxmia.values import factory


def early_stopping(recipe: Recipe, epochs: int) -> Recipe:
    """Training ends after so many epochs of the schedule planned for all (Caruana et al. 2000)."""
    if not 1 <= epochs <= recipe.epochs:
        raise ValueError(f"early_stopping: epochs={epochs} must be from 1 to {recipe.epochs}")
    optimizer = cut_short(recipe.optimizer, recipe.epochs, epochs)
    return replace(recipe, optimizer=optimizer, epochs=epochs)


@factory
def cut_short(optimizer: Callable, planned: int, epochs: int) -> Callable:
    """An optimizer whose schedule runs on to where it was planned to end."""
    return lambda steps: optimizer(steps * planned // epochs)


def weight_decay(recipe: Recipe, strength: float) -> Recipe:
    """`strength / 2 ||w||^2` within the loss (Krogh & Hertz 1992), instead of the recipe's own."""
    return replace(recipe, loss=with_setting(recipe.loss, "weight_decay", strength))


def label_smoothing(recipe: Recipe, smoothing: float) -> Recipe:
    """Labels that give `smoothing` of their weight to all classes alike (Szegedy et al. 2016)."""
    return replace(recipe, loss=with_setting(recipe.loss, "label_smoothing", smoothing))


def dropout(recipe: Recipe, rate: float) -> Recipe:
    """Units left out at random (Srivastava et al. 2014), where the network has the option."""
    return replace(recipe, model=with_setting(recipe.model, "dropout", rate))


def flip_and_shift(recipe: Recipe, pixels: int = 4, flip: bool = True) -> Recipe:
    """Images shifted by up to so many pixels, and mirrored half of the time, besides the recipe's.

    Cf. Yu et al. 2021 on what augmentation does to membership inference.
    """
    return _augmented(recipe, augment.flip_and_shift(pixels, flip))


def cutout(recipe: Recipe, size: int) -> Recipe:
    """Images with a square left out (DeVries & Taylor 2017), besides the recipe's augmentation."""
    return _augmented(recipe, augment.cutout(size))


def _augmented(recipe: Recipe, more: Callable) -> Recipe:
    if recipe.augment is augment.none:
        return replace(recipe, augment=more)
    return replace(recipe, augment=augment.both(recipe.augment, more))
