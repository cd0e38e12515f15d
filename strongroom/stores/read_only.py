"""A wrapper that refuses to change anything: for verification and for looking at somebody's bucket."""

from collections.abc import Iterator
from typing import NoReturn

from strongroom.errors import StoreReadOnly
from strongroom.stores.protocol import Store, StoredObject


class ReadOnlyStore:
    """Passes reads on; `put`, `create` and `delete` raise `StoreReadOnly`."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    @property
    def description(self) -> str:
        """Say where this is."""
        return self._inner.description

    def put(self, name: str, data: bytes | bytearray | memoryview, sha256: str) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse("put", name)

    def create(self, name: str, data: bytes) -> NoReturn:  # noqa: ARG002
        """Refuse."""
        self._refuse("create", name)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`."""
        return self._inner.get(name, start, length)

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        return self._inner.stat(name)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose name starts with `prefix`, in the order of their names."""
        return self._inner.list(prefix)

    def delete(self, name: str) -> NoReturn:
        """Refuse."""
        self._refuse("delete", name)

    def _refuse(self, operation: str, name: str) -> NoReturn:
        raise StoreReadOnly(store=self.description, operation=operation, name=name)
