"""Recoveries and drills stay on record for 400 days, the newest for good; every location keeps a copy of them."""

import datetime as dt
import os
from pathlib import Path

import pytest

from strongroom.format.documents import FORMAT
from strongroom.format.records import DrillRecord, Record, RecoveryRecord
from strongroom.ids import new_backup_id
from strongroom.operations.location_messages import CollectGarbage, CollectionReport
from strongroom.repository import layout
from strongroom.repository.old_records import EVIDENCE_DAYS
from strongroom.repository.repository import Repository
from tests.golden.recoveries import drill_record, loss_plan
from tests.places import DAY, HOUR, Places
from tests.row_backups import Keys

ROLES = {"local": "local", "archive": "archive"}
BACKUP = "20261102-030000000-0123456789"

every_kind = pytest.mark.parametrize("kind", [RecoveryRecord, DrillRecord], ids=["recovery", "drill"])


@pytest.fixture
def places(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Make a repository with a local location and an archive, and a backup at both."""
    made = Places.make(tmp_path, keys, monkeypatch, ROLES)
    made.back_up("full")
    made.replicate("archive")
    return made


def write(repository: Repository, kind: type[Record], at: dt.datetime) -> str:
    """Store a record of a recovery or of a drill; return its name."""
    name = new_backup_id(at, os.urandom(5))
    if kind is DrillRecord:
        return repository.put_record(drill_record(name, BACKUP, at), os.urandom).name
    record = RecoveryRecord(
        format=FORMAT, at=at, plan=loss_plan(name, BACKUP, at), outcome="recovered", by="ada"
    )
    return repository.put_record(record, os.urandom).name


def on_record(places: Places, kind: type[Record], location: str = "local") -> list[str]:
    """Take a backup and collect garbage, as every day; return the names of the records that a location has then."""
    places.back_up()
    places.run("collect_garbage", CollectGarbage(location=location), CollectionReport)
    return places.repository(location).record_names(kind.FOLDER)


@every_kind
def test_evidence_goes_when_its_time_is_over(places: Places, kind: type[Record]) -> None:
    """A record stays to its last day, and goes on the next one."""
    first = write(places.repository("local"), kind, places.now)
    second = write(places.repository("local"), kind, places.now + DAY)
    places.wait(EVIDENCE_DAYS * DAY - HOUR)
    assert [first, second] == on_record(places, kind)
    places.wait(2 * HOUR)
    assert [second] == on_record(places, kind)


@every_kind
def test_the_newest_evidence_stays_whatever_its_age(places: Places, kind: type[Record]) -> None:
    """Nobody has to ask what happened the last time."""
    write(places.repository("local"), kind, places.now)
    newest = write(places.repository("local"), kind, places.now + HOUR)
    places.wait(3 * EVIDENCE_DAYS * DAY)
    assert [newest] == on_record(places, kind)


@every_kind
def test_planted_evidence_does_not_pass_for_the_newest(places: Places, kind: type[Record]) -> None:
    """Junk with a later instant makes nobody delete the newest good one; once it is old itself, it goes."""
    newest = write(places.repository("local"), kind, places.now)
    junk = layout.record_name(
        f"{kind.FOLDER}{new_backup_id(places.now, bytes(5))}/", places.now + HOUR, "00000000"
    )
    assert places.stores["local"].create(junk, b"not ours")
    places.wait(2 * EVIDENCE_DAYS * DAY)
    assert [newest] == on_record(places, kind)


@every_kind
def test_every_location_gets_a_copy(places: Places, kind: type[Record]) -> None:
    """What was written where a location did not answer catches up when backups are copied there."""
    name = write(places.repository("local"), kind, places.now)
    assert [] == on_record(places, kind, "archive")
    places.replicate("archive")
    assert [name] == on_record(places, kind, "archive")
    assert places.stores["local"].get(name) == places.stores["archive"].get(name)


@every_kind
def test_objects_of_other_names_beside_the_evidence_stay(places: Places, kind: type[Record]) -> None:
    """What a later version may put there is not this one's to delete."""
    places.stores["local"].create(f"{kind.FOLDER}notes", b"of another version")
    for hours in range(2):
        write(places.repository("local"), kind, places.now + hours * HOUR)
    places.wait(2 * EVIDENCE_DAYS * DAY)
    assert 1 == len(on_record(places, kind))
    assert b"of another version" == places.stores["local"].get(f"{kind.FOLDER}notes")
