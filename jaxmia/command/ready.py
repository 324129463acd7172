"""`jaxmia data list`."""

import sys
from dataclasses import dataclass

from jaxmia import data


@dataclass(frozen=True)
class Command:
    """The TFDS sets that lie ready."""

    data_dir: str | None = None
    """Where; TFDS_DATA_DIR or ~/tensorflow_datasets by default."""


def main(options: Command) -> None:
    """Prints a line for each set."""
    sets = data.ready(options.data_dir)
    for p in sets:
        print(f"{p.name:<24} {p.version:<8} {p.examples:>10} examples  {p.format:<13} {p.folder}")
    if not sets:
        print("none is ready; `jaxmia data prepare NAME` prepares one", file=sys.stderr)
