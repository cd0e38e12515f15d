"""A store in memory: the reference for what the protocol means, and what tests run on. Thread-safe."""

import time
from collections.abc import Callable, Iterator
from hashlib import sha256 as sha256_of
from threading import Lock

from strongroom.errors import ObjectConflict, ObjectDamaged, ObjectMissing
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import Data, whole
from strongroom.stores.names import check_name, check_prefix, check_range
from strongroom.stores.protocol import StoredObject


class MemoryStore:
    """Keeps objects in a dictionary; they end with the process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = Lock()
        self._objects: dict[str, tuple[bytes, float]] = {}

    @property
    def description(self) -> str:
        """Say where this is."""
        return "memory"

    @property
    def capabilities(self) -> Capabilities:
        """Say what memory can do: everything but last."""
        return Capabilities(verifies_checksums=True)

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`; the same bytes again are no error."""
        check_name(name)
        copy = bytes(whole(data))
        observed = sha256_of(copy).hexdigest()
        if observed != sha256:
            raise ObjectDamaged(name=name, store=self.description, expected=sha256, observed=observed)
        with self._lock:
            present = self._objects.setdefault(name, (copy, self._clock()))
        if present[0] != copy:
            raise ObjectConflict(name=name, store=self.description)

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there; return False if something is."""
        check_name(name)
        entry = (bytes(data), self._clock())
        with self._lock:
            return self._objects.setdefault(name, entry) is entry

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`."""
        check_name(name)
        check_range(name, start, length)
        data = self._entry(name)[0]
        return data[start:] if length is None else data[start : start + length]

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        check_name(name)
        data, modified = self._entry(name)
        return StoredObject(name, len(data), modified)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose name starts with `prefix`, in the order of their names."""
        check_prefix(prefix)
        with self._lock:
            found = [(name, entry) for name, entry in self._objects.items() if name.startswith(prefix)]
        for name, (data, modified) in sorted(found):
            yield StoredObject(name, len(data), modified)

    def delete(self, name: str) -> None:
        """Remove one object; a name that is not there is no error."""
        check_name(name)
        with self._lock:
            self._objects.pop(name, None)

    def tamper(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Change stored bytes behind the protocol's back, as a bad disk or an intruder would."""
        data, modified = self._entry(name)
        with self._lock:
            self._objects[name] = (change(data), modified)

    def copy(self) -> "MemoryStore":
        """Return an independent store that holds the same objects."""
        twin = MemoryStore(self._clock)
        with self._lock:
            twin._objects = dict(self._objects)
        return twin

    def _entry(self, name: str) -> tuple[bytes, float]:
        with self._lock:
            entry = self._objects.get(name)
        if entry is None:
            raise ObjectMissing(name=name, store=self.description)
        return entry
