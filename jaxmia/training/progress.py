"""What a person sees while models train: a bar in a terminal, a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

EVERY = 30.0  # seconds between lines where there is no terminal


class Progress:
    """Blocks, epochs, models, models per hour and the time left, on stderr."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(file=sys.stderr, quiet=quiet)
        self._bar: Bar | None = None
        self._models = self._epochs = self._blocks = 1  # of the whole work
        self._block = 0
        self._trained = self._skipped = 0  # epochs of single models
        self._start = self._last_report = time.time()

    def say(self, line: str) -> None:
        """Prints a line."""
        self.console.print(escape(line), highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def models(self, models: int, epochs: int, blocks: int = 1) -> Iterator[None]:
        """Shows the training of so many models for so many epochs each."""
        self._models, self._epochs, self._blocks = models, epochs, blocks
        self._trained = self._skipped = self._block = 0
        self._start = self._last_report = time.time()
        columns = (BarColumn(bar_width=12), TextColumn("{task.description}"))
        with contextlib.ExitStack() as stack:
            if self.console.is_terminal and not self.console.quiet:
                bar = Bar(*columns, console=self.console, transient=True)
                self._bar = stack.enter_context(bar)
                self._task = self._bar.add_task("compiling", total=float(models * epochs))
            else:
                each = f", {epochs} epochs each" if epochs > 1 else ""
                self.say(f"training {models} models{each}, in {_count(blocks)}")
            yield
        self._bar = None
        seconds = time.time() - self._start
        if self._trained:
            rate = self._trained / epochs / max(seconds, 1e-9) * 3600
            compiling = ", compiling included" if epochs > 1 else ""
            self.say(f"trained for {_clock(seconds)}: {rate:,.0f} models/h{compiling}")

    @contextlib.contextmanager
    def stage(self, what: str) -> Iterator[None]:
        """Says that something takes a while, and afterwards how long it took."""
        start = time.time()
        if self.console.is_terminal and not self.console.quiet:
            with self.console.status(escape(what)):
                yield
        else:
            self.say(what)
            yield
        self.say(f"{what}: took {_clock(time.time() - start)}")

    def block(self) -> None:
        """The next block has begun."""
        self._block += 1

    def resumed(self, models: int, epoch: int) -> None:
        """`models` were found with `epoch` epochs behind them."""
        self._skipped += models * epoch

    def advance(self, models: int, epoch: int) -> None:
        """`models` have finished one more epoch, their `epoch`-th."""
        self._trained += models
        epochs, whole = self._trained + self._skipped, self._models * self._epochs
        seconds = max(time.time() - self._start, 1e-9)
        rate = self._trained / self._epochs / seconds * 3600
        remaining = (whole - epochs) / self._trained * seconds
        block = f"block {max(1, self._block)}/{self._blocks}, " if self._blocks > 1 else ""
        at = f"epoch {epoch}/{self._epochs}, " if self._epochs > 1 else ""
        text = (
            f"{block}{at}{epochs // self._epochs}/{self._models} models, "
            f"{rate:,.0f} models/h, {_clock(remaining)} left"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=epochs, description=text)
        elif time.time() - self._last_report > EVERY:
            self._last_report = time.time()
            self.say(f"{time.strftime('%H:%M:%S')} {text}")


def _count(blocks: int) -> str:
    return "1 block" if blocks == 1 else f"{blocks} blocks"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
