"""SIGTERM and Ctrl-C asked politely: the epoch ends, a checkpoint is saved, the process goes."""

import signal
import threading
from typing import Any


class StoppedError(Exception):
    """The process was asked to stop, and everything finished is saved."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped; run the same command again to go on")
        self.number = number


class Interrupt:
    """While it is entered, a first signal only sets `number`; a second one ends the process."""

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def _on_signal(self, number: int, frame: Any) -> None:
        if self.number:
            raise StoppedError(number)
        self.number = number

    def check(self) -> None:
        """Raises `StoppedError` if a signal came."""
        if self.number:
            raise StoppedError(self.number)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
