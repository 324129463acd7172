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
    """Models, epochs, models per hour and the time left, on stderr."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(file=sys.stderr, quiet=quiet)
        self._bar: Bar | None = None
        self._models = self._epochs = 1  # of the whole work
        self._trained = self._skipped = 0  # epochs of single models
        self._start = self._told = time.time()

    def say(self, line: str) -> None:
        """Prints a line."""
        self.console.print(escape(line), highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def models(self, models: int, epochs: int) -> Iterator[None]:
        """Shows the training of so many models for so many epochs each."""
        self._models, self._epochs = models, epochs
        self._trained = self._skipped = 0
        self._start = self._told = time.time()
        columns = (BarColumn(bar_width=20), TextColumn("{task.description}"))
        with contextlib.ExitStack() as stack:
            if self.console.is_terminal and not self.console.quiet:
                bar = Bar(*columns, console=self.console, transient=True)
                self._bar = stack.enter_context(bar)
                self._task = self._bar.add_task("compiling", total=float(models * epochs))
            yield
        self._bar = None

    def resumed(self, models: int, epoch: int) -> None:
        """`models` were found with `epoch` epochs behind them."""
        self._skipped += models * epoch

    def advance(self, models: int, epoch: int) -> None:
        """`models` have finished one more epoch, their `epoch`-th."""
        self._trained += models
        done, whole = self._trained + self._skipped, self._models * self._epochs
        spent = max(time.time() - self._start, 1e-9)
        rate = self._trained / self._epochs / spent * 3600
        left = (whole - done) / self._trained * spent
        text = (
            f"{done // self._epochs}/{self._models} models, epoch {epoch}/{self._epochs}, "
            f"{rate:,.0f} models/h, {_clock(left)} left"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=text)
        elif time.time() - self._told > EVERY:
            self._told = time.time()
            self.say(text)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
