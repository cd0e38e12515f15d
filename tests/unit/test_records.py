"""Records beside the backups: stored as said, read in order, and never believed when they are not good."""

import datetime as dt
import os

import msgspec
import pytest

from strongroom.errors import ForgedSignature, MalformedDocument, ObjectMissing
from strongroom.format.codec import decode_json
from strongroom.format.documents import FORMAT
from strongroom.format.records import (
    DrillRecord,
    GarbageRecord,
    HoldAction,
    HoldRecord,
    RecoveryOutcome,
    RecoveryRecord,
    Unreached,
    VerificationRecord,
)
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.repository import layout
from strongroom.repository.garbage import newest_list
from strongroom.repository.repository import Repository
from strongroom.repository.signed import store_signed
from strongroom.stores.memory import MemoryStore
from tests.documents import BACKUP, NOON, memory_repository
from tests.golden.recoveries import corruption_plan, drill_record, loss_plan
from tests.hooked_store import HookedStore

OTHER = "20261124-034500000-9f3a61c2d4"
MOSCOW = dt.timezone(dt.timedelta(hours=3))


def hold(action: HoldAction, minutes: int, backup: str = BACKUP) -> HoldRecord:
    """Say something about holding a backup."""
    at = NOON + dt.timedelta(minutes=minutes, microseconds=1999)
    return HoldRecord(format=FORMAT, backup=backup, action=action, at=at, reason="audit", by="ada")


def garbage(minutes: int, *unreachable: Unreached) -> GarbageRecord:
    """List unreachable objects."""
    at = NOON + dt.timedelta(minutes=minutes)
    return GarbageRecord(format=FORMAT, at=at, location="local", unreachable=unreachable)


def test_the_newest_record_is_the_last_of_its_backup() -> None:
    """However they were stored, they come back by backup and instant."""
    repository = memory_repository()
    for record in (hold("release", 2), hold("hold", 1), hold("hold", 0, OTHER)):
        repository.put_record(record, os.urandom)
    assert [hold("hold", 1), hold("release", 2), hold("hold", 0, OTHER)] == list(
        repository.read_records(HoldRecord)
    )
    assert [hold("hold", 1), hold("release", 2)] == list(repository.read_records(HoldRecord, BACKUP))
    assert [] == list(repository.read_records(HoldRecord, "20991124-034500000-9f3a61c2d4"))


def test_a_record_is_named_by_its_instant_in_utc() -> None:
    """Milliseconds are cut, not rounded, and the zone that it was said in does not matter."""
    repository = memory_repository()
    record = VerificationRecord(
        format=FORMAT,
        backup=BACKUP,
        level="structure",
        passed=True,
        score=100,
        at=dt.datetime(2026, 11, 24, 1, 2, 3, 4999, tzinfo=MOSCOW),
        seconds=0.5,
        objects_checked=1,
        bytes_checked=2,
        rows_checked=0,
        location="local",
    )
    stored = repository.put_record(record, lambda size: b"\x0a" * size)
    assert f"reports/verification/{BACKUP}/20261123-220203004-0a0a0a0a" == stored.name
    assert [record] == list(repository.read_records(VerificationRecord))


def recovery(outcome: RecoveryOutcome, minutes: int, run: str) -> RecoveryRecord:
    """Say how a run stands."""
    at = NOON + dt.timedelta(minutes=minutes)
    return RecoveryRecord(
        format=FORMAT, at=at, plan=loss_plan(run, BACKUP, NOON), outcome=outcome, by="ada (uid 1000)"
    )


def test_the_newest_record_of_a_run_says_how_it_ended() -> None:
    """They come back by run and instant; a run is asked for by its id, which is that of its plan."""
    repository = memory_repository()
    begun, ended, other = (
        recovery("begun", 1, BACKUP),
        recovery("left", 2, BACKUP),
        recovery("failed", 0, OTHER),
    )
    for record in (ended, begun, other):
        repository.put_record(record, os.urandom)
    assert [begun, ended, other] == list(repository.read_records(RecoveryRecord))
    assert [begun, ended] == list(repository.read_records(RecoveryRecord, BACKUP))


