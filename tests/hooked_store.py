"""A store that lets something else happen just before its nth call: races, one by one and without threads.

hooked = HookedStore(store)
hooked.before(3, lambda: worker.new_data_key(backup, os.urandom))
"""

from collections.abc import Callable, Iterator

from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import Data
from strongroom.stores.protocol import Store, StoredObject


class HookedStore:
    """Counts its calls, from 1, and does what was arranged before the call of that number."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self._arranged: dict[int, Callable[[], object]] = {}
        self.calls = 0

    def before(self, nth: int, work: Callable[[], object]) -> None:
        """Arrange for `work` to be done once, just before the call of this number."""
        self._arranged[nth] = work

    @property
    def description(self) -> str:
        """Say where this is."""
        return self._inner.description

    @property
    def capabilities(self) -> Capabilities:
        """Say what the medium can do."""
        return self._inner.capabilities

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`."""
        self._count()
        self._inner.put(name, data, sha256)

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there."""
        self._count()
        return self._inner.create(name, data)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes."""
        self._count()
        return self._inner.get(name, start, length)

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        self._count()
        return self._inner.stat(name)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """List objects; what was arranged happens when the call is made."""
        self._count()
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        """Remove one object."""
        self._count()
        self._inner.delete(name)

    def _count(self) -> None:
        self.calls += 1
        work = self._arranged.pop(self.calls, None)
        if work is not None:
            work()
