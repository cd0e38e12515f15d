"""The store protocol: named bytes on a medium. What each call promises, and nothing of backups.

Names are relative, made of `[a-z0-9._-]` segments joined by `/`, at most 200 characters. Objects are
never changed (invariant I5): `put` of a name that exists succeeds only if the bytes are the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import Data


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a store says of one object: its name, its size in bytes, and when it was written (epoch s)."""

    name: str
    size: int
    modified: float


class Store(Protocol):
    """Six methods and two values; every backend passes the contract suite in `strongroom.stores.contract`.

    Stores are used from several threads at once.
    """

    @property
    def description(self) -> str:
        """Say where this is, for people; without credentials."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """Say what the medium can do. May be asked before anything is contacted."""
        ...

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`.

        Before: nothing. After: a reader anywhere sees all of it, it survives a power cut, and the
        medium has acknowledged bytes whose SHA-256 is `sha256` (hex), by checksum or by reading back.
        On failure: the name does not exist or holds what it held. Under retry: the same bytes again are
        no error; other bytes raise `ObjectConflict`. Data that does not hash to `sha256` raises
        `ObjectDamaged` and is not stored.
        """
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there; return False if something is.

        Before: nothing. After True: as after `put`. Of several racing creators exactly one gets True. On
        failure: nothing or all of `data` is stored. Under retry: a lost acknowledgement makes the second
        try return False; `RetryingStore` reads back and compares, so racing creators write different
        bytes. Used for leases.
        """
        ...

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`.

        A range that reaches past the end gives what there is, none at all beyond it. Nothing is verified:
        the caller knows what the bytes must hash to. Raises `ObjectMissing`; `BadRange` if a number is
        negative.
        """
        ...

    def stat(self, name: str) -> StoredObject:
        """Describe one object. Raises `ObjectMissing`."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose name starts with `prefix`, in the order of their names (bytewise).

        `prefix` is compared as text: it need not end at a slash. An object that is stored before the call
        and not deleted during it is yielded exactly once; one that comes or goes meanwhile may be.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove one object; a name that is not there is no error, so that a repeated run converges."""
        ...
