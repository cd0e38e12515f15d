"""A wrapper that tries again what may pass: `Transient` errors, and no others."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from strongroom.deadline import Deadline
from strongroom.errors import ObjectMissing, Transient
from strongroom.stores.names import check_prefix
from strongroom.stores.protocol import Store, StoredObject

Result = TypeVar("Result")


class RetryingStore:
    """Repeats a call up to `max_retries` times, `delay` seconds apart, while the deadline leaves time.

    When the tries or the time are used up, the last error goes on to the caller unchanged.
    """

    def __init__(
        self,
        inner: Store,
        *,
        max_retries: int = 3,
        delay: float = 5.0,
        deadline: Deadline | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._inner = inner
        self._max_retries = max_retries
        self._delay = delay
        self._deadline = deadline or Deadline.never()
        self._sleep = sleep

    @property
    def description(self) -> str:
        """Say where this is."""
        return self._inner.description

    def put(self, name: str, data: bytes | bytearray | memoryview, sha256: str) -> None:
        """Store `data`; a try that had its effect though it failed makes the next one a no-op."""
        self._repeat(lambda: self._inner.put(name, data, sha256))

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` if nothing is there.

        If a try failed, the object that the next one finds may be our own, its acknowledgement lost: it is
        read and compared. Creators of one name must therefore write different bytes, as leases do.
        """
        failed = False

        def attempt() -> bool:
            nonlocal failed
            try:
                return self._inner.create(name, data) or (failed and self._is_ours(name, data))
            except Transient:
                failed = True
                raise

        return self._repeat(attempt)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`."""
        return self._repeat(lambda: self._inner.get(name, start, length))

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        return self._repeat(lambda: self._inner.stat(name))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield objects in the order of their names; after a failure go on behind the last one."""
        check_prefix(prefix)
        last = ""
        tries = 0
        while True:
            try:
                for found in self._inner.list(prefix):
                    if found.name > last:
                        last = found.name
                        yield found
                return
            except Transient:
                tries += 1
                if not self._may_retry(tries):
                    raise
                self._sleep(self._delay)

    def delete(self, name: str) -> None:
        """Remove one object; a name that is not there is no error."""
        self._repeat(lambda: self._inner.delete(name))

    def _repeat(self, attempt: Callable[[], Result]) -> Result:
        tries = 0
        while True:
            try:
                return attempt()
            except Transient:
                tries += 1
                if not self._may_retry(tries):
                    raise
                self._sleep(self._delay)

    def _may_retry(self, tries: int) -> bool:
        return tries <= self._max_retries and self._deadline.remaining() > self._delay

    def _is_ours(self, name: str, data: bytes) -> bool:
        try:
            return self._inner.get(name) == data
        except ObjectMissing:
            return False
