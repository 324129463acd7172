"""What shadow models cost: how many are in some run folders, and how long they took."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxmia.storage.store import Store


def of(folders: Iterable[Path]) -> dict[str, Any]:
    """`models` and `seconds` of runs one after the other: trained and asked, compiling included."""
    records = [record for folder in folders for record in Store(folder).records()]
    return {
        "models": sum(len(record["models"]) for record in records),
        "seconds": sum(s for record in records for s in record["seconds"].values()),
    }
