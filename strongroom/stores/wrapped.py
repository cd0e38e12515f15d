"""The base of all wrappers: a store that passes every call on, so that a wrapper says only what it changes.

    class Counting(WrappedStore):
        def delete(self, name: str) -> None:
            self.deleted += 1
            super().delete(name)

Wrappers stack in any order; what they are put around stays reachable as `inner`.
"""

from collections.abc import Iterator

from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import Data
from strongroom.stores.protocol import Store, StoredObject


class WrappedStore:
    """Passes every call on to `inner`, unchanged."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @property
    def description(self) -> str:
        """Say where this is."""
        return self.inner.description

    @property
    def capabilities(self) -> Capabilities:
        """Say what the medium can do."""
        return self.inner.capabilities

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`; the same bytes again are no error."""
        self.inner.put(name, data, sha256)

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there; return False if something is."""
        return self.inner.create(name, data)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`."""
        return self.inner.get(name, start, length)

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        return self.inner.stat(name)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose name starts with `prefix`, in the order of their names."""
        return self.inner.list(prefix)

    def delete(self, name: str) -> None:
        """Remove one object; a name that is not there is no error."""
        self.inner.delete(name)

    def close(self) -> None:
        """Let go of the connections of the innermost store."""
        close_store(self.inner)


def close_store(store: Store) -> None:
    """Let go of a store's connections, where it has any; the store opens new ones if it is used again."""
    close = getattr(store, "close", None)
    if close is not None:
        close()
