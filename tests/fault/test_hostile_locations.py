"""Locations that lie, decay or vanish: junk, replayed records, lost keys, wrong clocks, one place under two names.

Somebody who can write to a location and has no key may delete and damage there. What he must not be able to do is
make retention delete something, or keep backups from being copied and restored elsewhere.
"""

import contextlib
import datetime as dt
import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.errors import (
    ClockJumped,
    CredentialsMissing,
    ForeignRepository,
    ForgedSignature,
    LeaseLost,
    LocationUnreachable,
    ObjectLocked,
    StoreFull,
    StrongroomError,
)
from strongroom.format.documents import FORMAT
from strongroom.format.records import GarbageRecord, Unreached, VerificationRecord
from strongroom.operations.location_messages import (
    CollectGarbage,
    CollectionReport,
    ExpireBackups,
    ExpiryReport,
    HoldBackup,
    HoldReport,
    PlanRepair,
    ReleaseBackup,
    Repair,
    RepairPlanReport,
    RepairReport,
    Replicate,
    ReplicationReport,
    ShredKeys,
)
from strongroom.operations.messages import Message
from strongroom.repository import layout
from strongroom.repository.leases import LEASE_TIME, Lease
from strongroom.repository.opening import open_repository
from strongroom.repository.repository import Repository
from strongroom.repository.writing import BACKUP_RIGHT, first_writable
from strongroom.stores.faulty import ANY, Fault, FaultKind, FaultyStore
from strongroom.stores.memory import MemoryStore
from strongroom.stores.protocol import StoredObject
from strongroom.stores.spool import spooled
from tests.places import DAY, HOUR, Places
from tests.row_backups import Keys

ROLES = {"local": "local", "archive": "archive"}
JUNK = b"not ours"


