"""The store protocol: named bytes on a medium. What each call promises, and nothing of backups.

Names are relative, made of `[a-z0-9._-]` segments joined by `/`, at most 200 characters. Objects are
never changed (invariant I5): `put` of a name that exists succeeds only if the bytes are the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a store says of one object: its name, its size in bytes, and when it was written (epoch s)."""

    name: str
    size: int
    modified: float


class Store(Protocol):
    """Seven methods; every backend passes the contract suite in `strongroom.stores.contract`."""

    @property
    def description(self) -> str:
        """Say where this is, for people; without credentials."""
        ...

    def put(self, name: str, data: bytes | bytearray | memoryview, sha256: str) -> None:
        """Store `data` under `name`.

        Before: nothing. After: a reader anywhere sees all of it, it survives a power cut, and the
        medium has acknowledged bytes whose SHA-256 is `sha256` (hex), by checksum or by reading back.
        On failure: the name does not exist or holds what it held. Under retry: the same bytes again are
        no error; other bytes raise `ObjectConflict`.
        """
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there; return False if something is.

        Of several racing creators exactly one gets True. Used for leases.
        """
        ...

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`. Raises `ObjectMissing`, `StoreError`."""
        ...

    def stat(self, name: str) -> StoredObject:
        """Describe one object. Raises `ObjectMissing`."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose name starts with `prefix`, in the order of their names (bytewise)."""
        ...

    def delete(self, name: str) -> None:
        """Remove one object; a name that is not there is no error, so that a repeated run converges."""
        ...
