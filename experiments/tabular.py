"""LiRA on a table of one's own: an `.npz` with `x [examples, features]` and `y`.

    python -m experiments.tabular --data mine.npz

Without --data it runs on synthetic Gaussian classes, to show what comes out.
"""

from jaxmia import Experiment, cli, data, recipes
from jaxmia.models import mlp

experiment = Experiment(
    name="tabular",
    data=data.synthetic(examples=2000, features=64, classes=10, distance=4.0),
    recipe=recipes.sgd(mlp(128, 128), epochs=50, batch_size=64, rate=0.05),
    models=64,
)

if __name__ == "__main__":
    cli(experiment)
