"""The wrappers around stores: each adds one behaviour, and does it exactly."""

import logging
import os
from collections.abc import Callable, Iterator
from hashlib import sha256

import pytest

from strongroom.deadline import Deadline
from strongroom.errors import (
    BadObjectName,
    ObjectConflict,
    ObjectMissing,
    StoreFull,
    StoreReadOnly,
    StoreThrottled,
    StoreUnavailable,
)
from strongroom.stores.bandwidth import BandwidthLimited
from strongroom.stores.faulty import (
    ANY,
    Fault,
    FaultKind,
    FaultsNotHitError,
    FaultyStore,
    SimulatedCrash,
    draw_faults,
)
from strongroom.stores.logged import LoggedStore
from strongroom.stores.memory import MemoryStore
from strongroom.stores.protocol import Store, StoredObject
from strongroom.stores.read_only import ReadOnlyStore
from strongroom.stores.recording import Operation, RecordingStore, replay
from strongroom.stores.retrying import LONGEST_ASKED, RetryingStore
from strongroom.stores.wrapped import WrappedStore, close_store


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


def longest(count: int) -> bytes:
    """Draw the longest wait there is."""
    return b"\xff" * count


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
    store = RetryingStore(faulty, max_retries=3, delay=5, sleep=slept.append, random=longest)
    expected, observed = CALLS[operation](plain), CALLS[operation](store)
    if operation != "list" and not isinstance(expected, StoredObject):
        assert expected == observed
    assert contents(plain) == contents(inner)
    assert [5, 10, 20] == slept
    faulty.assert_all_hit()


@pytest.mark.parametrize("operation", CALLS)
def test_retries_end(operation: str) -> None:
    """When the tries are used up, the last transient error goes on."""
    slept = list[float]()
    faulty = FaultyStore(filled(), [Fault(operation, nth, FaultKind.ERROR_BEFORE) for nth in (1, 2, 3)])
    store = RetryingStore(faulty, max_retries=2, delay=1, sleep=slept.append, random=longest)
    with pytest.raises(StoreUnavailable):
        CALLS[operation](store)
    assert [1, 2] == slept
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
    store = RetryingStore(faulty, delay=5, deadline=deadline, sleep=slept.append, random=longest)
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


def test_waits_are_random_and_capped() -> None:
    """Before the nth repetition any wait up to the base doubled n-1 times, and never more than the cap."""
    slept = list[float]()
    shares = iter([0.5, 1.0, 0.0, 0.25, 1.0])

    def drawn(count: int) -> bytes:
        return int(next(shares) * (256**count - 1)).to_bytes(count)

    faulty = FaultyStore(filled(), [Fault("get", nth, FaultKind.ERROR_BEFORE) for nth in range(1, 6)])
    store = RetryingStore(faulty, max_retries=5, delay=2, cap=10, sleep=slept.append, random=drawn)
    store.get("object-1")
    assert [1, 4, 0, 2.5, 10] == [pytest.approx(wait, abs=1e-6) for wait in slept]


