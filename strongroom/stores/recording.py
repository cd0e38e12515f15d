"""A wrapper that records what was asked of a store, and the replay of any beginning of it.

Crash-prefix tests run a backup over a `RecordingStore`, then for each N build the store that a crash after
the Nth change would have left behind, open it, and assert I1–I8:

    for count in range(len(recording.changes()) + 1):
        store = replay(recording.changes(), count)

A call is recorded when it returns, so that what happened before stands before. Put the recording innermost
(`FaultyStore(RecordingStore(MemoryStore()))`), where effects are what they seem.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256 as sha256_of

from strongroom.errors import StrongroomError
from strongroom.stores.data import Data, size_of, whole
from strongroom.stores.memory import MemoryStore
from strongroom.stores.protocol import Store, StoredObject
from strongroom.stores.wrapped import WrappedStore


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: what was asked, how many bytes went through, and how it ended.

    `name` is the object's name, or the prefix of a list; `size` counts bytes, or the objects of a list.
    `outcome` is "done", "taken" (a `create` that lost) or an error's code. `data` is kept for changes only.
    """

    kind: str
    name: str
    size: int = 0
    outcome: str = "done"
    data: bytes | None = field(default=None, repr=False)

    @property
    def is_change(self) -> bool:
        """Tell whether the call changed the store, or made sure of a change."""
        return self.kind in {"put", "create", "delete"} and self.outcome == "done"


class RecordingStore(WrappedStore):
    """Records every call; `operations` grows in the order in which the calls returned."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        # Appending is atomic, so that threads need no lock.
        self.operations: list[Operation] = []

    def changes(self) -> tuple[Operation, ...]:
        """Return the calls that changed the store."""
        return tuple(operation for operation in self.operations if operation.is_change)

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`."""
        try:
            self.inner.put(name, data, sha256)
        except StrongroomError as error:
            self._failed("put", name, error, size_of(data))
            raise
        self.operations.append(Operation("put", name, size_of(data), data=bytes(whole(data))))

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there."""
        try:
            created = self.inner.create(name, data)
        except StrongroomError as error:
            self._failed("create", name, error, len(data))
            raise
        if created:
            self.operations.append(Operation("create", name, len(data), data=bytes(data)))
        else:
            self.operations.append(Operation("create", name, len(data), "taken"))
        return created

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`."""
        try:
            data = self.inner.get(name, start, length)
        except StrongroomError as error:
            self._failed("get", name, error)
            raise
        self.operations.append(Operation("get", name, len(data)))
        return data

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        try:
            found = self.inner.stat(name)
        except StrongroomError as error:
            self._failed("stat", name, error)
            raise
        self.operations.append(Operation("stat", name))
        return found

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose name starts with `prefix`; recorded when the last one was taken."""
        count = 0
        try:
            for found in self.inner.list(prefix):
                count += 1
                yield found
        except StrongroomError as error:
            self._failed("list", prefix, error, count)
            raise
        self.operations.append(Operation("list", prefix, count))

    def delete(self, name: str) -> None:
        """Remove one object."""
        try:
            self.inner.delete(name)
        except StrongroomError as error:
            self._failed("delete", name, error)
            raise
        self.operations.append(Operation("delete", name))

    def _failed(self, kind: str, name: str, error: StrongroomError, size: int = 0) -> None:
        self.operations.append(Operation(kind, name, size, error.code))


def replay(operations: Sequence[Operation], count: int, onto: MemoryStore | None = None) -> MemoryStore:
    """Return a store on which the first `count` changes among `operations` were carried out.

    `onto` is what was there before; it is copied, not changed.
    """
    store = onto.copy() if onto is not None else MemoryStore()
    changes = [operation for operation in operations if operation.is_change]
    for change in changes[:count]:
        if change.data is None:
            store.delete(change.name)
        elif change.kind == "create":
            store.create(change.name, change.data)
        else:
            store.put(change.name, change.data, sha256_of(change.data).hexdigest())
    return store
