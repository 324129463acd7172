"""Where something is kept: a path of this machine, or the URL of an object store.

A URL where only a path will do is refused, instead of a folder that is called `s3:`.
"""

import re
from pathlib import Path

from jaxmia.storage.folder import Folder
from jaxmia.storage.local import LocalFolder

Place = Folder | Path | str
# a `Path` has one slash left of the two; a scheme of one letter is no scheme
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:)/+(.*)", re.DOTALL)


def url(place: str | Path) -> str | None:
    """A place as a URL if it is one, also where it was made a `Path` on the way; else None."""
    match = URL.fullmatch(str(place))
    # who puts a password into a URL does not find it in a message
    return match and f"{match[1].lower()}//{re.sub('^[^/]*@', '...@', match[2])}"


def local(place: str | Path, name: str) -> Path:
    """A folder or file of this machine; raises `ValueError`, naming the option, for a URL."""
    if remote := url(place):
        raise ValueError(f"{name}: {remote} is a URL; a path on this machine is needed")
    return Path(place)


def folder_at(place: Place, name: str) -> Folder:
    """A run's folder; raises `ValueError`, naming the option, for a URL that is none."""
    if not isinstance(place, str | Path):
        return place
    if remote := url(place):
        from jaxmia.storage.clients import bucket_at

        return bucket_at(remote, name)
    return LocalFolder(Path(place))
