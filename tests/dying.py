"""A small run that dies at a given moment: `python dying.py MOMENT [FLAG ...]`, as a command.

A moment is `PLACE:NUMBER:WHEN`: at the number-th call of the place, `before` it, `after` it, or so
many seconds after it began; `half` writes half of the file. `term` only asks politely, `late` goes
on after three seconds. `none` disturbs nothing; nor does `count:FILE`, which writes into a file how
often every place was called.
"""

import atexit
import builtins
import itertools
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

import jaxmia
from jaxmia import data, recipes
from jaxmia.models import mlp
from jaxmia.storage.arrays import Arrays
from jaxmia.storage.bucket import Bucket
from jaxmia.storage.store import Store
from jaxmia.training.progress import Progress

EPOCHS = 12
# owner and name of a function, and what one of its arguments is like
PLACES: dict[str, tuple[Any, str, str]] = {
    "fsync": (os, "fsync", "*"),
    "replace": (os, "replace", "*"),
    "link": (os, "link", "*"),
    "rmtree": (shutil, "rmtree", "*"),
    "open": (builtins, "open", f"*.{os.getpid()}"),  # a file that gets its name once it is whole
    "checkpoint": (ocp.Checkpointer, "save", "*"),
    "digests": (os, "replace", "*/digests.json"),
    "restore": (ocp.Checkpointer, "restore", "*"),
    "remove": (shutil, "rmtree", "*/shadows/????"),
    "signals": (Arrays, "write", "*"),
    "labels": (Arrays, "write_fixed", "*"),
    "record": (os, "replace", "*/blocks/[0-9]*.json"),
    "log": (builtins, "open", "*/log.jsonl"),
    "epoch": (Progress, "advance", "*"),
    "attack": (Progress, "stage", "attacking *"),
    "report": (os, "replace", "*/scores.npz"),  # the first file of it
    "verify": (Store, "verify", "*"),
}
OF_BUCKETS: dict[str, tuple[Any, str, str]] = {
    "object": (Bucket, "_put", "*"),
    "taking": (Bucket, "replace", "*.lock"),
    "records": (Bucket, "replace", "*/[0-9]*.json"),
    "packed": (Bucket, "write", "[0-9][0-9][0-9][0-9][0-9][0-9]"),
    "chunks": (Arrays, "write", "*"),
    "summary": (Bucket, "write", "summary.json"),
}


def experiment(**changes):
    """What is run."""
    fields = {
        "name": "small",
        "data": data.first(data.digits(), 80, 40),
        "recipe": recipes.sgd(mlp(16), epochs=EPOCHS, batch_size=16),
        "models": 8,
    } | changes
    return jaxmia.Experiment(**fields)


def instead(place: str, call: Callable) -> None:
    """Has `call(number, real, *args, **kwargs)` called where a place is called, the first as 1."""
    owner, name, like = (PLACES | OF_BUCKETS)[place]
    real, numbers = getattr(owner, name), itertools.count(1)

    def called(*args, **kwargs):
        if any(fnmatch(str(arg), like) for arg in args):
            return call(next(numbers), real, *args, **kwargs)
        return real(*args, **kwargs)

    setattr(owner, name, called)


def die(number=signal.SIGKILL):
    os.kill(os.getpid(), number)


class Half:
    """A file of which half is written."""

    def __init__(self, *args):
        self.file = open(*args)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        die()


def die_at(place: str, number: int, when: str) -> None:
    """Arranges that this process dies at a moment, or is disturbed."""

    def call(at, real, *args, **kwargs):
        if at != number:
            return real(*args, **kwargs)
        if when == "half":
            return Half(*args)
        if when == "late":
            time.sleep(3)
        elif when in ("before", "term"):
            die(signal.SIGTERM if when == "term" else signal.SIGKILL)
        elif when != "after":
            threading.Timer(float(when), die).start()  # the process does not end before
        out = real(*args, **kwargs)
        if when == "after":
            die()
        return out

    instead(place, call)


def count(file: Path) -> None:
    """Arranges that this process writes at its end how often every place was called."""
    calls = dict.fromkeys(PLACES, 0)

    def counting(place):
        def call(at, real, *args, **kwargs):
            calls[place] = at
            return real(*args, **kwargs)

        return call

    for place in PLACES:
        instead(place, counting(place))
    atexit.register(lambda: file.write_text(json.dumps(calls)))


if __name__ == "__main__":
    place, *rest = sys.argv.pop(1).split(":")
    if place == "count":
        count(Path(rest[0]))
    elif place != "none":
        die_at(place, int(rest[0]), rest[1])
    jaxmia.cli(experiment())
