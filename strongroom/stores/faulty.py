"""A wrapper that fails according to a plan: for tests of what Strongroom does when a medium misbehaves.

    store = FaultyStore(MemoryStore(), [Fault("put", 3, FaultKind.ERROR_AFTER)])
    ...
    store.assert_all_hit()

A plan is explicit, or drawn from a seed by `draw_faults`. A fault that was never hit fails the test, because
it proves nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from threading import Lock
from typing import TypeVar

from strongroom.errors import StoreFull, StoreUnavailable
from strongroom.stores.data import Data
from strongroom.stores.protocol import Store, StoredObject
from strongroom.stores.wrapped import WrappedStore

ANY = "any"
"""In a fault: whatever the operation."""


class FaultKind(StrEnum):
    """What goes wrong."""

    ERROR_BEFORE = "error before"
    """A transient error; nothing was done."""
    ERROR_AFTER = "error after"
    """A transient error although it was done: a lost acknowledgement."""
    CORRUPT_READ = "corrupt read"
    """One bit of what `get` returns is flipped; what is stored stays right."""
    SHORT_READ = "short read"
    """`get` returns the first half."""
    FULL = "full"
    """There is no room; nothing was done."""
    CRASH_BEFORE = "crash before"
    """The process ends: this call does nothing, it and every later one raise `SimulatedCrash`."""
    CRASH_AFTER = "crash after"
    """The process ends just after the call had its effect."""


_READS = {FaultKind.CORRUPT_READ, FaultKind.SHORT_READ}
_CRASHES = {FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER}


@dataclass(frozen=True, slots=True)
class Fault:
    """The `nth` call (from 1) of an operation on names that start with `prefix` goes wrong.

    `operation` is a method of the protocol, or `ANY`.
    """

    operation: str
    nth: int
    kind: FaultKind
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.kind in _READS and self.operation != "get":
            raise ValueError(f"{self.kind} is a fault of get, not of {self.operation}")

    def concerns(self, operation: str, name: str) -> bool:
        """Tell whether a call counts towards `nth`."""
        return self.operation in {ANY, operation} and name.startswith(self.prefix)


class SimulatedCrash(BaseException):
    """The end of the process, as far as the store can tell.

    Not an `Exception`: code that handles errors must not get to handle its own death.
    """


class FaultsNotHitError(AssertionError):
    """Faults were planned and did not happen, so the test proved less than it says."""


Result = TypeVar("Result")


class FaultyStore(WrappedStore):
    """Carries out a plan of faults over another store. Thread-safe."""

    def __init__(self, inner: Store, plan: Sequence[Fault] = ()) -> None:
        super().__init__(inner)
        self._plan = tuple(plan)
        self._lock = Lock()
        self._calls = [0] * len(self._plan)
        self._hit = [False] * len(self._plan)
        self._crashed = False

    def assert_all_hit(self) -> None:
        """Raise `FaultsNotHitError` unless every fault of the plan happened."""
        missed = [fault for fault, hit in zip(self._plan, self._hit, strict=True) if not hit]
        if missed:
            raise FaultsNotHitError(f"never hit: {missed}")

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`."""
        fault = self._before("put", name)
        self.inner.put(name, data, sha256)
        self._after("put", name, fault)

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there."""
        fault = self._before("create", name)
        created = self.inner.create(name, data)
        self._after("create", name, fault)
        return created

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or what the plan makes of them."""
        fault = self._before("get", name)
        data = self.inner.get(name, start, length)
        self._after("get", name, fault)
        return _spoil(data, fault)

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        fault = self._before("stat", name)
        found = self.inner.stat(name)
        self._after("stat", name, fault)
        return found

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield objects; a fault "after" strikes in the middle of them."""
        fault = self._before("list", prefix)
        found = list(self.inner.list(prefix))
        yield from found[: len(found) // 2]
        self._after("list", prefix, fault)
        yield from found[len(found) // 2 :]

    def delete(self, name: str) -> None:
        """Remove one object."""
        fault = self._before("delete", name)
        self.inner.delete(name)
        self._after("delete", name, fault)

    def _before(self, operation: str, name: str) -> FaultKind | None:
        """Count the call, raise what happens before its effect, and return what happens later."""
        with self._lock:
            if self._crashed:
                raise SimulatedCrash(f"{operation} of {name} after the crash")
            kind = self._draw(operation, name)
            # After the effect too, nobody else may slip a call in: the flag is set before it.
            self._crashed = kind in _CRASHES
        if kind is FaultKind.CRASH_BEFORE:
            raise SimulatedCrash(f"before {operation} of {name}")
        if kind is FaultKind.FULL:
            raise StoreFull(store=self.description, name=name)
        if kind is FaultKind.ERROR_BEFORE:
            raise self._unavailable(operation, name)
        return kind

    def _draw(self, operation: str, name: str) -> FaultKind | None:
        """Return the first planned fault that this call is the turn of; each happens once."""
        drawn: FaultKind | None = None
        for index, fault in enumerate(self._plan):
            if not fault.concerns(operation, name):
                continue
            self._calls[index] += 1
            if self._calls[index] == fault.nth and drawn is None:
                self._hit[index] = True
                drawn = fault.kind
        return drawn

    def _after(self, operation: str, name: str, kind: FaultKind | None) -> None:
        if kind is FaultKind.CRASH_AFTER:
            raise SimulatedCrash(f"after {operation} of {name}")
        if kind is FaultKind.ERROR_AFTER:
            raise self._unavailable(operation, name)

    def _unavailable(self, operation: str, name: str) -> StoreUnavailable:
        reason = "a planned fault"
        return StoreUnavailable(store=self.description, operation=operation, name=name, reason=reason)


def draw_faults(
    seed: int,
    count: int,
    calls: int,
    operations: Sequence[str] = ("put", "get"),
    kinds: Sequence[FaultKind] = (FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER),
) -> list[Fault]:
    """Draw a plan of `count` different faults among the first `calls` calls of each operation."""
    source = Random(seed)  # noqa: S311 (a plan that a seed reproduces)
    places = [(operation, nth) for operation in operations for nth in range(1, calls + 1)]
    chosen = source.sample(places, count)
    return [
        Fault(
            operation,
            nth,
            source.choice([kind for kind in kinds if kind not in _READS or operation == "get"]),
        )
        for operation, nth in chosen
    ]


def _spoil(data: bytes, kind: FaultKind | None) -> bytes:
    if kind is FaultKind.SHORT_READ:
        return data[: len(data) // 2]
    if kind is FaultKind.CORRUPT_READ and data:
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    return data
