"""Records that nobody needs any more: reports past their time, and what was said of backups that are gone."""

import datetime as dt
from collections.abc import Iterator

from strongroom.config import Settings
from strongroom.ids import is_backup_id
from strongroom.repository import layout
from strongroom.repository.inventory import Inventory
from strongroom.repository.locations import Location
from strongroom.stores.locking import LOCK_TRIALS

SCRATCH = ("scratch/", LOCK_TRIALS)
"""Where a check of a location tries things; what a killed one, or a lock, left there is swept up."""

_SCRATCH_LIFE = dt.timedelta(days=1)


def old_records(
    settings: Settings, inventory: Inventory, location: Location, now: dt.datetime
) -> Iterator[str]:
    """Yield the names of records to delete at a location.

    Verifications are kept for `verification.report_retention_days`; of each listed backup the newest of every level
    and location stay whatever their age, since they are what proves it (I8). Holds go with their backup.
    """
    limit = layout.stamp(now - dt.timedelta(days=settings.verification.report_retention_days))
    everywhere = frozenset().union(*inventory.listed.values())
    proving = _proving(inventory)
    for stored in location.store.list(layout.VERIFICATIONS):
        backup = stored.name.split("/")[2]
        if _stamp(stored.name) < limit and (backup, _stamp(stored.name)) not in proving:
            yield stored.name
    for stored in location.store.list(layout.HOLDS):
        backup = stored.name.split("/")[1]
        if is_backup_id(backup) and backup not in everywhere and _stamp(stored.name) < limit:
            yield stored.name
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


def _stamp(name: str) -> str:
    return name.rpartition("/")[2].rpartition("-")[0]
