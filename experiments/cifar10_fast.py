"""LiRA on CIFAR-10 with 256 fast nets: a few epochs each, the same 18 views.

jaxmia data prepare cifar10 && python -m experiments.cifar10_fast
"""

from jaxmia import Experiment, augment, cli, data, recipes
from jaxmia.models import fast

experiment = Experiment(
    name="cifar10_fast",
    data=data.tfds("cifar10"),
    recipe=recipes.sgd(
        fast(64, 128, 256, 256),
        epochs=16,
        batch_size=512,
        rate=0.4,
        augment=augment.flip_and_shift(4),
        dtype="bfloat16",
    ),
    models=256,
    views=augment.shifted_views(4, 4),
)

if __name__ == "__main__":
    cli(experiment)
