"""The wrappers around stores: each adds one behaviour, and does it exactly."""

import os
from collections.abc import Callable, Iterator
from hashlib import sha256

import pytest

from strongroom.deadline import Deadline
from strongroom.errors import ObjectConflict, ObjectMissing, StoreFull, StoreReadOnly, StoreUnavailable
from strongroom.stores.faulty import (
    ANY,
    Fault,
    FaultKind,
    FaultsNotHitError,
    FaultyStore,
    SimulatedCrash,
    draw_faults,
)
from strongroom.stores.memory import MemoryStore
from strongroom.stores.protocol import Store, StoredObject
from strongroom.stores.read_only import ReadOnlyStore
from strongroom.stores.recording import Operation, RecordingStore, replay
from strongroom.stores.retrying import RetryingStore


def put(store: Store, name: str, data: bytes) -> None:
    """Store bytes with their right SHA-256."""
    store.put(name, data, sha256(data).hexdigest())


def contents(store: Store) -> dict[str, bytes]:
    """Return everything in a store."""
    return {found.name: store.get(found.name) for found in store.list()}


def filled(count: int = 6) -> MemoryStore:
    """Make a store with a few objects."""
    store = MemoryStore()
    for number in range(count):
        put(store, f"object-{number}", bytes([number]) * 10)
    return store


# ---------------------------------------------------------------- retrying


CALLS: dict[str, Callable[[Store], object]] = {
    "put": lambda store: put(store, "new", b"data"),
    "create": lambda store: store.create("new", b"data"),
    "get": lambda store: store.get("object-1"),
    "stat": lambda store: store.stat("object-1"),
    "list": lambda store: list(store.list()),
    "delete": lambda store: store.delete("object-1"),
}


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("kind", [FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER])
def test_retries_until_it_works(operation: str, kind: FaultKind) -> None:
    """After transient errors, acknowledgements lost included, a call ends as if nothing had happened."""
    plain, inner, slept = filled(), filled(), list[float]()
    faulty = FaultyStore(inner, [Fault(operation, nth, kind) for nth in (1, 2, 3)])
    store = RetryingStore(faulty, max_retries=3, delay=5, sleep=slept.append)
    expected, observed = CALLS[operation](plain), CALLS[operation](store)
    if operation != "list" and not isinstance(expected, StoredObject):
        assert expected == observed
    assert contents(plain) == contents(inner)
    assert [5, 5, 5] == slept
    faulty.assert_all_hit()


@pytest.mark.parametrize("operation", CALLS)
def test_retries_end(operation: str) -> None:
    """When the tries are used up, the last transient error goes on."""
    slept = list[float]()
    faulty = FaultyStore(filled(), [Fault(operation, nth, FaultKind.ERROR_BEFORE) for nth in (1, 2, 3)])
    store = RetryingStore(faulty, max_retries=2, delay=1, sleep=slept.append)
    with pytest.raises(StoreUnavailable):
        CALLS[operation](store)
    assert [1, 1] == slept
    faulty.assert_all_hit()


def test_list_goes_on_where_it_broke() -> None:
    """A list that breaks off yields each object once, in order."""
    faulty = FaultyStore(filled(7), [Fault("list", 1, FaultKind.ERROR_AFTER)])
    store = RetryingStore(faulty, sleep=lambda _: None)
    assert [f"object-{number}" for number in range(7)] == [found.name for found in store.list("obj")]
    faulty.assert_all_hit()


def test_no_retry_past_the_deadline() -> None:
    """A retry that the deadline leaves no time for is not waited for."""
    slept = list[float]()
    faulty = FaultyStore(filled(), [Fault("get", 1, FaultKind.ERROR_BEFORE)])
    deadline = Deadline.after(1, "backup.max_backup_duration")
    store = RetryingStore(faulty, delay=5, deadline=deadline, sleep=slept.append)
    with pytest.raises(StoreUnavailable):
        store.get("object-1")
    assert [] == slept


def test_only_transient_errors() -> None:
    """Conflicts, missing objects and full media are not tried again."""
    faulty = FaultyStore(filled(), [Fault("put", 2, FaultKind.FULL)])
    store = RetryingStore(faulty, sleep=lambda _: pytest.fail("slept"))
    with pytest.raises(ObjectConflict):
        put(store, "object-1", b"other")
    with pytest.raises(StoreFull):
        put(store, "new", b"data")
    with pytest.raises(ObjectMissing):
        store.get("nothing")
    faulty.assert_all_hit()


