"""Copying and expiring under faults: whatever is cut off where, listed backups are whole, and a clean run converges."""

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from strongroom.errors import StrongroomError
from strongroom.stores.faulty import ANY, Fault, FaultKind, FaultyStore, SimulatedCrash
from strongroom.stores.memory import MemoryStore
from strongroom.stores.protocol import Store
from strongroom.stores.recording import Operation, RecordingStore, replay
from tests.places import DAY, HOUR, Places
from tests.row_backups import Keys

NAMES = ("local", "edge", "archive")


@pytest.fixture
def places(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Make a repository with three locations."""
    return Places.make(tmp_path, keys, monkeypatch)


def copies(places: Places) -> dict[str, MemoryStore]:
    """Return independent copies of all locations' stores."""
    found = {}
    for name, store in places.stores.items():
        assert isinstance(store, MemoryStore)
        found[name] = store.copy()
    return found


def a_week(places: Places) -> None:
    """Take and copy two backups a day for nine days, verified, without expiring anything."""
    places.back_up("full")
    for day in range(9):
        places.back_up("full" if day == 4 else "incremental")
        places.replicate("edge", "archive")
        places.verify()
        places.wait(12 * HOUR)
        places.back_up("incremental")
        places.replicate("edge", "archive")
        places.verify()
        places.wait(12 * HOUR)


def assert_all_whole(places: Places) -> None:
    """Assert that every location gives back alone what it lists."""
    for name in NAMES:
        if next(iter(places.stores[name].list("repository.json")), None) is not None:
            places.assert_whole(name)


def test_losing_the_local_location_loses_nothing(places: Places) -> None:
    """With the first location gone for good, everything is there at the archive, and comes back from it."""
    backups = [places.back_up("full"), places.back_up()]
    places.replicate("edge", "archive")
    places.stores["local"] = MemoryStore()
    places.assert_whole("archive", *backups)
    places.replicate("local")
    places.assert_whole("local", *backups)
    assert "incremental" == places.repository("local").read_manifest(places.back_up()).kind


def test_expiry_keeps_what_the_rules_keep_and_frees_the_rest_after_the_grace_period(places: Places) -> None:
    """Local has a day, the edge a week, the archive dailies; bytes go a day after the manifests, keys first."""
    a_week(places)
    everything = places.listed("archive")
    sizes = {name: sum(one.size for one in places.stores[name].list("packs/")) for name in NAMES}
    places.expire()
    counts = {name: len(places.listed(name)) for name in NAMES}
    assert counts["local"] < counts["edge"] < len(everything)
    assert counts["archive"] < len(everything)
    assert sizes == {name: sum(one.size for one in places.stores[name].list("packs/")) for name in NAMES}
    assert_all_whole(places)
    places.wait(DAY + HOUR)
    places.back_up()
    places.replicate("edge", "archive")
    places.expire()
    left = {name: sum(one.size for one in places.stores[name].list("packs/")) for name in NAMES}
    assert left["local"] < sizes["local"]
    assert_all_whole(places)


def test_a_second_run_at_the_same_time_changes_nothing(places: Places) -> None:
    """Retention converges: what it leaves, it leaves again."""
    a_week(places)
    places.expire()
    before = {name: [one.name for one in store.list("packs/")] for name, store in places.stores.items()}
    listed = {name: places.listed(name) for name in NAMES}
    assert () == places.expire().expiries
    assert before == {n: [one.name for one in store.list("packs/")] for n, store in places.stores.items()}
    assert listed == {name: places.listed(name) for name in NAMES}


class Journal:
    """Recording stores whose changes form one order over all locations."""

    def __init__(self, stores: dict[str, MemoryStore]) -> None:
        self.before = {name: store.copy() for name, store in stores.items()}
        self.order: list[tuple[str, Operation]] = []
        self.stores = {name: self._recording(name, store) for name, store in stores.items()}

    def _recording(self, name: str, store: MemoryStore) -> RecordingStore:
        journal = self

        class Ordered(list[Operation]):
            def append(self, operation: Operation) -> None:
                super().append(operation)
                if operation.is_change:
                    journal.order.append((name, operation))

        recording = RecordingStore(store)
        recording.operations = Ordered()
        return recording

    def after(self, count: int) -> dict[str, Store]:
        """Return what the first `count` changes left of all locations."""
        return {
            name: replay([one for place, one in self.order[:count] if place == name], count, before)
            for name, before in self.before.items()
        }


def prefixes(count: int, most: int) -> Sequence[int]:
    """Return at most so many lengths of prefixes, the first and the last among them."""
    step = max(1, count // most)
    return sorted({*range(0, count + 1, step), count})


def test_a_crash_at_any_change_of_copying_leaves_listed_backups_whole(places: Places) -> None:
    """Cut off after each change, no location lists what it does not hold; the next run completes it (I1, I2, I7)."""
    places.back_up("full")
    places.back_up()
    journal = Journal(copies(places))
    places.stores = dict(journal.stores)
    places.replicate("edge", "archive")
    whole = places.listed("edge")
    for count in prefixes(len(journal.order), 40):
        places.stores = journal.after(count)
        assert_all_whole(places)
        # The lease of the dead run is over.
        places.wait(dt.timedelta(minutes=5))
        places.replicate("edge", "archive")
        assert whole == places.listed("edge") == places.listed("archive")
        assert_all_whole(places)


def test_a_crash_at_any_change_of_retention_leaves_listed_backups_whole(places: Places) -> None:
    """Expiry and collection cut off after each change keep I1 to I8, and the next run converges."""
    a_week(places)
    places.expire()
    places.wait(DAY + HOUR)
    places.back_up()
    places.replicate("edge", "archive")
    places.verify()
    newest = places.listed("local")[-1]
    begun = places.now
    journal = Journal(copies(places))
    places.stores = dict(journal.stores)
    places.expire()
    end = {name: places.listed(name) for name in NAMES}
    assert any(one.kind == "delete" and one.name.startswith("packs/") for _, one in journal.order)
    for count in prefixes(len(journal.order), 25):
        places.now = begun
        places.stores = journal.after(count)
        assert_all_whole(places)
        assert all(newest in places.listed(name) for name in NAMES), "I8"
        places.wait(dt.timedelta(minutes=5))
        places.expire()
        assert end == {name: places.listed(name) for name in NAMES}
        assert_all_whole(places)


def keys_go_before_packs(order: Sequence[tuple[str, Operation]]) -> bool:
    """Tell whether at each location every deleted key was deleted before the first pack."""
    for name in NAMES:
        deleted = [one.name for place, one in order if place == name and one.kind == "delete"]
        packs = [number for number, one in enumerate(deleted) if one.startswith("packs/")]
        keys = [number for number, one in enumerate(deleted) if one.startswith("keys/")]
        if packs and keys and max(keys) > min(packs):
            return False
    return True


def test_sealed_keys_go_first_at_every_location(places: Places) -> None:
    """What a backup sealed is unreadable everywhere before the first of its packs is deleted anywhere."""
    a_week(places)
    places.expire()
    places.wait(DAY + HOUR)
    places.back_up()
    places.replicate("edge", "archive")
    journal = Journal(copies(places))
    places.stores = dict(journal.stores)
    places.expire()
    assert any(one.name.startswith("keys/") and one.kind == "delete" for _, one in journal.order)
    assert keys_go_before_packs(journal.order)


@pytest.mark.parametrize("kind", [FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER, FaultKind.CRASH_AFTER])
def test_a_fault_at_every_call_of_copying_is_survived(places: Places, kind: FaultKind) -> None:
    """Each call to the location that is copied to fails once; all are hit; a clean run then converges."""
    places.back_up("full")
    places.back_up()
    hit = fail_each(places, "edge", kind, lambda: places.replicate("edge"))
    assert hit > 20


@pytest.mark.parametrize(
    ("name", "kind", "start"),
    [
        ("local", FaultKind.ERROR_AFTER, 1),
        ("local", FaultKind.CRASH_BEFORE, 2),
        ("local", FaultKind.ERROR_BEFORE, 3),
        ("archive", FaultKind.CRASH_AFTER, 1),
        ("archive", FaultKind.ERROR_BEFORE, 2),
        ("archive", FaultKind.ERROR_AFTER, 3),
    ],
)
def test_a_fault_at_every_call_of_retention_is_survived(
    places: Places, name: str, kind: FaultKind, start: int
) -> None:
    """At both locations each call fails in one of the runs, one way or another, and nothing listed is harmed."""
    for day in range(3):
        places.back_up("full" if day == 1 else "incremental")
        places.replicate("edge", "archive")
        places.verify()
        places.wait(DAY)
    places.expire()
    places.wait(DAY + HOUR)
    places.back_up()
    places.replicate("edge", "archive")
    places.verify()
    hit = fail_each(places, name, kind, places.expire, start=start, step=3)
    assert hit > 20


def fail_each(
    places: Places, name: str, kind: FaultKind, work: Callable[[], object], *, start: int = 1, step: int = 1
) -> int:
    """Run the work with its first call failing, then its second, …; return how many faults were hit."""
    before, begun = copies(places), places.now
    for hit, nth in enumerate(range(start, 20_000, step)):
        stores = {other: store.copy() for other, store in before.items()}
        faulty = FaultyStore(stores[name], [Fault(ANY, nth, kind)])
        places.now = begun
        places.stores = {**stores, name: faulty}
        try:
            work()
            failed = False
        except (StrongroomError, SimulatedCrash):
            failed = True
        places.stores = dict(stores)
        if not failed and not all(faulty._hit):
            return hit
        faulty.assert_all_hit()
        assert_all_whole(places)
        places.wait(dt.timedelta(minutes=5))
        work()
        assert_all_whole(places)
    raise AssertionError("the work never came to its end")
