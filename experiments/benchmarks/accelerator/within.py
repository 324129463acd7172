"""A piece of work in a process group of its own that is over when its time is, whatever it does."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import jax

from jaxmia.command.terminal import guarded
from jaxmia.training import processes

GRACE = 3.0  # seconds from SIGTERM to SIGKILL, unless more are given
OVER = "stopped: its time was over"


def started(function: Callable, *arguments: Any, cache: Path, platform: str = "") -> BaseProcess:
    """The work, begun in a new process that has the devices of `platform`, or all there are.

    What it compiles is kept in `cache`.
    """
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_alone, args=(function, arguments, cache, platform))
    child.start()
    return child


def waited_for(child: BaseProcess, seconds: float, grace: float = GRACE) -> str:
    """How it ended: "" for well; after so many seconds it is asked to stop, `grace` later killed.

    Whatever it has started ends with it.
    """
    end = time.monotonic() + seconds
    child.join(max(0.0, seconds))
    over = child.is_alive()
    if over:
        _signal(child, signal.SIGTERM)
        child.join(max(0.0, end + grace - time.monotonic()))
    _signal(child, signal.SIGKILL)
    child.join()
    if over:
        return OVER
    code = child.exitcode or 0
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with status {code}" if code else ""


def _signal(child: BaseProcess, number: int) -> None:
    """To the child's group; to the child alone as long as it has not made one."""
    assert child.pid is not None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
        return
    if child.is_alive():
        os.kill(child.pid, number)


def _alone(function: Callable, arguments: tuple, cache: Path, platform: str) -> None:
    os.setsid()
    if platform:
        jax.config.update("jax_platforms", platform)
    guarded(lambda: _work(function, arguments, cache))


def _work(function: Callable, arguments: tuple, cache: Path) -> None:
    processes.start(cache)
    function(*arguments)