def test_create_after_a_lost_race() -> None:
    """A creator whose first try failed before its effect does not take another's lease for its own."""
    inner = MemoryStore()
    faulty = FaultyStore(inner, [Fault("create", 1, FaultKind.ERROR_BEFORE)])

    def another_is_quicker(_: float) -> None:
        inner.create("lease", b"theirs")

    store = RetryingStore(faulty, sleep=another_is_quicker)
    assert not store.create("lease", b"ours")
    assert b"theirs" == inner.get("lease")
    assert not store.create("lease", b"theirs")


# ---------------------------------------------------------------- read only


def test_read_only() -> None:
    """Reads go through; every change is refused and not made."""
    inner = filled()
    store = ReadOnlyStore(inner)
    before = contents(inner)
    for operation in ("put", "create", "delete"):
        with pytest.raises(StoreReadOnly) as caught:
            CALLS[operation](store)
        assert operation in str(caught.value)
    assert before == contents(store) == contents(inner)
    assert inner.stat("object-1") == store.stat("object-1")
    assert b"\x01\x01" == store.get("object-1", 3, 2)


# ---------------------------------------------------------------- recording


def test_record() -> None:
    """Every call is recorded with its sizes and how it ended."""
    store = RecordingStore(MemoryStore())
    put(store, "a", b"12345")
    assert store.create("b", b"12")
    assert not store.create("b", b"1234")
    store.get("a", 1, 3)
    store.stat("a")
    list(store.list("a"))
    with pytest.raises(ObjectConflict):
        put(store, "a", b"other")
    with pytest.raises(ObjectMissing):
        store.get("c")
    store.delete("a")
    expected = [
        Operation("put", "a", 5, data=b"12345"),
        Operation("create", "b", 2, data=b"12"),
        Operation("create", "b", 4, "taken"),
        Operation("get", "a", 3),
        Operation("stat", "a"),
        Operation("list", "a", 1),
        Operation("put", "a", 5, ObjectConflict.code),
        Operation("get", "c", 0, ObjectMissing.code),
        Operation("delete", "a"),
    ]
    assert expected == store.operations
    assert ["put", "create", "delete"] == [operation.kind for operation in store.changes()]


def test_replay_of_every_prefix() -> None:
    """The first N changes, replayed, give the store as it was after the Nth change."""
    inner = filled(2)
    before = inner.copy()
    store = RecordingStore(inner)
    states = [contents(inner)]
    steps: list[Callable[[], object]] = [
        lambda: put(store, "a", os.urandom(9)),
        lambda: store.create("lease", b"me"),
        lambda: put(store, "b", b""),
        lambda: store.delete("object-0"),
        lambda: store.delete("lease"),
        lambda: store.create("lease", b"you"),
    ]
    for step in steps:
        step()
        states.append(contents(inner))
        store.get("object-1")
    replayed = [contents(replay(store.operations, count, before)) for count in range(len(states))]
    assert states == replayed
    assert {"object-0", "object-1"} == set(contents(before))
    assert {"a", "lease"} == set(contents(replay(store.changes(), 2)))


# ---------------------------------------------------------------- faulty


def test_errors_before_and_after() -> None:
    """An error before leaves nothing done, a lost acknowledgement leaves it done."""
    inner = MemoryStore()
    plan = [Fault("put", 1, FaultKind.ERROR_BEFORE), Fault("put", 2, FaultKind.ERROR_AFTER)]
    store = FaultyStore(inner, plan)
    for name in ("first", "second"):
        with pytest.raises(StoreUnavailable):
            put(store, name, b"x")
    put(store, "third", b"x")
    assert {"second", "third"} == set(contents(inner))
    store.assert_all_hit()


