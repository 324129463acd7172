"""LiRA on handwritten digits: 128 shadow MLPs on scikit-learn's scans. The default experiment.

    python -m experiments.digits        (or: make lira)

1797 scans of 8 x 8 pixels, a fixed fifth set aside; each model is trained on a random half of the
other 1438, in complementary pairs, and every model is attacked in turn by all the others.
"""

from jaxmia import Experiment, cli, data, recipes
from jaxmia.models import mlp

experiment = Experiment(
    name="digits",
    data=data.digits(),
    recipe=recipes.sgd(mlp(128, 128), epochs=50, batch_size=64, rate=0.1),
    models=128,
)

if __name__ == "__main__":
    cli(experiment)
