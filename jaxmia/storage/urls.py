"""URLs where a folder or a file is asked for: refused, instead of a folder that is called `s3:`."""

import re
from pathlib import Path

# a `Path` has one slash left of the two; a scheme of one letter is no scheme
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:)/+(.*)", re.DOTALL)


def url(place: str | Path) -> str | None:
    """A place as a URL if it is one, also where it was made a `Path` on the way; else None."""
    match = URL.fullmatch(str(place))
    return match and f"{match[1].lower()}//{match[2]}"


def local(place: str | Path, name: str) -> Path:
    """A folder or file of this machine; raises `ValueError`, naming the option, for a URL."""
    if remote := url(place):
        raise ValueError(f"{name}: {remote} is a URL; a path on this machine is needed")
    return Path(place)