def test_spoiled_reads() -> None:
    """A corrupt read has one bit flipped, a short read half the bytes; what is stored stays right."""
    inner = filled()
    plan = [Fault("get", 1, FaultKind.CORRUPT_READ), Fault("get", 2, FaultKind.SHORT_READ)]
    store = FaultyStore(inner, plan)
    right = inner.get("object-3")
    corrupt, short, again = (store.get("object-3") for _ in range(3))
    assert [1] == [(a ^ b).bit_count() for a, b in zip(right, corrupt, strict=True) if a != b]
    assert right[:5] == short
    assert right == again
    store.assert_all_hit()


def test_full() -> None:
    """A full medium takes nothing."""
    inner = MemoryStore()
    store = FaultyStore(inner, [Fault("put", 1, FaultKind.FULL, prefix="packs/")])
    put(store, "keys/one", b"x")
    with pytest.raises(StoreFull):
        put(store, "packs/one", b"x")
    assert {"keys/one"} == set(contents(inner))


@pytest.mark.parametrize(
    ("kind", "left"), [(FaultKind.CRASH_BEFORE, {"one"}), (FaultKind.CRASH_AFTER, {"one", "two"})]
)
def test_crash(kind: FaultKind, left: set[str]) -> None:
    """After a crash every call raises, and no handler of errors catches it."""
    inner = MemoryStore()
    store = FaultyStore(inner, [Fault(ANY, 3, kind)])
    put(store, "one", b"x")
    store.get("one")
    with pytest.raises(SimulatedCrash):
        put(store, "two", b"x")
    for call in CALLS.values():
        with pytest.raises(SimulatedCrash):
            call(store)
    assert left == set(contents(inner))
    assert not issubclass(SimulatedCrash, Exception)
    store.assert_all_hit()


def test_faults_that_were_never_hit() -> None:
    """A plan that was not carried out fails the test, naming the fault."""
    store = FaultyStore(filled(), [Fault("get", 2, FaultKind.ERROR_BEFORE), Fault("put", 1, FaultKind.FULL)])
    store.get("object-1")
    with pytest.raises(StoreFull):
        put(store, "new", b"x")
    with pytest.raises(FaultsNotHitError, match="nth=2"):
        store.assert_all_hit()
    with pytest.raises(StoreUnavailable):
        store.get("object-1")
    store.assert_all_hit()


def test_spoiling_what_does_not_read() -> None:
    """A plan that could not do what it says is refused."""
    with pytest.raises(ValueError, match="corrupt read"):
        Fault("put", 1, FaultKind.CORRUPT_READ)


def test_drawn_plans() -> None:
    """A seed gives one plan, each seed another, within the calls and operations named."""
    kinds = list(FaultKind)
    plans = [draw_faults(seed, 6, 20, ("put", "get", "list"), kinds) for seed in range(30)]
    assert plans == [draw_faults(seed, 6, 20, ("put", "get", "list"), kinds) for seed in range(30)]
    assert 30 == len({tuple(plan) for plan in plans})
    faults = [fault for plan in plans for fault in plan]
    assert {"put", "get", "list"} == {fault.operation for fault in faults}
    assert set(range(1, 21)) == {fault.nth for fault in faults}
    assert set(kinds) == {fault.kind for fault in faults}


# ---------------------------------------------------------------- memory


def test_memory_keeps_its_own_bytes() -> None:
    """Changing a buffer after putting it changes nothing that is stored."""
    store = MemoryStore(clock=lambda: 1234.5)
    buffer = bytearray(b"data")
    store.put("one", buffer, sha256(buffer).hexdigest())
    buffer[0] = 0
    assert b"data" == store.get("one")
    assert StoredObject("one", 4, 1234.5) == store.stat("one")


def test_tamper_and_copy() -> None:
    """Tampering changes stored bytes without a call, and a copy does not follow."""
    store = filled(2)
    twin = store.copy()
    store.tamper("object-0", lambda data: data[:3])
    assert {"object-0": bytes(3), "object-1": b"\x01" * 10} == contents(store)
    assert bytes(10) == twin.get("object-0")
    with pytest.raises(ObjectMissing):
        store.tamper("nothing", lambda data: data)


def test_descriptions_pass_through() -> None:
    """Every wrapper says where the innermost store is."""
    wrapped: Iterator[Store] = iter(
        [wrapper(MemoryStore()) for wrapper in (ReadOnlyStore, RetryingStore, RecordingStore, FaultyStore)]
    )
    assert ["memory"] * 4 == [store.description for store in wrapped]