@pytest.fixture
def places(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Make a repository with a local location and an archive."""
    return Places.make(tmp_path, keys, monkeypatch, ROLES)


def days(places: Places, count: int, *, fulls: bool = False) -> list[str]:
    """Take, copy and verify a backup a day; return their ids."""
    backups = []
    for number in range(count):
        backups.append(places.back_up("full" if fulls else "incremental", rows=10_000 + number))
        places.replicate("archive")
        places.verify()
        places.wait(DAY)
    return backups


def memory(places: Places, name: str) -> MemoryStore:
    """Return the store of a location, to damage it."""
    store = places.stores[name]
    assert isinstance(store, MemoryStore)
    return store


def seconds_of(places: Places) -> Callable[[], float]:
    """Return the story's clock as stores want it."""

    def seconds() -> float:
        return places.now.timestamp()

    return seconds


def flip(data: bytes) -> bytes:
    """Return the bytes with one bit wrong."""
    return bytes([data[0] ^ 1]) + data[1:]


def plant(places: Places, location: str, name: str) -> None:
    """Put junk under a name, as an intruder would."""
    assert places.stores[location].create(name, JUNK)


# ---------------------------------------------------------------- keys


def test_the_last_copy_of_a_data_key_is_not_shredded(places: Places) -> None:
    """The archive has lost a key that its backup needs: what is left of it elsewhere stays until it is mended (I3)."""
    old, *_ = days(places, 3, fulls=True)
    places.expire()
    assert old not in places.listed("local")
    assert old in places.listed("archive")
    places.wait(DAY + HOUR)
    places.back_up()
    places.replicate("archive")
    key = layout.key_name(places.repository("archive").read_manifest(old).data_keys[0])
    places.stores["archive"].delete(key)
    report = places.run("shred_keys", ShredKeys(), CollectionReport)
    assert 0 == report.keys_shredded
    places.run("collect_garbage", CollectGarbage(location="local"), CollectionReport)
    found = places.run("plan_repair", PlanRepair(), RepairPlanReport)
    places.run("repair", Repair(mends=found.mends), RepairReport)
    places.assert_whole("archive", old)


def test_a_planted_form_of_a_data_key_keeps_nobody_from_the_good_one(places: Places) -> None:
    """Junk under the name of a newer sealed form costs neither a restore nor a copy."""
    backup = places.back_up("full")
    key = places.repository("local").read_manifest(backup).data_keys[0]
    plant(places, "local", layout.KeyForm(key, 9999).name)
    places.assert_whole("local", backup)
    assert (backup,) == places.replicate("archive")[0].backups
    places.assert_whole("archive", backup)
    assert () != places.verify(location="local").findings


def test_a_damaged_newer_form_is_named_if_nothing_else_opens(places: Places) -> None:
    """With no good form left, the damage is raised, not that there is no recipient."""
    backup = places.back_up("full")
    key = places.repository("local").read_manifest(backup).data_keys[0]
    memory(places, "local").tamper(layout.key_name(key), flip)
    with pytest.raises(StrongroomError) as caught:
        places.repository("local").data_key(key)
    assert ForgedSignature.code == caught.value.code


def test_a_lost_key_comes_back_in_its_newer_form(places: Places) -> None:
    """After a rotation the first form is nowhere; repair looks for the key, not for that name."""
    backup = places.back_up("full")
    places.replicate("archive")
    key = places.repository("local").read_manifest(backup).data_keys[0]
    repository = places.repository("local")
    form = layout.KeyForm(key, 1)
    sealed = repository.data_keys.seal_anew(form, repository.data_key(key), repository.data_keys.recipients())
    for store in places.stores.values():
        store.create(form.name, sealed)
        store.delete(layout.key_name(key))
    places.stores["archive"].delete(form.name)
    found = places.run("plan_repair", PlanRepair(), RepairPlanReport)
    assert ["local"] == [one.source for one in found.mends]
    assert () == found.findings
    places.run("repair", Repair(mends=found.mends), RepairReport)
    places.assert_whole("archive", backup)


# ---------------------------------------------------------------- junk and damage


@pytest.mark.parametrize(
    "name",
    [
        "holds/20261102-030100000-0123456789/20261102-030100000-01234567",
        "accepted/20261102-030100000-01234567",
        "garbage/29991231-000000000-01234567",
        "reports/verification/20261102-030100000-0123456789/20261102-030100000-01234567",
        "manifests/20261102-030100000-0123456789",
        "attempts/99999999-999999999-0123456789",
        "keys/junk",
        "leases/copies/junk",
    ],
)
@pytest.mark.parametrize("location", ["local", "archive"])
def test_junk_at_one_location_keeps_no_backup_from_the_other(
    places: Places, name: str, location: str
) -> None:
    """Whatever somebody without a key plants: backups are copied, or the one place where it lies is refused."""
    backup = places.back_up("full")
    places.replicate("archive")
    plant(places, location, name)
    backup = places.back_up()
    try:
        report = places.replicate("archive")[0]
    except StrongroomError:
        assert (location, name.partition("/")[0]) == ("archive", "leases")
        return
    assert backup in report.backups
    places.assert_whole("archive", backup)


@pytest.mark.parametrize("folder", ["holds/", "accepted/"])
def test_a_record_that_cannot_be_believed_stops_expiry_and_nothing_else(places: Places, folder: str) -> None:
    """What it said may be what keeps a backup, so nothing expires; copying and repairing go on and name it."""
    backup, *_ = days(places, 3)
    sub = f"{backup}/" if folder == "holds/" else ""
    plant(places, "local", f"{folder}{sub}20261102-030100000-01234567")
    with pytest.raises(ForgedSignature):
        places.plan()
    named = {finding.code for finding in places.replicate("archive")[0].findings}
    assert {ForgedSignature.code} == named
    found = places.run("plan_repair", PlanRepair(), RepairPlanReport)
    assert ForgedSignature.code in {finding.code for finding in found.findings}


def test_planted_marks_neither_delete_nor_keep(places: Places) -> None:
    """Junk beside the lists of garbage, with an instant far ahead, is passed over, and swept up."""
    days(places, 4, fulls=True)
    for number in range(3):
        plant(places, "archive", f"garbage/29991231-00000000{number}-01234567")
        plant(places, "local", f"garbage/29991231-00000000{number}-01234567")
    places.expire()
    places.wait(DAY + HOUR)
    places.back_up()
    places.replicate("archive")
    before = len(list(places.stores["local"].list("packs/")))
    places.expire()
    assert before > len(list(places.stores["local"].list("packs/")))
    assert [] == [one.name for one in places.stores["local"].list("garbage/2999")]


def test_marks_of_another_location_do_not_count(places: Places) -> None:
    """A list of garbage that was carried over from elsewhere shortens no grace period (I4)."""
    days(places, 3, fulls=True)
    packs = [one.name for one in places.stores["local"].list("packs/")]
    long_ago = places.now - 10 * DAY
    record = GarbageRecord(
        format=FORMAT,
        at=places.now + HOUR / 60,
        location="archive",
        unreachable=tuple(Unreached(name, long_ago) for name in packs),
    )
    places.expire()
    places.wait(HOUR)
    places.repository("archive").put_record(record, os.urandom)
    stolen = [one.name for one in places.stores["archive"].list("garbage/")][-1]
    for one in list(places.stores["local"].list("garbage/")):
        places.stores["local"].delete(one.name)
    places.stores["local"].create(stolen, places.stores["archive"].get(stolen))
    report = places.run("collect_garbage", CollectGarbage(location="local"), CollectionReport)
    assert 0 == report.deleted
    assert report.waiting > 0


def test_a_manifest_that_only_the_archive_has_and_that_is_damaged_stops_no_copy(places: Places) -> None:
    """Newer backups still reach the archive, and repair still mends what can be mended."""
    first, *_ = days(places, 3)
    places.stores["local"].delete(layout.manifest_name(first))
    memory(places, "archive").tamper(layout.manifest_name(first), flip)
    newest = places.back_up()
    assert newest in places.replicate("archive")[0].backups
    places.assert_whole("archive", newest)
    lost = places.repository("archive").read_manifest(newest).packs[-1].name
    places.stores["archive"].delete(lost)
    found = places.run("plan_repair", PlanRepair(), RepairPlanReport)
    places.run("repair", Repair(mends=tuple(one for one in found.mends if one.source)), RepairReport)
    places.assert_whole("archive", newest)


def test_a_good_manifest_stays_while_the_other_copy_is_damaged(places: Places) -> None:
    """The archive lists the backup and was never found damaged, but its manifest has decayed: local keeps its own."""
    days(places, 4)
    going = [one.backup for one in places.plan().expiries if one.location == "local"]
    memory(places, "archive").tamper(layout.manifest_name(going[0]), flip)
    places.expire()
    assert going[0] in places.listed("local")
    assert not set(going[1:]) & set(places.listed("local"))
    found = places.run("plan_repair", PlanRepair(read_everything=True), RepairPlanReport)
    places.run("repair", Repair(mends=found.mends), RepairReport)
    places.expire()
    assert going[0] not in places.listed("local")
    places.assert_whole("archive")


def test_a_planted_manifest_lists_nothing(places: Places) -> None:
    """Junk under the name of a new backup's manifest neither counts as a copy nor keeps the copy away."""
    places.back_up("full")
    places.replicate("archive")
    newest = places.back_up()
    plant(places, "archive", layout.manifest_name(newest))
    assert (newest,) == places.replicate("archive")[0].backups
    places.assert_whole("archive")
    assert () == places.replicate("archive")[0].backups


def test_a_damaged_leftover_at_the_destination_is_replaced(places: Places) -> None:
    """An object that nothing lists yet, cut short by a disk, does not keep copies away for good."""
    backup = places.back_up("full")
    places.replicate("archive")
    newer = places.back_up()
    there = {one.name for one in places.stores["archive"].list("packs/")}
    mine = next(one for one in places.repository("local").read_manifest(newer).packs if one.name not in there)
    assert places.stores["archive"].create(mine.name, b"cut")
    report = places.replicate("archive")[0]
    assert (newer,) == report.backups
    places.assert_whole("archive", backup, newer)


def test_the_description_of_a_repository_is_copied_from_a_good_one(places: Places) -> None:
    """A location that joins gets `repository.json` as it was signed, though the nearest copy has decayed."""
    places.back_up("full")
    places.replicate("archive")
    memory(places, "local").tamper(layout.REPOSITORY, flip)
    places.stores["edge"] = MemoryStore()
    assert places.stores["archive"].get(layout.REPOSITORY)
    places.stores["archive"], places.stores["edge"] = MemoryStore(), places.stores["archive"]
    repository = Repository.open(places.stores["edge"], places.keys.recoverer)
    from strongroom.location_settings import LocationSettings
    from strongroom.repository.locations import Location
    from strongroom.repository.shortfall import join_repository
    from strongroom.stores.nearest import NearestStore

    both = Repository(
        NearestStore([places.stores["local"], places.stores["edge"]]), repository.keyring, repository.info
    )
    settings = LocationSettings(name="archive", role="archive", url="file:///archive")
    join_repository(both, Location(settings, places.stores["archive"]))
    assert repository.info == places.repository("archive").info


def test_a_damaged_description_is_mended_from_another_location(places: Places) -> None:
    """One flipped bit in `repository.json` neither puts a location out for good nor makes it somebody else's."""
    days(places, 2)
    memory(places, "archive").tamper(layout.REPOSITORY, flip)
    with pytest.raises(StrongroomError):
        places.plan()
    found = places.run("plan_repair", PlanRepair(), RepairPlanReport)
    assert [("archive", layout.REPOSITORY)] == [(one.location, one.name) for one in found.mends]
    places.run("repair", Repair(mends=found.mends), RepairReport)
    places.assert_whole("archive")
    places.plan()


def test_a_verification_takes_a_planted_form_away(places: Places) -> None:
    """The form that was looked at goes, not the good one beside it."""
    backup = places.back_up("full")
    places.replicate("archive")
    key = places.repository("local").read_manifest(backup).data_keys[0]
    plant(places, "local", layout.KeyForm(key, 9999).name)
    report = places.verify(location="local")
    assert (True, ["repaired"]) == (report.passed, [finding.code for finding in report.findings])
    assert [layout.key_name(key)] == [one.name for one in places.stores["local"].list(layout.key_name(key))]


def test_a_planted_hold_keeps_nobody_from_holding(places: Places) -> None:
    """The one backup that somebody needs can be held, and released, whatever lies beside."""
    backup = places.back_up("full")
    plant(places, "local", f"holds/{backup}/29991231-000000000-01234567")
    held = places.run("hold_backup", HoldBackup(backup=backup), HoldReport)
    assert ("local",) == held.locations[:1]


def test_a_backup_goes_past_a_location_whose_repository_is_damaged(places: Places) -> None:
    """Where the first location cannot be believed, the next one takes the backup, and the report says why."""
    places.back_up("full")
    places.replicate("archive")
    memory(places, "local").tamper(layout.REPOSITORY, flip)
    context = places.context()
    with first_writable(
        places.settings, "20261102-040000000-0123456789", places.clock, os.urandom, context.deadline
    ) as place:
        assert "archive" == place.location.name
        assert ["location local"] == [finding.object for finding in place.findings]


# ---------------------------------------------------------------- who does not see everything


class Silent(MemoryStore):
    """A store that does not answer for one folder."""

    folder = layout.HOLDS

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Fail for the folder."""
        if prefix.startswith(self.folder):
            raise CredentialsMissing(store="silent", remedy="none")
        return super().list(prefix)


@pytest.mark.parametrize("folder", [layout.HOLDS, layout.ACCEPTED, layout.VERIFICATIONS, layout.ATTEMPTS])
def test_retention_stops_if_one_folder_of_a_location_cannot_be_listed(places: Places, folder: str) -> None:
    """A hold that was written down only where the list fails would be missed: nothing is planned."""
    days(places, 3)
    silent = Silent(seconds_of(places))
    silent._objects = memory(places, "archive")._objects
    silent.folder = folder
    places.stores["archive"] = silent
    with pytest.raises(LocationUnreachable):
        places.plan()
    found = places.run("plan_repair", PlanRepair(), RepairPlanReport)
    assert CredentialsMissing.code in {finding.code for finding in found.findings}


def test_the_newest_backup_may_be_where_nobody_answers(places: Places) -> None:
    """To verify the latest one while a location is out of sight is not green, and speaks against no copy."""
    backup = places.back_up("full")
    places.replicate("archive")
    places.verify(location="archive")
    places.back_up()
    good = places.stores["local"]
    places.stores["local"] = FaultyStore(
        MemoryStore(), [Fault(ANY, nth, FaultKind.ERROR_BEFORE) for nth in range(1, 99)]
    )
    report = places.verify()
    assert (backup, "archive", False) == (report.backup, report.location, report.passed)
    assert "location local" in [finding.object for finding in report.findings]
    places.stores["local"] = good
    places.replicate("archive")
    assert [True, True] == [
        record.passed for record in places.repository("archive").read_records(VerificationRecord, backup)
    ]


# ---------------------------------------------------------------- one place, two names; another's place


def test_one_place_under_two_names_expires_nothing(places: Places) -> None:
    """Each name would count as the copy that lets the other expire."""
    places.stores["archive"] = places.stores["local"]
    for _ in range(4):
        places.back_up("full")
        places.verify()
        places.wait(DAY)
    before = places.listed("local")
    with pytest.raises(StrongroomError, match="same place"):
        places.expire()
    with pytest.raises(StrongroomError, match="same place"):
        places.replicate("archive")
    assert before == places.listed("local")


@pytest.mark.parametrize("operation", ["expire_backups", "collect_garbage", "shred_keys", "repair"])
def test_nothing_is_written_where_another_repository_is(places: Places, keys: Keys, operation: str) -> None:
    """Not even a lease, though the other repository has the same keys."""
    backup = days(places, 2)[0]
    plan = places.plan()
    lost = places.repository("archive").read_manifest(backup).packs[0].name
    places.stores["archive"].delete(lost)
    found = places.run("plan_repair", PlanRepair(), RepairPlanReport)
    foreign = MemoryStore()
    Repository.create(foreign, keys.recoverer, places.now, os.urandom)
    places.stores["archive"] = foreign
    before = [one.name for one in foreign.list()]
    requests: dict[str, tuple[Message, type[Message]]] = {
        "expire_backups": (
            ExpireBackups(location="archive", expiries=(), planned_at=plan.planned_at),
            ExpiryReport,
        ),
        "collect_garbage": (CollectGarbage(location="archive"), CollectionReport),
        "shred_keys": (ShredKeys(), CollectionReport),
        "repair": (Repair(mends=found.mends), RepairReport),
    }
    request, answer = requests[operation]
    with pytest.raises(ForeignRepository):
        places.run(operation, request, answer)
    assert before == [one.name for one in foreign.list()]


def test_backups_of_another_repository_are_not_copied(places: Places, keys: Keys) -> None:
    """A location that holds another repository of the same keys is no source, and is named."""
    mine = places.back_up("full")
    foreign = MemoryStore()
    Repository.create(foreign, keys.recoverer, places.now, os.urandom)
    places.stores["archive"] = foreign
    other = places.back_up("full", at="archive")
    with pytest.raises(ForeignRepository):
        places.replicate("archive")
    assert ["SR-0711"] == [finding.code for finding in places.replicate("local")[0].findings]
    places.stores["local"], places.stores["archive"] = foreign, places.stores["local"]
    for name in ("local", "archive"):
        with contextlib.suppress(ForeignRepository):
            assert () != places.replicate(name)[0].findings
    assert ([other], [mine]) == (places.listed("local"), places.listed("archive"))


# ---------------------------------------------------------------- clocks and pauses


def test_a_right_that_lapsed_does_not_come_back(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that slept past the end of its lease has lost it, though nobody else took it meanwhile."""
    store = places.stores["local"]
    monkeypatch.setattr("strongroom.repository.leases.LEASE_TIME", dt.timedelta(seconds=0.06))
    with Lease(store, BACKUP_RIGHT, "20261102-030000000-0123456789", places.clock) as lease:
        thread = lease._thread
        assert thread is not None
        places.wait(DAY)
        thread.join(10)
        assert not thread.is_alive(), "the renewal went on"
        places.wait(-DAY)
        with pytest.raises(LeaseLost):
            lease.check()
    assert LEASE_TIME > dt.timedelta(0)


def test_a_hold_outlasts_a_release_by_a_fast_clock(places: Places) -> None:
    """The word that was said last counts, though it comes from a machine whose clock is an hour behind."""
    backup = places.back_up("full")
    places.run("hold_backup", HoldBackup(backup=backup), HoldReport)
    places.wait(HOUR)
    places.run("release_backup", ReleaseBackup(backup=backup), HoldReport)
    places.wait(-HOUR)
    places.run("hold_backup", HoldBackup(backup=backup, reason="audit"), HoldReport)
    released = places.run("release_backup", ReleaseBackup(backup=backup), HoldReport)
    assert not released.held


def test_a_hold_that_comes_while_manifests_are_deleted_is_seen(places: Places) -> None:
    """Holds are looked at again before each manifest goes."""
    days(places, 7)
    plan = places.plan()
    mine = tuple(one for one in plan.expiries if one.location == "local")
    first, *_, second = sorted(one.backup for one in mine)
    store = memory(places, "local")

    class Holding(MemoryStore):
        """Has somebody hold the first backup just before the second one's manifest is deleted."""

        def delete(self, name: str) -> None:
            """Delete."""
            if name == layout.manifest_name(second):
                places.stores["local"] = store
                places.run("hold_backup", HoldBackup(backup=first), HoldReport)
                places.stores["local"] = self
            super().delete(name)

    holding = Holding(seconds_of(places))
    holding._objects = store._objects
    places.stores["local"] = holding
    request = ExpireBackups(location="local", expiries=mine, planned_at=plan.planned_at)
    report = places.run("expire_backups", request, ExpiryReport)
    assert second in report.expired
    assert first in places.listed("local")


def test_a_paused_collection_deletes_nothing_more(places: Places) -> None:
    """The right is looked at before every single deletion."""
    days(places, 4, fulls=True)
    places.expire()
    places.wait(DAY + HOUR)
    places.back_up()
    places.replicate("archive")
    store = memory(places, "local")

    class Sleepy(MemoryStore):
        """Sleeps for an hour during its first deletion of a pack."""

        deleted = 0

        def delete(self, name: str) -> None:
            """Delete, and sleep."""
            super().delete(name)
            if name.startswith(("packs/", "keys/", "tables/")):
                self.deleted += 1
                places.wait(HOUR)

    sleepy = Sleepy(seconds_of(places))
    sleepy._objects = store._objects
    places.stores["local"] = sleepy
    with pytest.raises(LeaseLost):
        places.run("collect_garbage", CollectGarbage(location="local"), CollectionReport)
    assert 1 == sleepy.deleted


# ---------------------------------------------------------------- locks, read-only


class AllLocked(MemoryStore):
    """A bucket whose default lock takes everything but leases."""

    def delete(self, name: str) -> None:
        """Refuse."""
        if not name.startswith("leases/") and any(True for _ in self.list(name)):
            raise ObjectLocked(name=name, store="locked", until="2027-01-01T00:00:00+00:00")
        super().delete(name)


def test_a_locked_bucket_takes_backups_and_is_cleaned_up_without_an_error(places: Places) -> None:
    """What a lock keeps, scratch and old lists of garbage among it, is left for later."""
    locked = AllLocked(seconds_of(places))
    locked._objects = memory(places, "local")._objects
    places.stores["local"] = locked
    days(places, 3)
    for _ in range(4):
        places.expire()
        places.wait(9 * DAY)
        places.back_up()
        places.replicate("archive")
        places.verify()
    context = places.context()
    with first_writable(
        places.settings, "20270102-040000000-0123456789", places.clock, os.urandom, context.deadline
    ) as place:
        assert "local" == place.location.name


def test_a_fault_at_a_read_only_location_keeps_no_other_from_being_mended(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, and the rest is mended."""
    places = Places.make(tmp_path, keys, monkeypatch)
    backup = places.back_up("full")
    places.replicate()
    lost = places.repository("local").read_manifest(backup).packs[0].name
    places.stores["archive"].delete(lost)
    places.stores["edge"].delete(lost)
    settings = places.settings
    frozen = tuple(
        one.model_copy(update={"read_only": one.name == "archive"}) for one in settings.repository.locations
    )
    places.settings = settings.model_copy(
        update={"repository": settings.repository.model_copy(update={"locations": frozen})}
    )
    found = places.run("plan_repair", PlanRepair(), RepairPlanReport)
    done = places.run("repair", Repair(mends=found.mends), RepairReport)
    assert [("edge", lost)] == [(one.location, one.name) for one in done.repaired]
    assert [f"{lost} at archive"] == [finding.object for finding in done.findings]


def test_reading_rows_needs_only_one_good_form(places: Places) -> None:
    """Junk forms at the nearest location do not stand between a recoverer and the rows."""
    backup = places.back_up("full")
    places.replicate("archive")
    key = places.repository("local").read_manifest(backup).data_keys[0]
    plant(places, "local", layout.KeyForm(key, 1).name)
    repository = open_repository(places.settings, to_read_rows=True)
    assert 32 == len(repository.data_key(key))


def test_a_clock_that_jumped_frees_nothing(places: Places) -> None:
    """Collecting and shredding doubt the clock for themselves: it may have jumped since the plan was made."""
    days(places, 3, fulls=True)
    places.expire()
    places.wait(400 * DAY)
    before = [one.name for one in places.stores["local"].list("packs/")]
    for operation, request in (
        ("collect_garbage", CollectGarbage(location="local")),
        ("shred_keys", ShredKeys()),
    ):
        with pytest.raises(ClockJumped):
            places.run(operation, request, CollectionReport)
    assert before == [one.name for one in places.stores["local"].list("packs/")]


def test_nothing_is_younger_than_a_right_whose_token_tells_no_instant(places: Places) -> None:
    """Whoever holds the right to back up may be building on anything: garbage waits."""
    days(places, 4, fulls=True)
    places.expire()
    places.wait(DAY + HOUR)
    places.back_up()
    places.replicate("archive")
    with Lease(places.stores["local"], BACKUP_RIGHT, "somebody", places.clock):
        report = places.run("collect_garbage", CollectGarbage(location="local"), CollectionReport)
    assert (0, True) == (report.deleted, report.waiting > 0)
    assert 0 < places.run("collect_garbage", CollectGarbage(location="local"), CollectionReport).deleted


def test_a_newer_backup_at_a_location_is_no_copy_of_an_older_one(places: Places) -> None:
    """Copies are counted by what a location lists, not by how new its newest backup is."""
    first, second = places.back_up("full"), places.back_up()
    request = Replicate(location="archive", backups=(second,))
    report = places.run("replicate", request, ReplicationReport)
    assert (second, False, True) == (report.newest, report.lists(first), report.lists(second))


def test_no_room_for_a_temporary_file_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large object on its way needs room on this machine; where there is none, the error has a code."""
    data = os.urandom(100)
    store = MemoryStore()
    digest = hashlib.sha256(data).hexdigest()
    store.put("packs/a", data, digest)
    monkeypatch.setattr("strongroom.stores.spool.LARGE_BYTES", 10)

    class Full(io.BytesIO):
        """A file on a full disk."""

        def write(self, _: object) -> int:
            """Refuse."""
            raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("strongroom.stores.spool.tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(StoreFull), spooled(store, "packs/a", len(data), digest):
        pass
