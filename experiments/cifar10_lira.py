"""The paper's experiment: 256 WRN-28-2 on CIFAR-10, LiRA with 18 views (Carlini et al. 2022).

    jaxmia data prepare cifar10 && python -m experiments.cifar10_lira

For an accelerator: 256 models of 100 epochs are 0.8 EFLOP. A small run on a CPU:

    python -m experiments.cifar10_lira --models 2 --epochs 1 --views "itself" --data SOME.npz
"""

from jaxmia import Experiment, augment, cli, data, recipes
from jaxmia.models import wrn

experiment = Experiment(
    name="cifar10_lira",
    data=data.tfds("cifar10"),
    recipe=recipes.official_lira(wrn(28, 2), dtype="bfloat16"),
    models=256,
    views=augment.shifted_views(4, 4),
)

if __name__ == "__main__":
    cli(experiment)
