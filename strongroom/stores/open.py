"""From the URL of a location to a store: the table of schemes.

A new backend is one entry in `OPENERS`; its library is imported inside its opener. Example:

    store = open_store("file:///var/lib/strongroom")
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from strongroom.errors import BadStoreUrl, UnknownStoreScheme
from strongroom.stores.local import LocalDirectoryStore
from strongroom.stores.protocol import Store


def open_store(url: str) -> Store:
    """Open the store that a URL, or the absolute path of a folder, names.

    Nothing is made or contacted yet: a missing folder is made by the first write. Raises
    `UnknownStoreScheme`, `BadStoreUrl`.
    """
    if url.startswith(("/", "~/")):
        return LocalDirectoryStore(Path(url).expanduser())
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise BadStoreUrl(reason="it is neither a URL nor an absolute path")
    opener = OPENERS.get(scheme.lower())
    if opener is None:
        raise UnknownStoreScheme(scheme=scheme, known=", ".join(f"{known}://" for known in OPENERS))
    return opener(url)


def _open_local(url: str) -> Store:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise BadStoreUrl(reason="a file URL has three slashes before an absolute path")
    path = Path(unquote(parts.path))
    if not path.is_absolute() or "\0" in str(path):
        raise BadStoreUrl(reason="a file URL names an absolute path")
    if parts.query or parts.fragment:
        raise BadStoreUrl(reason="a file URL has no ? or # part (write them as %3F and %23)")
    return LocalDirectoryStore(path)


OPENERS: Mapping[str, Callable[[str], Store]] = MappingProxyType({"file": _open_local})
"""URL scheme -> what opens such a URL."""