def test_a_plan_comes_back_as_it_was_made() -> None:
    """Whatever it says, in a record as in the file that a person keeps."""
    repository = memory_repository()
    plan = corruption_plan(BACKUP, OTHER, NOON)
    record = RecoveryRecord(format=FORMAT, at=NOON, plan=plan, outcome="begun", by="ada")
    repository.put_record(record, os.urandom)
    assert [plan] == [one.plan for one in repository.read_records(RecoveryRecord)]
    assert plan == decode_json(RecoveryPlan, msgspec.json.encode(plan), "PLAN.json")


def test_the_evidence_of_drills_comes_back_in_order() -> None:
    """By the names of the drills, which sort by time."""
    repository = memory_repository()
    later, earlier = drill_record(BACKUP, BACKUP, NOON), drill_record(OTHER, BACKUP, NOON)
    for record in (later, earlier):
        repository.put_record(record, os.urandom)
    assert sorted([later, earlier], key=lambda one: one.drill) == list(repository.read_records(DrillRecord))


def test_the_newest_list_of_garbage_counts() -> None:
    """There is none at first; then the last one takes the place of those before."""
    repository = memory_repository()
    assert newest_list(repository) is None
    repository.put_record(garbage(1, Unreached(name="packs/00/00", since=NOON)), os.urandom)
    repository.put_record(garbage(2), os.urandom)
    assert garbage(2) == newest_list(repository)


def test_a_forged_record_raises_and_the_others_can_be_read() -> None:
    """Who asks for all is stopped by it; who goes by names may go on."""
    repository = memory_repository()
    store = repository.store
    assert isinstance(store, MemoryStore)
    forged = repository.put_record(hold("hold", 1), os.urandom).name
    good = repository.put_record(hold("release", 2), os.urandom).name
    store.tamper(forged, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ForgedSignature):
        list(repository.read_records(HoldRecord))
    assert [forged, good] == repository.record_names(layout.HOLDS)
    assert hold("release", 2) == repository.read_record(HoldRecord, good)


def test_a_record_under_the_name_of_another_backup_is_refused() -> None:
    """Even if it is signed for that name: what it says of its backup must agree."""
    repository = memory_repository()
    record = hold("hold", 1)
    name = layout.record_name(f"{layout.HOLDS}{OTHER}/", record.at, "00000000")
    _store(repository, name, record)
    with pytest.raises(MalformedDocument):
        repository.read_record(HoldRecord, name)


def test_a_record_that_expires_while_they_are_read_is_passed_over() -> None:
    """It was listed, and is gone when its turn comes."""
    repository = memory_repository()
    first = repository.put_record(hold("hold", 1), os.urandom).name
    repository.put_record(hold("release", 2), os.urandom)
    hooked = HookedStore(repository.store)
    hooked.before(3, lambda: repository.store.delete(first))
    reader = Repository.open(hooked, repository.keyring)
    assert [hold("release", 2)] == list(reader.read_records(HoldRecord))
    with pytest.raises(ObjectMissing):
        reader.read_record(HoldRecord, first)


def test_objects_of_other_names_are_left_alone() -> None:
    """What a later version may put beside the records is neither read nor an error."""
    repository = memory_repository()
    repository.store.create("garbage/notes", b"of another version")
    repository.store.create("holds/20261124", b"of another version")
    assert newest_list(repository) is None
    assert [] == list(repository.read_records(HoldRecord))


def _store(repository: Repository, name: str, record: HoldRecord) -> None:
    """Store a record under a name of our own."""
    sealed = repository.seal(record.KIND, name, record, os.urandom)
    store_signed(repository.store, repository.keyring, name, sealed)
