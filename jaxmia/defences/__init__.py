"""Defences: of training, `Recipe -> Recipe`, and of outputs, `logits -> logits`; both compose.

    recipe = defences.weight_decay(defences.mixup(recipe), 5e-3)
    Experiment(..., recipe=recipe, outputs=outputs.composed(outputs.top_k(3), outputs.rounded(2)))

An attack is adaptive where the shadow models are trained and asked like the target: any run of an
experiment with a defence is that.
"""

from collections.abc import Callable
from typing import Any

from jaxmia.defences import outputs
from jaxmia.defences.baselines import (
    cutout,
    dropout,
    early_stopping,
    flip_and_shift,
    label_smoothing,
    weight_decay,
)
from jaxmia.defences.dp_sgd import Guarantee, dp_sgd, guarantee, microbatch
from jaxmia.defences.hamp import hamp
from jaxmia.defences.mixup import mixup
from jaxmia.defences.mmd import mixup_mmd
from jaxmia.defences.relax_loss import relax_loss
from jaxmia.types import Recipe

TRAINING: dict[str, Callable[..., Recipe]] = {
    "mixup": mixup,
    "mixup_mmd": mixup_mmd,
    "dp_sgd": dp_sgd,
    "early_stopping": early_stopping,
    "weight_decay": weight_decay,
    "dropout": dropout,
    "label_smoothing": label_smoothing,
    "flip_and_shift": flip_and_shift,
    "cutout": cutout,
    "relax_loss": relax_loss,
    "hamp": hamp,
}
OUTPUTS: dict[str, Callable[..., Any]] = {
    "temperature": outputs.temperature,
    "top_k": outputs.top_k,
    "rounded": outputs.rounded,
    "label_only": outputs.label_only,
    "mem_guard": outputs.mem_guard,
}

__all__ = [
    "OUTPUTS",
    "TRAINING",
    "Guarantee",
    "cutout",
    "dp_sgd",
    "dropout",
    "early_stopping",
    "flip_and_shift",
    "guarantee",
    "hamp",
    "label_smoothing",
    "microbatch",
    "mixup",
    "mixup_mmd",
    "outputs",
    "relax_loss",
    "weight_decay",
]
