"""What every command has in common: reading options, one clear line for a mistake, the table."""

import contextlib
import errno
import io
import itertools
import json
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from jaxmia.attacks import ATTACKS
from jaxmia.report.table import attacks_table, headlines, remarks, table
from jaxmia.storage.files import UnreachableError, UnwritableError
from jaxmia.storage.locks import LockHeldError
from jaxmia.storage.urls import local
from jaxmia.training.interrupt import StoppedError

CLEAR = (RuntimeError, LockHeldError, UnreachableError)  # others are mistakes in the code
# what the system says of a path that nobody could use: too long, forbidden, through a file, a loop
PATHS = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


def parsed(kind: type, args: list[str] | None, **settings: Any) -> Any:
    """The options; a wrong one is told in one line, with exit status 2.

    `--attacks help` prints what attacks there are, and ends the process.
    """
    words = sys.argv[1:] if args is None else args
    if ("--attacks", "help") in itertools.pairwise(words):
        Console(highlight=False).print(attacks_table(ATTACKS))
        raise SystemExit(0)
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            options = tyro.cli(kind, args=args, **settings)
    except SystemExit as end:
        if end.code in (0, None):
            raise
        words = re.sub(r"[─│╭╮╰╯]+", " ", stderr.getvalue())
        print(plain(f"{settings['prog']}: {' '.join(words.split())[:600]}"), file=sys.stderr)
        raise SystemExit(2) from None
    guarded(lambda: _check_paths(options))
    return options


def _check_paths(options: Any) -> None:
    """Refuses a URL wherever a path is asked for, to read as to write."""
    for field in fields(options):
        value = getattr(options, field.name)
        for place in value if isinstance(value, tuple) else (value,):
            if isinstance(place, Path):
                local(place, f"--{field.name.replace('_', '-')}")


def plain(line: str) -> str:
    """A line without what would steer a terminal."""
    return "".join(c if c.isprintable() else "·" for c in line)


def guarded(work: Callable[[], None]) -> None:
    """Ends the process with one clear line for a user's mistake, and no traceback."""
    try:
        work()
    except StoppedError as stopped:
        print(f"jaxmia: {stopped}", file=sys.stderr)
        raise SystemExit(128 + stopped.number) from None
    except (ValueError, FileNotFoundError, LockHeldError, UnwritableError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and type(error) not in CLEAR:
            raise
        line = " ".join(str(error).split())
        print(plain(f"jaxmia: {line[:1000]}"), file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in PATHS:
            raise
        print(plain(f"jaxmia: {str(error.filename)[:300]}: {error.strerror}"), file=sys.stderr)
        raise SystemExit(2) from None


def show(summary: dict[str, Any], as_json: bool, quiet: bool = False) -> None:
    """A summary as a table for people, and as JSON on stdout; warnings also where it is `quiet`."""
    if as_json:
        print(json.dumps(summary))
    if quiet:
        warn(summary)
    else:
        console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
        warn(summary, console)
        if not summary["attacks"]:
            console.print("scores only: whether the target was trained on them was not told")
            return
        console.print(table(summary))
        for line in [*headlines(summary), *remarks(summary)]:
            console.print(line)


def warn(summary: dict[str, Any], console: Console | None = None) -> None:
    """What casts doubt on the figures of a summary, on stderr if nowhere else."""
    console = console or Console(stderr=True, highlight=False)
    for line in summary.get("warnings", []):
        console.print(f"WARNING: {line}", markup=False)
