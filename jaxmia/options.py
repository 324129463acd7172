"""How a run is carried out."""

from dataclasses import dataclass, field
from typing import Literal

from jaxmia.storage.urls import Place
from jaxmia.training.progress import Progress


@dataclass(frozen=True)
class Options:
    """How a run is carried out; none of it changes what is computed."""

    workdir: Place | None = None
    width: int | str = "auto"
    block: int | None = None
    shard_index: int = 0
    shard_count: int = 1
    checkpoint_seconds: float = 60.0
    keep_shadows: bool = False
    keep_logits: bool = False
    retrain_diverged: bool = False
    show_examples: bool = False
    stream: Literal["auto", "always", "never"] = "auto"
    command: str = ""
    progress: Progress = field(default_factory=Progress)
