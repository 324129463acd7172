"""The rows of one accelerator, as they are measured: a later start takes them as they are."""

import json
import os
from pathlib import Path
from typing import Any

from experiments.rows import about
from jaxmia import machine

FILE = "accelerator.jsonl"


def read(out: Path) -> list[dict[str, Any]]:
    """The rows that there are; a line that was cut off by a kill is none."""
    if not (out / FILE).exists():
        return []
    lines = (out / FILE).read_text().splitlines()
    return [row for line in lines if (row := _parsed(line)) is not None]


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:
        return None


def there(out: Path, part: str, what: str) -> bool:
    """Whether a row of this part and name is there that was not left out for want of something."""
    return any(
        row["part"] == part and row["what"] == what and "left_out" not in row for row in read(out)
    )


def add(out: Path, part: str, what: str, **figures: Any) -> None:
    """Appends a row, on a line of its own whatever was cut off before, and has it written out."""
    row = {"part": part, "what": what} | figures
    print(json.dumps(row), flush=True)
    with (out / FILE).open("a") as file:
        file.write(f"\n{json.dumps(row)}\n" if _cut_off(out) else f"{json.dumps(row)}\n")
        file.flush()
        os.fsync(file.fileno())


def device(out: Path, quick: bool) -> None:
    """A row of the device alone: that it is there, what it is, on which machine.

    Raises `ValueError` where the folder has rows of another device, or of a trial and none of one:
    what is there is not measured again.
    """
    for row in read(out):
        if row["part"] == "device" and (row["device"], row["trial"]) != (machine.device(), quick):
            trial = ", a trial" if row["trial"] else ""
            raise ValueError(
                f"--out: {out} has rows of {row['device']}{trial}; take another folder "
                f"for {machine.device()}{', a trial' if quick else ''}"
            )
    add_measured(out, "device", "this one", trial=quick)


def _cut_off(out: Path) -> bool:
    content = (out / FILE).read_bytes()
    return bool(content) and not content.endswith(b"\n")


def add_measured(out: Path, part: str, what: str, **figures: Any) -> None:
    """The same, with the device, its machine and the versions."""
    add(out, part, what, **figures, **about())
