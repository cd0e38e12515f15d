"""Records that nobody needs any more: reports past their time, and what was said of backups that are gone."""

import datetime as dt
from collections.abc import Iterator
from contextlib import suppress

from strongroom.config import Settings
from strongroom.errors import FormatError, KeyringError, ObjectMissing
from strongroom.format.records import DrillRecord, Record, RecoveryRecord
from strongroom.ids import is_backup_id
from strongroom.repository import layout
from strongroom.repository.inventory import Inventory
from strongroom.repository.locations import Location
from strongroom.stores.locking import LOCK_TRIALS

SCRATCH = ("scratch/", LOCK_TRIALS)
"""Where a check of a location tries things; what a killed one, or a lock, left there is swept up."""

_SCRATCH_LIFE = dt.timedelta(days=1)

EVIDENCE_DAYS = 400
"""How long recoveries and drills stay on record: whoever looks back over a year, a month after its end, finds all."""


def old_records(
    settings: Settings, inventory: Inventory, location: Location, now: dt.datetime
) -> Iterator[str]:
    """Yield the names of records to delete at a location.

    Verifications are kept for `verification.report_retention_days`; of each listed backup the newest of every level
    and location stay whatever their age, since they are what proves it (I8). Holds go with their backup. Recoveries
    and drills are kept for `EVIDENCE_DAYS`, the newest of each whatever its age.
    """
    limit = layout.stamp(now - dt.timedelta(days=settings.verification.report_retention_days))
    everywhere = frozenset().union(*inventory.listed.values())
    proving = _proving(inventory)
    for stored in location.store.list(layout.VERIFICATIONS):
        backup = stored.name.split("/")[2]
        if layout.stamp_of(stored.name) < limit and (backup, layout.stamp_of(stored.name)) not in proving:
            yield stored.name
    for stored in location.store.list(layout.HOLDS):
        backup = stored.name.split("/")[1]
        if is_backup_id(backup) and backup not in everywhere and layout.stamp_of(stored.name) < limit:
            yield stored.name
    for kind in (RecoveryRecord, DrillRecord):
        yield from _old_evidence(inventory, location, kind, now)
    for folder in SCRATCH:
        for stored in location.store.list(folder):
            if stored.modified < (now - _SCRATCH_LIFE).timestamp():
                yield stored.name


def _proving(inventory: Inventory) -> set[tuple[str, str]]:
    """Return backup and stamp of each verification that is the newest of its level, location and outcome."""
    newest = {
        (backup, record.level, record.location, record.passed): layout.stamp(record.at)
        for backup, records in inventory.proofs.items()
        for record in records
    }
    return {(backup, stamp) for (backup, *_), stamp in newest.items()}


def _old_evidence(
    inventory: Inventory, location: Location, kind: type[Record], now: dt.datetime
) -> Iterator[str]:
    """Yield the records of a kind that are past their time, but not the newest that can be believed."""
    limit = layout.stamp(now - dt.timedelta(days=EVIDENCE_DAYS))
    names = [stored.name for stored in location.store.list(kind.FOLDER) if layout.is_record_name(stored.name)]
    old = [name for name in names if layout.stamp_of(name) < limit]
    # Only what is good counts as the newest: anything else may have been planted to have the good one deleted.
    for name in sorted(names, key=layout.stamp_of, reverse=True) if old else ():
        with suppress(FormatError, KeyringError, ObjectMissing):
            inventory.repository.read_record(kind, name)
            old = [one for one in old if one != name]
            break
    yield from old
