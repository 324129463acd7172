"""What a person sees while models train: a bar in a terminal, a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeRemainingColumn

EVERY = 30.0  # seconds between lines where there is no terminal


class Progress:
    """Models, epochs, models per hour and the time left, on stderr."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(file=sys.stderr, quiet=quiet)
        self._bar: Bar | None = None
        self._done = self._total = self._epochs = 0.0
        self._start = self._told = time.time()

    def say(self, line: str) -> None:
        """Prints a line."""
        self.console.print(escape(line), highlight=False)

    @contextlib.contextmanager
    def models(self, models: int, epochs: int) -> Iterator[None]:
        """Shows the training of so many models for so many epochs each."""
        self._done, self._total, self._epochs = 0.0, float(models * epochs), float(epochs)
        self._start = self._told = time.time()
        columns = (
            TextColumn("{task.fields[models]} models"),
            BarColumn(bar_width=20),
            TextColumn("epoch {task.fields[epoch]} · {task.fields[rate]} models/h"),
            TimeRemainingColumn(),
        )
        if not self.console.is_terminal:
            yield
            return
        with Bar(*columns, console=self.console, transient=True) as self._bar:
            self._task = self._bar.add_task(
                "", total=self._total, models=f"0/{models}", epoch=f"0/{epochs}", rate="–"
            )
            yield
        self._bar = None

    def advance(self, models: int, epoch: int, skipped: bool = False) -> None:
        """`models` have trained one more epoch, or (`skipped`) had done so before."""
        self._done += models * (epoch if skipped else 1)
        if skipped:
            self._start = time.time() - 1e-9
            self._base = self._done
        spent = time.time() - self._start
        rate = (self._done - getattr(self, "_base", 0.0)) / self._epochs / max(spent, 1e-9) * 3600
        fields = {
            "models": f"{self._done / self._epochs:.0f}/{self._total / self._epochs:.0f}",
            "epoch": f"{epoch}/{self._epochs:.0f}",
            "rate": f"{rate:,.0f}",
        }
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, **fields)
        elif time.time() - self._told > EVERY:
            self._told = time.time()
            left = (self._total - self._done) / max(self._done, 1) * spent
            self.say(
                f"{fields['models']} models, epoch {fields['epoch']}, {fields['rate']} models/h, "
                f"{left:.0f} s left"
            )
