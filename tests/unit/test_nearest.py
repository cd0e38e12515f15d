"""Reading from several stores: the nearest good copy answers, and damage is remembered."""

from collections.abc import Callable
from hashlib import sha256

import pytest

from strongroom.errors import ObjectDamaged, ObjectMissing, StoreReadOnly, StoreUnavailable
from strongroom.stores.faulty import ANY, Fault, FaultKind, FaultyStore
from strongroom.stores.memory import MemoryStore
from strongroom.stores.nearest import NearestStore, read_good

NAME, DATA = "packs/aa/object", b"the bytes"


def put(store: MemoryStore, name: str = NAME, data: bytes = DATA) -> MemoryStore:
    """Store something, and return the store."""
    store.put(name, data, sha256(data).hexdigest())
    return store


def away(store: MemoryStore, calls: int = 9) -> FaultyStore:
    """Return a store that does not answer its first calls."""
    return FaultyStore(store, [Fault(ANY, nth, FaultKind.ERROR_BEFORE) for nth in range(1, calls + 1)])


def right(data: bytes) -> bytes:
    """Accept the right bytes only."""
    if data != DATA:
        raise ObjectDamaged(name=NAME, store="somewhere", expected="e", observed="o")
    return data


@pytest.mark.parametrize(
    "nearer",
    [
        MemoryStore,
        lambda: put(MemoryStore(), data=b"damaged!!"),
        lambda: away(MemoryStore()),
    ],
    ids=["missing", "damaged", "out of reach"],
)
def test_another_copy_stands_in(nearer: Callable[[], MemoryStore]) -> None:
    """What is missing, damaged or out of reach at the nearest is read from the next."""
    store = NearestStore([nearer(), put(MemoryStore())])
    assert DATA == read_good(store, NAME, right)


def test_damage_is_remembered_and_absence_is_not() -> None:
    """A location may have expired a backup, so that only damage is worth a repair."""
    damaged = put(MemoryStore(), data=b"damaged!!")
    store = NearestStore([MemoryStore(), damaged, put(MemoryStore())])
    read_good(store, NAME, right)
    assert [NAME] == [one.name for one in store.damaged]


def test_without_a_good_copy_the_weightiest_error_is_raised() -> None:
    """A store that may answer later comes first, then damage, then absence."""
    empty, damaged = MemoryStore(), put(MemoryStore(), data=b"damaged!!")
    with pytest.raises(StoreUnavailable):
        read_good(NearestStore([damaged, away(put(MemoryStore())), empty]), NAME, right)
    with pytest.raises(ObjectDamaged):
        read_good(NearestStore([empty, damaged]), NAME, right)
    with pytest.raises(ObjectMissing):
        read_good(NearestStore([empty, MemoryStore()]), NAME, right)


def test_lists_are_joined_in_order() -> None:
    """Every name once, in bytewise order, whatever store has it; a store out of reach is noted."""
    first, second = put(MemoryStore(), "a/2"), put(put(MemoryStore(), "a/1"), "a/2")
    store = NearestStore([first, away(MemoryStore()), second])
    assert ["a/1", "a/2"] == [found.name for found in store.list("a/")]
    assert ["memory"] == list(store.out_of_reach)
    with pytest.raises(StoreUnavailable):
        list(NearestStore([away(MemoryStore()), away(MemoryStore())]).list())


def test_nothing_is_written_through_it() -> None:
    """Where a writer writes is its own decision."""
    store = NearestStore([MemoryStore(), MemoryStore()])
    changes: list[Callable[[], object]] = [
        lambda: store.put(NAME, DATA, ""),
        lambda: store.create(NAME, DATA),
        lambda: store.delete(NAME),
    ]
    for change in changes:
        with pytest.raises(StoreReadOnly):
            change()
