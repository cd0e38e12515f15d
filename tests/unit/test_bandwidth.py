"""The limited bandwidth of a store: the rate holds over all threads, and small objects are not starved."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Lock

import pytest

from strongroom.stores.bandwidth import GRANT_BYTES, BandwidthLimited
from strongroom.stores.data import Pieces, pieces_of
from strongroom.stores.memory import MemoryStore
from strongroom.stores.protocol import Store

MIB = 1 << 20
RATE = 2 * MIB


class Timeline:
    """A clock that only sleeping moves on, and the sleeps that moved it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self._lock = Lock()

    def clock(self) -> float:
        """Return the present second."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds


class Zeros:
    """So many zero bytes, in pieces; remembers when each was read."""

    def __init__(self, size: int, timeline: Timeline) -> None:
        self.size = size
        self.reads: list[tuple[float, int]] = []
        self._timeline = timeline

    def read(self, start: int, length: int) -> bytes:
        """Return zeros."""
        length = min(length, self.size - start)
        self.reads.append((self._timeline.now, length))
        return bytes(length)


@pytest.fixture
def timeline() -> Timeline:
    """Start a clock that stands still."""
    return Timeline()


def limited(timeline: Timeline) -> BandwidthLimited:
    """Limit a store in memory to two MiB a second."""
    return BandwidthLimited(MemoryStore(), RATE, clock=timeline.clock, sleep=timeline.sleep)


def put(store: Store, name: str, data: bytes) -> None:
    """Store bytes with their right SHA-256."""
    store.put(name, data, sha256(data).hexdigest())


def test_puts_and_gets_share_the_rate(timeline: Timeline) -> None:
    """Ten MiB up and ten down take as long as twenty MiB do, but for the one that an idle line has saved."""
    store = limited(timeline)
    put(store, "one", bytes(10 * MIB))
    assert bytes(10 * MIB) == store.get("one")
    assert pytest.approx(100 + (20 * MIB - GRANT_BYTES) / RATE) == timeline.now


def test_waits_are_short(timeline: Timeline) -> None:
    """Nobody waits for more than one grant at a stretch, so that others come in between."""
    put(limited(timeline), "one", bytes(10 * MIB))
    assert max(timeline.slept) <= GRANT_BYTES / RATE


def test_an_idle_line_saves_one_grant(timeline: Timeline) -> None:
    """After an hour's silence a MiB goes at once, and the second at the rate."""
    store = limited(timeline)
    timeline.now += 3600
    put(store, "one", bytes(MIB))
    assert [] == timeline.slept
    put(store, "two", bytes(MIB))
    assert [pytest.approx(0.5)] == timeline.slept


def test_pieces_are_limited_as_they_are_read(timeline: Timeline) -> None:
    """An object in pieces is spread over its time, not sent in one go after it."""
    pieces = Zeros(32 * MIB, timeline)
    store = BandwidthLimited(Reading(), RATE, clock=timeline.clock, sleep=timeline.sleep)
    store.put("one", pieces, sha256(bytes(32 * MIB)).hexdigest())
    assert [8 * MIB] * 4 == [length for _, length in pieces.reads]
    moments = [moment for moment, _ in pieces.reads]
    assert [4.0, 4.0] == [pytest.approx(b - a) for a, b in itertools.pairwise(moments[1:])]


class Reading(MemoryStore):
    """Reads what comes in pieces as a remote store does, 8 MiB at a time."""

    def put(self, name: str, data: object, sha256: str) -> None:
        """Read everything in order."""
        assert isinstance(data, Pieces)
        assert sum(len(piece) for piece in pieces_of(data)) == data.size


def test_threads_share_one_rate(timeline: Timeline) -> None:
    """Eight threads together are granted what one is."""
    store = limited(timeline)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(store, f"object-{number}", bytes(2 * MIB)), range(8)))
    # Each sleep moves the clock for all, so that it runs ahead of real waiting, never behind it.
    assert timeline.now >= 100 + (16 * MIB - GRANT_BYTES) / RATE - 1e-6


def test_nothing_costs_nothing(timeline: Timeline) -> None:
    """Empty objects, lists and deletes are not slowed down."""
    store = limited(timeline)
    put(store, "empty", b"")
    assert b"" == store.get("empty")
    assert ["empty"] == [found.name for found in store.list()]
    store.delete("empty")
    assert [] == timeline.slept


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_is_positive(rate: float) -> None:
    """No rate at all is a mistake of the program, not a limit."""
    with pytest.raises(ValueError, match="more than zero"):
        BandwidthLimited(MemoryStore(), rate)
