"""A wrapper that keeps the bytes to and from a store under a rate, over all threads together.

    store = BandwidthLimited(open_store("s3://bucket/prefix"), 4 << 20)      # 4 MiB a second

Bytes are granted a MiB at a time, so that a small object never waits for the whole of a large one, and an idle
line saves up one MiB at most. What is put from memory is paid for before it is sent, `Pieces` as they are
read, what is got once it came: over a few objects the rate holds, while one object travels as fast as the line
carries it. Repetitions by a `RetryingStore` count only if that stands outside this wrapper.
"""

import time
from collections.abc import Callable
from threading import Lock

from strongroom.stores.data import Data, Pieces, size_of
from strongroom.stores.protocol import Store
from strongroom.stores.wrapped import WrappedStore

GRANT_BYTES = 1 << 20
"""How much is granted at a time, and how much an idle line saves up."""


class BandwidthLimited(WrappedStore):
    """Lets `bytes_per_second` through, of `put` and `get` together; raises `ValueError` unless it is positive."""

    def __init__(
        self,
        inner: Store,
        bytes_per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(inner)
        self._allowance = _Allowance(bytes_per_second, clock, sleep)

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name` as soon as the rate allows it."""
        if isinstance(data, Pieces):
            self.inner.put(name, _PacedPieces(data, self._allowance), sha256)
        else:
            self._allowance.take(size_of(data))
            self.inner.put(name, data, sha256)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`, no sooner than the rate allows it."""
        data = self.inner.get(name, start, length)
        self._allowance.take(len(data))
        return data


class _Allowance:
    """One token bucket: whoever takes bytes is told to wait until the bytes before them have gone."""

    def __init__(self, rate: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        if rate <= 0:
            raise ValueError("a rate of bytes per second is more than zero")
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        # A first MiB is free, as after any pause.
        self._paid_until = clock() - GRANT_BYTES / rate

    def take(self, count: int) -> None:
        """Wait until `count` bytes may go."""
        while count > 0:
            grant = min(count, GRANT_BYTES)
            wait = self._reserve(grant)
            # Waiting is done outside the lock: others queue up behind this grant meanwhile.
            if wait > 0:
                self._sleep(wait)
            count -= grant

    def _reserve(self, grant: int) -> float:
        with self._lock:
            now = self._clock()
            begin = max(self._paid_until, now - GRANT_BYTES / self._rate)
            self._paid_until = begin + grant / self._rate
            return self._paid_until - now


class _PacedPieces:
    """Pieces that are handed out as fast as the rate allows."""

    def __init__(self, pieces: Pieces, allowance: _Allowance) -> None:
        self._pieces = pieces
        self._allowance = allowance

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self._pieces.size

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`, once they may go."""
        piece = self._pieces.read(start, length)
        self._allowance.take(len(piece))
        return piece