class Throttling(WrappedStore):
    """Turns the first calls away, and says for how long."""

    def __init__(self, inner: Store, *asked: object) -> None:
        super().__init__(inner)
        self.asked = list(asked)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Refuse for a while."""
        if self.asked:
            raise StoreThrottled(
                store="memory",
                operation="get",
                name=name,
                reason="slow down",
                retry_after=self.asked.pop(0),
            )
        return super().get(name, start, length)


def test_a_service_is_waited_for_as_long_as_it_asks() -> None:
    """What it asks for is the least; half a day is not waited for, nor is nonsense taken for a number."""
    slept = list[float]()
    inner = Throttling(filled(), 30, 0.5, 43_200, "soon", -5)
    store = RetryingStore(inner, max_retries=5, delay=1, sleep=slept.append, random=longest)
    assert bytes([1]) * 10 == store.get("object-1")
    assert [30, 2, LONGEST_ASKED, 8, 16] == slept


def test_a_wait_that_is_asked_for_does_not_pass_the_deadline() -> None:
    """Where the deadline comes first, the error goes on at once."""
    store = RetryingStore(
        Throttling(filled(), 30),
        deadline=Deadline.after(10, "backup.max_backup_duration"),
        sleep=lambda _: pytest.fail("slept"),
        random=bytes,
    )
    with pytest.raises(StoreThrottled):
        store.get("object-1")


class Stumbling(WrappedStore):
    """Breaks every list off after the first name that it has not yielded before."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.yielded = set[str]()

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield what was yielded before, and one more."""
        for found in super().list(prefix):
            yield found
            if found.name not in self.yielded:
                self.yielded.add(found.name)
                raise StoreUnavailable(store="memory", operation="list", name=prefix, reason="cut")


def test_a_list_that_comes_on_has_its_tries_again() -> None:
    """A long list may break off more often than a call is repeated, as long as it comes on."""
    store = RetryingStore(Stumbling(filled(9)), max_retries=1, sleep=lambda _: None)
    assert [f"object-{number}" for number in range(9)] == [found.name for found in store.list()]


# ---------------------------------------------------------------- logged


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    """Return what was logged so far: level and line."""
    caplog.set_level(logging.DEBUG, "strongroom.stores")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_every_call_is_a_line(lines: Callable[[], list[tuple[str, str]]]) -> None:
    """A line says what was asked, the bytes, the seconds and the outcome; an answer is no trouble."""
    ticks = iter(range(100))
    store = LoggedStore(filled(3), clock=lambda: next(ticks) / 2)
    put(store, "new", b"secret rows")
    assert store.create("lease", b"me")
    assert not store.create("lease", b"you!")
    store.get("new", 2, 5)
    with pytest.raises(ObjectMissing):
        store.get("nothing")
    store.stat("new")
    assert 3 == len(list(store.list("object")))
    next(iter(store.list("object")))
    store.delete("new")
    expected = [
        "put new: 11 bytes in 0.500 s: done",
        "create lease: 2 bytes in 0.500 s: done",
        "create lease: 4 bytes in 0.500 s: taken",
        "get new: 5 bytes in 0.500 s: done",
        "get nothing: 0 bytes in 0.500 s: missing",
        "stat new: 0 bytes in 0.500 s: done",
        "list object: 3 objects in 0.500 s: done",
        "list object: 1 objects in 0.500 s: left early",
        "delete new: 0 bytes in 0.500 s: done",
    ]
    assert [("DEBUG", line) for line in expected] == lines()


def test_trouble_is_a_warning(lines: Callable[[], list[tuple[str, str]]]) -> None:
    """A coded error is named with its sentence, any other by its kind only; contents are never logged."""
    plan = [Fault("get", 1, FaultKind.ERROR_BEFORE), Fault("stat", 1, FaultKind.CRASH_BEFORE)]
    store = LoggedStore(FaultyStore(filled(), plan), clock=lambda: 0.0)
    with pytest.raises(StoreUnavailable):
        store.get("object-1")
    with pytest.raises(ObjectConflict):
        put(store, "object-1", b"secret rows")
    with pytest.raises(SimulatedCrash):
        store.stat("object-1")
    assert ["WARNING"] * 3 == [level for level, _ in lines()]
    assert lines()[0][1].startswith("get object-1: 0 bytes in 0.000 s: SR-0607 memory did not carry out get")
    assert lines()[1][1].startswith("put object-1: 11 bytes in 0.000 s: SR-0602")
    assert "stat object-1: 0 bytes in 0.000 s: SimulatedCrash" == lines()[2][1]
    assert "secret" not in str(lines())


def test_a_line_stays_a_line(lines: Callable[[], list[tuple[str, str]]]) -> None:
    """What is no name, and was refused, cannot write lines of its own into the log."""
    with pytest.raises(BadObjectName):
        LoggedStore(filled(), clock=lambda: 0.0).get("a\nERROR all is lost" + "x" * 1000)
    assert "\n" not in lines()[0][1]
    assert lines()[0][1].startswith(r"get a\nERROR all is lostxxx")
    assert len(lines()[0][1]) < 500


def test_a_logger_can_be_given(caplog: pytest.LogCaptureFixture) -> None:
    """Lines go where the caller wants them."""
    caplog.set_level(logging.DEBUG, "elsewhere")
    LoggedStore(filled(), logging.getLogger("elsewhere")).get("object-1")
    assert ["elsewhere"] == [record.name for record in caplog.records]


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


class Pieces:
    """So many bytes in pieces, and how often they were read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads = 0

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        """Return a piece."""
        self.reads += 1
        return self.data[start : start + length]


WRAPPERS: list[Callable[[Store], Store]] = [
    WrappedStore,
    ReadOnlyStore,
    RetryingStore,
    RecordingStore,
    FaultyStore,
    LoggedStore,
    lambda inner: BandwidthLimited(inner, 1 << 30),
]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_passes_on_what_it_does_not_change(wrapper: Callable[[Store], Store]) -> None:
    """Every wrapper says where the innermost store is and what it can do, and reads what it holds."""
    inner = filled()
    store = wrapper(inner)
    assert inner.description == store.description
    assert inner.capabilities == store.capabilities
    assert isinstance(store, WrappedStore)
    assert inner is store.inner
    assert contents(inner) == contents(store)
    assert inner.stat("object-1") == store.stat("object-1")


class Connected(MemoryStore):
    """Has connections."""

    is_open = True

    def close(self) -> None:
        """Let go of them."""
        self.is_open = False


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_closing_goes_through_all_wrappers(wrapper: Callable[[Store], Store]) -> None:
    """Connections are the innermost store's; one that has none is closed for nothing."""
    inner = Connected()
    close_store(wrapper(WrappedStore(inner)))
    assert not inner.is_open
    close_store(wrapper(MemoryStore()))


@pytest.mark.parametrize("wrapper", [one for one in WRAPPERS if one is not ReadOnlyStore])
def test_a_wrapper_passes_pieces_on(wrapper: Callable[[Store], Store]) -> None:
    """What comes in pieces arrives whole through every wrapper."""
    inner, pieces = MemoryStore(), Pieces(os.urandom(100_000))
    wrapper(inner).put("one", pieces, sha256(pieces.data).hexdigest())
    assert pieces.data == inner.get("one")
    assert pieces.reads
