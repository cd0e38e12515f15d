"""What object names look like, and the refusal of all others. Pure.

Names are segments of `a-z 0-9 . _ -` joined by `/`, 200 characters at most, no segment `.` or `..`: the
common ground of all media, and nothing in it can lead out of a folder. Example: `packs/3f/3f9a…`.
"""

import re

from strongroom.errors import BadObjectName, BadRange

LONGEST_NAME = 200

_NAME = re.compile(r"[a-z0-9._-]+(?:/[a-z0-9._-]+)*")
_PREFIX = re.compile(r"[a-z0-9._/-]*")


def check_name(name: str) -> None:
    """Raise `BadObjectName` unless every store can hold an object of this name."""
    if not name:
        raise BadObjectName(name=name, reason="it is empty")
    if len(name) > LONGEST_NAME:
        raise BadObjectName(name=name[:60] + "…", reason=f"it has {len(name)} characters")
    if _NAME.fullmatch(name) is None:
        raise BadObjectName(name=name, reason="it has other characters or an empty segment")
    if not {".", ".."}.isdisjoint(name.split("/")):
        raise BadObjectName(name=name, reason="a segment is `.` or `..`")


def check_prefix(prefix: str) -> None:
    """Raise `BadObjectName` if no name could ever start with this prefix."""
    if len(prefix) > LONGEST_NAME or _PREFIX.fullmatch(prefix) is None or prefix.startswith("/"):
        raise BadObjectName(name=prefix[:60], reason="no object name can start with it")
    if not {".", ".."}.isdisjoint(prefix.split("/")[:-1]) or "//" in prefix:
        raise BadObjectName(name=prefix, reason="no object name can start with it")


def check_range(name: str, start: int, length: int | None) -> None:
    """Raise `BadRange` unless these could be bytes of an object."""
    if start < 0 or (length is not None and length < 0):
        raise BadRange(name=name, start=start, length=length)


def is_name(name: str) -> bool:
    """Tell whether `name` could name an object."""
    try:
        check_name(name)
    except BadObjectName:
        return False
    return True
