"""From the URL of a location to a store: the table of schemes.

A new backend is one entry in `OPENERS`; its module, and with it its library, is imported inside its opener, so
that a user of folders never pays for a cloud's client. Example:

    store = open_store("file:///var/lib/strongroom")
    store = open_store("s3://bucket/prefix", StoreOptions(endpoint="https://s3.example.com"))
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from strongroom.errors import BadStoreUrl, UnknownStoreScheme
from strongroom.stores.local import LocalDirectoryStore
from strongroom.stores.options import StoreOptions
from strongroom.stores.protocol import Store


def open_store(url: str, options: StoreOptions | None = None) -> Store:
    """Open the store that a URL, or the absolute path of a folder, names.

    Nothing is made or contacted yet: a missing folder is made by the first write. Raises
    `UnknownStoreScheme`, `BadStoreUrl`, `OptionUnfit`, `CredentialsMissing`.
    """
    if url.startswith(("/", "~/")):
        return LocalDirectoryStore(Path(url).expanduser())
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise BadStoreUrl(reason="it is neither a URL nor an absolute path")
    opener = OPENERS.get(scheme.lower())
    if opener is None:
        raise UnknownStoreScheme(scheme=scheme, known=", ".join(f"{known}://" for known in OPENERS))
    return opener(url, options or StoreOptions())


def _open_local(url: str, _options: StoreOptions) -> Store:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise BadStoreUrl(reason="a file URL has three slashes before an absolute path")
    path = Path(unquote(parts.path))
    if not path.is_absolute() or "\0" in str(path):
        raise BadStoreUrl(reason="a file URL names an absolute path")
    if parts.query or parts.fragment:
        raise BadStoreUrl(reason="a file URL has no ? or # part (write them as %3F and %23)")
    return LocalDirectoryStore(path)


def _open_s3(url: str, options: StoreOptions) -> Store:
    from strongroom.stores.s3 import open_s3

    return open_s3(url, options)


def _open_gcs(url: str, options: StoreOptions) -> Store:
    from strongroom.stores.gcs import open_gcs

    return open_gcs(url, options)


def _open_supabase(url: str, options: StoreOptions) -> Store:
    from strongroom.stores.supabase_storage import open_supabase

    return open_supabase(url, options)


OPENERS: Mapping[str, Callable[[str, StoreOptions], Store]] = MappingProxyType(
    {"file": _open_local, "s3": _open_s3, "gs": _open_gcs, "supabase": _open_supabase}
)
"""URL scheme -> what opens such a URL."""
