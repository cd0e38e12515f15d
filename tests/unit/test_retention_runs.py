"""Retention on repositories: holds, the damage guard, what is in use, what another location needs, and locks."""

import datetime as dt
from pathlib import Path

import pytest

from strongroom.errors import (
    ForeignRepository,
    LeaseHeld,
    LocationUnreachable,
    ObjectLocked,
    PlanOutdated,
    UnknownBackup,
    UnknownHold,
)
from strongroom.operations.location_messages import (
    CollectGarbage,
    CollectionReport,
    ExpireBackups,
    ExpiryReport,
    HoldBackup,
    HoldReport,
    ReleaseBackup,
)
from strongroom.operations.messages import ListBackups, ListReport
from strongroom.repository.leases import Lease
from strongroom.repository.writing import BACKUP_RIGHT, COPY_RIGHT
from strongroom.stores.capabilities import Capabilities, ObjectLock
from strongroom.stores.faulty import ANY, Fault, FaultKind, FaultyStore
from strongroom.stores.memory import MemoryStore
from tests.documents import memory_repository
from tests.places import DAY, HOUR, Places
from tests.row_backups import Keys

ROLES = {"local": "local", "archive": "archive"}


@pytest.fixture
def places(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Make a repository with a local location and an archive."""
    return Places.make(tmp_path, keys, monkeypatch, ROLES)


def days(places: Places, count: int) -> list[str]:
    """Take, copy and verify a backup a day; return their ids."""
    backups = []
    for _ in range(count):
        backups.append(places.back_up("incremental"))
        places.replicate("archive")
        places.verify()
        places.wait(DAY)
    return backups


# ---------------------------------------------------------------- holds


def test_a_held_backup_stays_until_it_is_released(places: Places) -> None:
    """A hold outlasts every rule, is known at every location, and ends by a release."""
    _, first, *_ = days(places, 5)
    held = places.run("hold_backup", HoldBackup(backup=first, reason="audit"), HoldReport)
    assert ("local", "archive") == held.locations
    places.expire()
    assert first in places.listed("local")
    listed = places.run("list_backups", ListBackups(), ListReport)
    assert ["until released: audit"] == [one.held for one in listed.backups if one.held]
    places.run("release_backup", ReleaseBackup(backup=first), HoldReport)
    places.expire()
    assert first not in places.listed("local")


def test_a_hold_until_a_date_ends_by_itself(places: Places) -> None:
    """From its date on the policy decides again."""
    _, first, *_ = days(places, 4)
    until = places.now + 2 * DAY
    places.run("hold_backup", HoldBackup(backup=first, until=until), HoldReport)
    places.expire()
    assert first in places.listed("local")
    days(places, 3)
    places.expire()
    assert first not in places.listed("local")


def test_a_hold_says_what_cannot_be_held(places: Places) -> None:
    """Holding what is not there, or releasing what is not held, is an error with a hint."""
    backup = places.back_up("full")
    with pytest.raises(UnknownBackup):
        places.run("hold_backup", HoldBackup(backup="20200101-000000000-0123456789"), HoldReport)
    with pytest.raises(UnknownHold):
        places.run("release_backup", ReleaseBackup(backup=backup), HoldReport)


# ---------------------------------------------------------------- what must not go


def test_a_backup_that_the_archive_lacks_stays_where_it_is(places: Places) -> None:
    """While copying fails, the local location keeps what the archive is to have."""
    backups = []
    for _ in range(4):
        backups.append(places.back_up())
        places.verify()
        places.wait(DAY)
    places.expire()
    assert backups == places.listed("local")
    places.replicate("archive")
    places.expire()
    assert backups != places.listed("local")
    assert set(backups) == {*places.listed("local"), *places.listed("archive")}


def test_collapsed_rows_hold_expiry_until_somebody_accepts_them(places: Places) -> None:
    """The damage guard stops expiry with its reason; accepting the backup lets it go on."""
    days(places, 3)
    emptied = places.back_up(rows=3)
    places.replicate("archive")
    plan = places.plan()
    assert () == plan.expiries
    assert {"rows-collapsed"} == {finding.code for finding in plan.held_by}
    accepted = places.plan(emptied)
    assert () == accepted.held_by
    assert () != accepted.expiries
    assert () != places.plan().expiries


def test_nothing_is_planned_while_a_location_is_out_of_sight(places: Places) -> None:
    """Whoever does not see everything deletes nothing."""
    days(places, 3)
    store = places.stores["archive"]
    places.stores["archive"] = FaultyStore(
        store, [Fault(ANY, nth, FaultKind.ERROR_BEFORE) for nth in range(1, 99)]
    )
    with pytest.raises(LocationUnreachable, match="archive"):
        places.plan()


def test_what_changed_since_the_plan_is_planned_again(places: Places) -> None:
    """A hold that comes between plan and execution keeps the backup; a clock set back refuses the plan."""
    _, first, *_ = days(places, 5)
    plan = places.plan()
    mine = tuple(one for one in plan.expiries if one.location == "local")
    assert first in [one.backup for one in mine]
    places.run("hold_backup", HoldBackup(backup=first), HoldReport)
    request = ExpireBackups(location="local", expiries=mine, planned_at=plan.planned_at)
    report = places.run("expire_backups", request, ExpiryReport)
    assert first in places.listed("local")
    assert [("kept-after-all", first)] == [(f.code, f.object) for f in report.findings]
    places.wait(-DAY)
    with pytest.raises(PlanOutdated):
        places.run("expire_backups", request, ExpiryReport)


def test_what_a_running_backup_builds_on_stays(places: Places) -> None:
    """The parent of an unlisted attempt does not expire, and what the attempt has stored is no garbage."""
    _, first, *_ = days(places, 4)
    repository = places.repository("local")
    from tests.documents import SNAPSHOT, plan

    attempt = "20261106-020000000-0123456789"
    repository.put_plan(
        plan(
            id=attempt, kind="incremental", parent=first, base=first, started_at=places.now, snapshot=SNAPSHOT
        ),
        bytes,
    )
    assert first not in [one.backup for one in places.plan().expiries if one.location == "local"]
    places.expire()
    assert first in places.listed("local")
    places.wait(3 * DAY)
    places.back_up()
    places.replicate("archive")
    places.verify()
    assert first in [one.backup for one in places.plan().expiries if one.location == "local"]


def test_garbage_that_was_marked_while_a_backup_runs_stays_until_it_is_over(places: Places) -> None:
    """Nothing younger than the oldest live lease is deleted (I4)."""
    days(places, 3)
    places.expire()
    token = "20261105-000000000-0123456789"
    places.now = dt.datetime(2026, 11, 5, tzinfo=dt.UTC)
    with Lease(places.stores["local"], BACKUP_RIGHT, token, lambda: places.now + 30 * DAY):
        places.wait(DAY + HOUR)
        report = places.run("collect_garbage", CollectGarbage(location="local"), CollectionReport)
    assert report.deleted == 0
    assert report.waiting > 0


def test_copying_and_collecting_exclude_each_other(places: Places) -> None:
    """An object that copying counts on cannot be deleted meanwhile: only one of the two has the right."""
    days(places, 2)
    with (
        Lease(places.stores["local"], COPY_RIGHT, "20261105-000000000-0123456789", places.clock),
        pytest.raises(LeaseHeld),
    ):
        places.run("collect_garbage", CollectGarbage(location="local"), CollectionReport)


def test_a_copy_that_another_location_would_be_repaired_from_stays(places: Places) -> None:
    """Nothing at local reaches it, but the archive's backups do and the archive has lost it (I3)."""
    days(places, 2)
    full = places.back_up("full")
    places.replicate("archive")
    places.verify()
    places.wait(2 * DAY)
    places.back_up("full", rows=10_001)
    places.replicate("archive")
    places.verify()
    places.expire()
    assert full not in places.listed("local")
    lost = places.repository("archive").read_manifest(full).packs[0].name
    places.stores["archive"].delete(lost)
    places.wait(DAY + HOUR)
    report = places.run("collect_garbage", CollectGarbage(location="local"), CollectionReport)
    assert [("needed-elsewhere", lost)] == [(f.code, f.object) for f in report.findings]
    assert lost in [one.name for one in places.stores["local"].list("packs/")]


def test_another_repository_is_never_touched(places: Places) -> None:
    """A location that holds a repository of other keys is refused, and nothing is written there."""
    places.back_up("full")
    foreign = MemoryStore()
    memory_repository(foreign)
    before = [one.name for one in foreign.list()]
    places.stores["archive"] = foreign
    with pytest.raises(ForeignRepository):
        places.replicate("archive")
    assert before == [one.name for one in foreign.list()]


# ---------------------------------------------------------------- locks


class Locked(MemoryStore):
    """A bucket with a lock: what is written can be deleted once its time is over."""

    def __init__(self, places: Places, lock_days: int) -> None:
        super().__init__(places.seconds)
        self._places = places
        self._days = lock_days
        self._until: dict[str, dt.datetime] = {}

    @property
    def capabilities(self) -> Capabilities:
        """Tell of the lock."""
        return Capabilities(lock=ObjectLock("compliance", self._days))

    def locked_until(self, name: str) -> dt.datetime | None:
        """Return the end of an object's lock."""
        written = dt.datetime.fromtimestamp(self.stat(name).modified, dt.UTC)
        until = max(written + self._days * DAY, self._until.get(name, written))
        return until if until > self._places.now else None

    def extend_lock(self, name: str, until: dt.datetime) -> None:
        """Lock for longer."""
        self._until[name] = max(until, self._until.get(name, until))

    def delete(self, name: str) -> None:
        """Refuse while the lock lasts; leases are never locked."""
        if not name.startswith(("leases/", "garbage/")) and any(True for _ in self.list(name)):
            until = self.locked_until(name)
            if until is not None:
                raise ObjectLocked(name=name, store="locked", until=until.isoformat())
        super().delete(name)


def test_a_plan_promises_nothing_that_a_lock_forbids(places: Places) -> None:
    """Locked manifests are reported with their release date; packs that newer backups reach stay locked longer."""
    places.stores["archive"] = Locked(places, 20)
    days(places, 9)
    plan = places.plan()
    assert [] == [one for one in plan.expiries if one.location == "archive"]
    assert plan.locked
    assert all(one.locked_until and one.locked_until > places.now for one in plan.locked)
    assert {0} == {one.bytes_freed for one in plan.locked}
    places.expire()
    report = places.run("collect_garbage", CollectGarbage(location="archive"), CollectionReport)
    assert 0 == report.locks_extended
    newest = places.repository("archive").read_manifest(places.listed("archive")[-1])
    store = places.stores["archive"]
    assert isinstance(store, Locked)
    ends = [store.locked_until(pack.name) for pack in newest.packs]
    assert all(end is not None and end >= newest.snapshot.taken_at + 20 * DAY for end in ends)
