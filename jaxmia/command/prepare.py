"""`jaxmia data prepare NAME`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from jaxmia import data


@dataclass(frozen=True)
class Command:
    """Download and prepare a TFDS set (needs the extra `prepare`, and a network)."""

    name: Annotated[str, tyro.conf.Positional]
    """Its name, such as cifar10."""
    data_dir: str | None = None
    """Where; TFDS_DATA_DIR or ~/tensorflow_datasets by default."""


def main(options: Command) -> None:
    """Prepares the set, and prints where it lies."""
    print(data.prepare(options.name, options.data_dir).folder)
