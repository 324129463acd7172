"""Who rated what, how and when: simulated subscribers, or those of a file."""

import csv
import datetime
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

PERIOD = 2000  # days
COLUMNS = ("user", "item", "rating", "date")


class Ratings(NamedTuple):
    """Ratings, an entry each, ordered by person; persons and items are counted from 0."""

    person: Int[np.ndarray, " E"]
    item: Int[np.ndarray, " E"]
    rating: Float[np.ndarray, " E"]
    day: Int[np.ndarray, " E"]
    persons: int
    items: int


def simulated(seed: int, persons: int, items: int) -> Ratings:
    """Subscribers of a long-tailed world; person p depends on `(seed, items, p)` alone.

    An item's popularity is log-normal, exp(2.15 z): half of all ratings are of about 2 % of the
    items. A person rates exp(N(log 100, 1.2^2)) items, half of all at most: 100 in the median,
    about 200 on average. Taste is a unit Gaussian in 8 dimensions, of persons u and of items v:
    the next item is drawn with probability proportional to popularity times exp(a), where a =
    <u, v> / sqrt(8), and a rating is 3.6 + 0.5 b + 0.4 c + 0.5 a + 0.7 e, rounded to 1 to 5 stars,
    with b the item's, c the person's and e the rating's own unit Gaussian. A person joins on day
    2000 sqrt(U) of 2000 and rates on days that are uniform from then on, one for every five items:
    several items share a day. Nothing else makes persons alike: no waves of new items, no weekends.
    """
    rng = np.random.default_rng([seed, items])
    popularity = 2.15 * rng.normal(size=items)
    quality, trait = rng.normal(size=items), rng.normal(size=(items, 8)) / math.sqrt(8)
    parts = [_subscriber(seed, p, popularity, quality, trait) for p in range(persons)]
    count = [len(item) for item, _, _ in parts]
    item, rating, day = (np.concatenate(of_all) for of_all in zip(*parts, strict=True))
    return Ratings(np.repeat(np.arange(persons), count), item, rating, day, persons, items)


def _subscriber(
    seed: int, p: int, popularity: np.ndarray, quality: np.ndarray, trait: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, ratings and days of one person."""
    rng = np.random.default_rng([seed, len(popularity), p])
    items = len(popularity)
    count = int(np.clip(round(math.exp(rng.normal(math.log(100), 1.2))), 1, max(1, items // 2)))
    affinity = trait @ rng.normal(size=trait.shape[1])
    # the first of exponential clocks to ring: draws without replacement, as likely as their rates
    clock = rng.standard_exponential(items) / np.exp(popularity + affinity)
    item = np.argpartition(clock, count - 1)[:count]
    noise = 0.5 * affinity[item] + 0.7 * rng.normal(size=count)
    rating = np.clip(np.rint(3.6 + 0.5 * quality[item] + 0.4 * rng.normal() + noise), 1, 5)
    joined = int(PERIOD * math.sqrt(rng.random()))
    days = rng.integers(joined, PERIOD, size=-(-count // 5))
    return item, rating, days[rng.integers(len(days), size=count)]


def read(path: Path) -> Ratings:
    """The ratings of a CSV with the columns user, item, rating and date, and any others.

    A date is YYYY-MM-DD or a whole number of days. Raises `ValueError` that names the line of the
    first row that does not fit: another number of fields, an empty user or item, a rating that is
    no finite number, no date, or an item that the user has rated already.
    """
    user: dict[str, int] = {}
    item: dict[str, int] = {}
    pairs: set[tuple[int, int]] = set()
    entries = []
    for line, (who, what, rating, date) in _rows(path):
        if not who or not what:
            raise ValueError(f"--data: {path}, line {line}: user and item must not be empty")
        pair = (user.setdefault(who, len(user)), item.setdefault(what, len(item)))
        if pair in pairs:
            raise ValueError(f"--data: {path}, line {line}: {who!r} has rated {what!r} before")
        pairs.add(pair)
        stars = _number(rating)
        if stars is None:
            raise ValueError(
                f"--data: {path}, line {line}: rating {rating!r} must be a finite number"
            )
        day = _day(date)
        if day is None:
            raise ValueError(
                f"--data: {path}, line {line}: date {date!r} must be YYYY-MM-DD or whole days"
            )
        entries.append((*pair, stars, day))
    if not entries:
        raise ValueError(f"--data: {path} must have rows below its header")
    entries.sort(key=lambda entry: entry[0])
    columns = [np.array(column) for column in zip(*entries, strict=True)]
    person, things, ratings, days = columns
    return Ratings(person, things, ratings.astype(np.float64), days, len(user), len(item))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line number and the four fields of each row; `ValueError` for a line that is none."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            if lacking := [name for name in COLUMNS if header.count(name) != 1]:
                raise ValueError(
                    f"--data: {path}, line 1: a header must name each of {', '.join(COLUMNS)} "
                    f"once, but not {', '.join(lacking)}"
                )
            at = [header.index(name) for name in COLUMNS]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise ValueError(
                        f"--data: {path}, line {reader.line_num}: has {len(row)} fields, must "
                        f"have the header's {len(header)}"
                    )
                yield reader.line_num, [row[i].strip() for i in at]
        except (csv.Error, UnicodeDecodeError) as error:
            line = reader.line_num + isinstance(error, UnicodeDecodeError)
            raise ValueError(
                f"--data: {path}, line {line}: must be CSV in UTF-8 ({error})"
            ) from error


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _day(text: str) -> int | None:
    try:
        return datetime.date.fromisoformat(text).toordinal() if "-" in text[1:] else _days(text)
    except ValueError:
        return None


def _days(text: str) -> int | None:
    value = int(text)
    return value if abs(value) < 10**7 else None
