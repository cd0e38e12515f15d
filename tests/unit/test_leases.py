"""Leases: one holder at a time, whatever dies, sleeps or fails. The clock is set by hand."""

import datetime as dt
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import msgspec
import pytest

from strongroom.errors import LeaseHeld, LeaseLost, MalformedDocument, ObjectMissing, StoreUnavailable
from strongroom.repository import leases
from strongroom.repository.leases import LEASE_TIME, Lease
from strongroom.stores.faulty import Fault, FaultKind, FaultyStore
from strongroom.stores.memory import MemoryStore
from strongroom.stores.protocol import Store
from tests.documents import NOON

CHAIN = "leases/backup/"
SECOND = dt.timedelta(seconds=1)


class HandClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> dt.datetime:
        """Return the instant that it shows."""
        return self.now


def numbers(store: Store) -> list[int]:
    """Return the numbers of the chain."""
    return [int(stored.name.removeprefix(CHAIN)) for stored in store.list(CHAIN)]


def lease(store: Store, clock: Callable[[], dt.datetime], who: str = "one") -> Lease:
    """Make a lease on the right to back up."""
    return Lease(store, "backup", who, clock)


def write_entry(store: Store, number: int, **fields: object) -> None:
    """Write an entry as another machine would have."""
    entry = {
        "token": "theirs",
        "holder": "elsewhere (process 7)",
        "process": "another-boot/7/7",
        "until": NOON + LEASE_TIME,
        **fields,
    }
    assert store.create(f"{CHAIN}{number:012d}", msgspec.json.encode(entry))


def test_one_at_a_time() -> None:
    """While the right is held nobody else gets it; the refusal names the holder. Afterwards anybody may."""
    store, clock = MemoryStore(), HandClock()
    with lease(store, clock) as held:
        with pytest.raises(LeaseHeld, match=rf"process {os.getpid()}\)"), lease(store, clock, "two"):
            pass
        held.check()
    with lease(store, clock, "two") as second:
        second.check()


def test_rights_are_apart() -> None:
    """Holding one right does not stand in the way of another."""
    store, clock = MemoryStore(), HandClock()
    with lease(store, clock) as one, Lease(store, "retention", "two", clock) as other:
        one.check()
        other.check()


def test_the_chain_is_cleaned() -> None:
    """However often the right was held, two entries are left, and the numbers go on."""
    store, clock = MemoryStore(), HandClock()
    for _ in range(5):
        with lease(store, clock):
            pass
    assert [9, 10] == numbers(store)


