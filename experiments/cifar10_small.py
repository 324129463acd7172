"""CIFAR-10 on a laptop: 16 small CNNs on the first 5000 images, LiRA with an image and its mirror.

    jaxmia data prepare cifar10 && python -m experiments.cifar10_small

Small networks and few models: it shows the whole pipeline on images, not what a good attacker gets.
"""

from jaxmia import Experiment, augment, cli, data, recipes
from jaxmia.models import cnn

experiment = Experiment(
    name="cifar10_small",
    data=data.first(data.tfds("cifar10"), 5000, 2000),
    recipe=recipes.sgd(cnn(16, 32, 64, norm="batch"), epochs=20, batch_size=64, rate=0.1),
    models=16,
    views=augment.mirror(),
)

if __name__ == "__main__":
    cli(experiment)
