"""Numbers at a place of an open file, read and written as a whole, past any process's position."""

import os

import numpy as np


def read_at(file: int, into: np.ndarray, place: int) -> None:
    """Reads a contiguous array from a byte of an open file on; `ValueError` if it ends there."""
    rest = memoryview(into.reshape(-1)).cast("B")
    while len(rest):
        count = os.preadv(file, [rest], place)
        if not count:
            raise ValueError("a file became shorter while it was read")
        rest, place = rest[count:], place + count


def write_at(file: int, numbers: np.ndarray, place: int) -> None:
    """Writes a contiguous array from a byte of an open file on."""
    rest = memoryview(numbers.reshape(-1)).cast("B")
    while len(rest):
        count = os.pwrite(file, rest, place)
        rest, place = rest[count:], place + count
