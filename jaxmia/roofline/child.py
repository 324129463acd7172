"""A call in a process of its own: a compiler may end its process instead of raising."""

import multiprocessing
import os
import re
import signal
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class EndedError(RuntimeError):
    """The process ended or raised; the message is one line."""


def in_child(function: Callable, *arguments: Any) -> Any:
    """`function(*arguments)`, computed by a new process, to which both must be picklable.

    Raises `EndedError` with what the process said last.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="jaxmia-") as folder:
        errors = Path(folder) / "stderr"
        process = context.Process(target=_answer, args=(theirs, errors, function, arguments))
        process.start()
        theirs.close()
        try:
            raised, value = ours.recv()
        except EOFError:
            process.join()
            text = errors.read_text(errors="replace") if errors.exists() else ""
            raise EndedError(_reason(text, process.exitcode)) from None
        finally:
            ours.close()
        process.join()
    if raised:
        raise EndedError(value)
    return value


def _answer(pipe: Connection, errors: Path, function: Callable, arguments: tuple) -> None:
    with errors.open("wb") as file:
        os.dup2(file.fileno(), 2)  # a compiler's own messages, which no Python sees
    try:
        pipe.send((False, function(*arguments)))
    except Exception as error:  # whatever a compiler raises is what was asked for
        line = " ".join(str(error).split())
        pipe.send((True, f"{type(error).__name__}: {line[:500]}"))


def _reason(text: str, code: int | None) -> str:
    """The message of a failed check, or else the last line, of a process that ended by itself."""
    lines = [line for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if re.match(r"F\d{4} |.*Check failed", line)]
    said = (fatal or lines or ["no message"])[0 if fatal else -1].strip()
    how = f"by {signal.Signals(-code).name}" if code and code < 0 else f"with status {code}"
    return f"the compiler ended its process {how}: {said[:300]}"