def test_of_many_racers_one_wins() -> None:
    """Of eight that try at once exactly one has the right; the others are told."""
    store, clock = MemoryStore(), HandClock()
    start, done = threading.Barrier(8), threading.Barrier(8)
    outcomes: list[str] = []

    def race(token: str) -> None:
        start.wait(10)
        try:
            with lease(store, clock, token):
                outcomes.append("held")
                done.wait(10)
        except LeaseHeld:
            outcomes.append("refused")
            done.wait(10)

    racers = [threading.Thread(target=race, args=(str(n),)) for n in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(20)
    assert ["held", *["refused"] * 7] == sorted(outcomes)


class Interposed(MemoryStore):
    """Does something else between a racer's look at the chain and its attempt to write."""

    def __init__(self, meanwhile: Callable[[MemoryStore], None]) -> None:
        super().__init__()
        self._meanwhile: Callable[[MemoryStore], None] | None = meanwhile

    def create(self, name: str, data: bytes) -> bool:
        """Let the others do what they do, once, then create."""
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile(self)
        return super().create(name, data)


def test_the_loser_of_a_race_is_told_who_won() -> None:
    """Who finds the next number taken has lost, and learns of the holder."""
    store = Interposed(lambda store: write_entry(store, 1))
    with pytest.raises(LeaseHeld, match="elsewhere"), lease(store, HandClock()):
        pass
    assert [1] == numbers(store)


def test_a_number_that_was_cleared_away_is_not_free() -> None:
    """Who slept between looking and writing finds its number free, since others went past it, and has lost."""

    def others(store: MemoryStore) -> None:
        write_entry(store, 2)
        write_entry(store, 3)

    store = Interposed(others)
    with pytest.raises(LeaseHeld, match="elsewhere"), lease(store, HandClock()):
        pass
    assert [2, 3] == numbers(store)


def test_time_runs_out() -> None:
    """A holder elsewhere of whom nothing is heard keeps the right until its time is over, and no longer."""
    store, clock = MemoryStore(), HandClock()
    write_entry(store, 1)
    clock.now = NOON + LEASE_TIME - SECOND
    with pytest.raises(LeaseHeld, match="elsewhere"), lease(store, clock):
        pass
    clock.now += SECOND
    with lease(store, clock) as held:
        held.check()


def test_the_dead_are_not_waited_for() -> None:
    """The right of a process of this machine that has ended is taken over at once."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = f"{leases._boot()}/{child.pid}/{leases._start_time(child.pid)}"
    store, clock = MemoryStore(), HandClock()
    write_entry(store, 1, process=process)
    with pytest.raises(LeaseHeld), lease(store, clock):
        pass
    child.communicate(b"\n")
    with lease(store, clock) as held:
        held.check()


@pytest.mark.skipif(not leases._boot(), reason="NOT PROVEN: this system does not tell when a process started")
def test_a_process_id_that_came_again() -> None:
    """Another process with the number of the dead one does not keep its right alive."""
    store, clock = MemoryStore(), HandClock()
    write_entry(store, 1, process=f"{leases._boot()}/{os.getpid()}/1")
    with lease(store, clock) as held:
        held.check()


@pytest.mark.parametrize("process", ["", "/7/7", "another-boot/7/7", "no slashes", f"{leases._boot()}/x/y"])
def test_nobody_is_thought_dead_without_proof(process: str) -> None:
    """A holder on another machine, or one that cannot be told, keeps its right until its time is over."""
    store = MemoryStore()
    write_entry(store, 1, process=process)
    with pytest.raises(LeaseHeld), lease(store, HandClock()):
        pass


def test_an_entry_that_makes_no_sense() -> None:
    """A damaged entry is named; nobody takes a right on the strength of it."""
    store = MemoryStore()
    store.create(f"{CHAIN}{1:012d}", b"{}")
    with pytest.raises(MalformedDocument, match="000000000001"), lease(store, HandClock()):
        pass
    other = MemoryStore()
    write_entry(other, 1, until="2026-11-23T12:00:00")
    with pytest.raises(MalformedDocument, match="timezone"), lease(other, HandClock()):
        pass


# -------------------------------------------------------------------------------- renewing


@pytest.fixture
def short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases be renewed every hundredth of a second; the clock by hand stands still."""
    monkeypatch.setattr(leases, "LEASE_TIME", dt.timedelta(seconds=0.03))


def wait_for_thread(held: Lease) -> None:
    """Wait until a lease's thread has given up."""
    assert held._thread is not None
    held._thread.join(20)
    assert not held._thread.is_alive()


@pytest.mark.usefixtures("short_time")
def test_renewing() -> None:
    """A lease is renewed from a thread of its own as long as the block runs, and the chain stays short."""
    renewed = threading.Event()

    class Counting(MemoryStore):
        def create(self, name: str, data: bytes) -> bool:
            if name.endswith("5"):
                renewed.set()
            return super().create(name, data)

    store = Counting()
    with lease(store, HandClock()) as held:
        assert renewed.wait(20)
        held.check()
    assert len(numbers(store)) == 2
    assert numbers(store)[-1] >= 6


@pytest.mark.usefixtures("short_time")
@pytest.mark.parametrize("kind", [FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER, FaultKind.FULL])
def test_a_renewal_that_fails(kind: FaultKind) -> None:
    """If the store does not take a renewal, the right is not certain any more, and the block is told."""
    store = FaultyStore(MemoryStore(), [Fault("create", 2, kind)])
    with lease(store, HandClock()) as held:
        wait_for_thread(held)
        with pytest.raises(LeaseLost):
            held.check()
    store.assert_all_hit()


@pytest.mark.usefixtures("short_time")
def test_a_right_that_was_taken_over() -> None:
    """Who finds the next number taken by somebody else has lost the right, and does not write after them."""
    store = MemoryStore()
    with lease(store, HandClock()) as held:
        wait_for_taken(store, 0)
        wait_for_thread(held)
        with pytest.raises(LeaseLost):
            held.check()
        before = numbers(store)
    assert before == numbers(store)


def wait_for_taken(store: MemoryStore, gap: int) -> None:
    """Write the entry of somebody else behind the chain, `gap` numbers further than the next."""
    while True:
        try:
            write_entry(store, numbers(store)[-1] + 1 + gap)
            return
        except AssertionError:
            continue


@pytest.mark.usefixtures("short_time")
def test_a_holder_that_slept_while_others_went_past() -> None:
    """Even if its next number is free because others cleared it away, a late holder has lost the right."""
    store = MemoryStore()
    with lease(store, HandClock()) as held:
        wait_for_taken(store, 5)
        newest = numbers(store)[-1]
        wait_for_thread(held)
        with pytest.raises(LeaseLost):
            held.check()
    assert newest == numbers(store)[-1]


def test_a_process_that_slept_too_long() -> None:
    """After its time is over a holder that could not renew does not believe in its right any more."""
    clock = HandClock()
    with lease(MemoryStore(), clock) as held:
        clock.now += LEASE_TIME - SECOND
        held.check()
        clock.now += SECOND
        with pytest.raises(LeaseLost):
            held.check()


def test_a_release_that_fails_undoes_nothing() -> None:
    """What was done under the lease stays done if giving it back fails: it runs out by itself."""
    store = FaultyStore(MemoryStore(), [Fault("create", 2, FaultKind.ERROR_BEFORE)])
    with lease(store, HandClock()):
        pass
    store.assert_all_hit()


def test_an_error_in_the_block_is_the_one_that_is_seen() -> None:
    """The lease is given back, and the error goes on."""
    store, clock = MemoryStore(), HandClock()
    with pytest.raises(StoreUnavailable), lease(store, clock):
        raise StoreUnavailable(operation="put", name="a", store="b", reason="c")
    with lease(store, clock, "two") as held:
        held.check()


def test_an_entry_that_goes_while_it_is_read() -> None:
    """An entry that others cleared away between listing and reading is looked for again."""

    class Vanishing(MemoryStore):
        tries = 0

        def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
            self.tries += 1
            if self.tries < 3:
                raise ObjectMissing(name=name, store=self.description)
            return super().get(name, start, length)

    store = Vanishing()
    write_entry(store, 1)
    with pytest.raises(LeaseHeld, match="elsewhere"), lease(store, HandClock()):
        pass
    assert 3 == store.tries
