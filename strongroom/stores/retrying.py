"""A wrapper that tries again what may pass: `Transient` errors, and no others.

The waits grow: before the nth repetition a random time of up to `delay` × 2^(n-1) seconds and never more than
`cap` (full jitter, so that many workers that a service turned away together do not come back together). What
a service asks for itself (`retry_after` in an error's context) is the least that is waited.
"""

import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from strongroom.deadline import Deadline
from strongroom.errors import ObjectMissing, Transient
from strongroom.stores.data import Data
from strongroom.stores.names import check_prefix
from strongroom.stores.protocol import Store, StoredObject
from strongroom.stores.wrapped import WrappedStore

LONGEST_ASKED = 300.0
"""Seconds: a service that asks to be left alone for longer is asked again after this time all the same."""

Result = TypeVar("Result")


class RetryingStore(WrappedStore):
    """Repeats each call up to `max_retries` times, with growing random waits, while the deadline leaves time.

    When the tries or the time are used up, the last error goes on to the caller unchanged. `random` returns
    so many random bytes, as `os.urandom` does.
    """

    def __init__(
        self,
        inner: Store,
        *,
        max_retries: int = 3,
        delay: float = 5.0,
        cap: float = 60.0,
        deadline: Deadline | None = None,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(inner)
        self._max_retries = max_retries
        self._delay = delay
        self._cap = cap
        self._deadline = deadline or Deadline.never()
        self._sleep = sleep
        self._random = random

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data`; a try that had its effect though it failed makes the next one a no-op."""
        self._repeat(lambda: self.inner.put(name, data, sha256))

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` if nothing is there.

        If a try failed, the object that the next one finds may be our own, its acknowledgement lost: it is
        read and compared. Creators of one name must therefore write different bytes, as leases do.
        """
        failed = False

        def attempt() -> bool:
            nonlocal failed
            try:
                return self.inner.create(name, data) or (failed and self._is_ours(name, data))
            except Transient:
                failed = True
                raise

        return self._repeat(attempt)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`."""
        return self._repeat(lambda: self.inner.get(name, start, length))

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        return self._repeat(lambda: self.inner.stat(name))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield objects in the order of their names; after a failure go on behind the last one.

        A list that came on since its last failure has its tries again: it may be longer than a service's
        good moments.
        """
        check_prefix(prefix)
        last = ""
        failures = 0
        while True:
            try:
                for found in self.inner.list(prefix):
                    if found.name > last:
                        last = found.name
                        failures = 0
                        yield found
                return
            except Transient as error:
                failures += 1
                self._wait(error, failures)

    def delete(self, name: str) -> None:
        """Remove one object; a name that is not there is no error."""
        self._repeat(lambda: self.inner.delete(name))

    def _repeat(self, attempt: Callable[[], Result]) -> Result:
        failures = 0
        while True:
            try:
                return attempt()
            except Transient as error:
                failures += 1
                self._wait(error, failures)

    def _wait(self, error: Transient, failures: int) -> None:
        """Wait before the next try; raise the error if there is none."""
        if failures > self._max_retries:
            raise error
        seconds = max(self._jittered(failures), _asked(error))
        if self._deadline.remaining() <= seconds:
            raise error
        self._sleep(seconds)

    def _jittered(self, failures: int) -> float:
        share = int.from_bytes(self._random(4)) / 0xFFFFFFFF
        return share * min(self._cap, self._delay * 2.0 ** min(failures - 1, 30))

    def _is_ours(self, name: str, data: bytes) -> bool:
        try:
            return self.inner.get(name) == data
        except ObjectMissing:
            return False


def _asked(error: Transient) -> float:
    """Return the seconds that the service asked for, 0 if it asked for none."""
    asked: object = error.context.get("retry_after")
    return min(LONGEST_ASKED, max(0.0, asked)) if isinstance(asked, int | float) else 0.0
