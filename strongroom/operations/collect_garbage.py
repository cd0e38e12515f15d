"""Free, at one location, what nothing has reached for the whole grace period (I3, I4).

Keys go before packs: once they are gone, what they sealed is unreadable even where the medium keeps old bytes. An
object that another location would have to be repaired from stays, and so does what a lock keeps.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress

from strongroom.config import Settings
from strongroom.errors import ObjectLocked, ObjectMissing
from strongroom.format.documents import Finding
from strongroom.ids import new_backup_id
from strongroom.operations.context import Context, Progress
from strongroom.operations.location_messages import CollectGarbage, CollectionReport, LockedObjects
from strongroom.operations.retention_policy import policy_of
from strongroom.repository import layout
from strongroom.repository.garbage import (
    Marked,
    collectable,
    mark,
    needed_elsewhere,
    oldest_right,
    reached_at,
    write_marks,
)
from strongroom.repository.inventory import Inventory, take_inventory
from strongroom.repository.leases import Lease
from strongroom.repository.locations import Location
from strongroom.repository.old_records import old_records
from strongroom.repository.opening import open_own_location
from strongroom.repository.repository import Repository
from strongroom.repository.writing import COPY_RIGHT
from strongroom.retention.doubts import refuse_doubtful_clock
from strongroom.stores.locking import find_locking

_SHOWN_EVERY = 50


def collect_garbage(settings: Settings, request: CollectGarbage, context: Context) -> CollectionReport:
    """Delete what may be deleted at a location, and write down what waits. Safe beside running backups.

    Raises `LeaseHeld` if somebody is copying there, `LocationUnreachable` while any location is out of sight,
    `ForeignRepository`, and what a doubtful clock raises.
    """
    now = context.clock()
    location = open_own_location(settings, request.location, context.deadline)
    with Lease(location.store, COPY_RIGHT, new_backup_id(now, context.random(5)), context.clock) as lease:
        inventory = take_inventory(settings, context.deadline, now, strict=True)
        if inventory.is_empty(location):
            return CollectionReport(
                location=location.name, deleted=0, bytes_freed=0, keys_shredded=0, waiting=0, bytes_waiting=0
            )
        refuse_doubtful_clock(inventory.catalog, now, inventory.last_seen, policy_of(settings).max_silence)
        repository = Repository.open(location.store, inventory.repository.keyring)
        is_reached = reached_at(
            repository, inventory.listed[location.name], inventory.named_at(location.name), now
        )
        marked = mark(repository, location.name, is_reached, now)
        grace = dt.timedelta(seconds=settings.retention.grace)
        doomed = collectable(marked, now, grace, oldest_right(location.store, now))
        needed = needed_elsewhere(doomed, _others(inventory, location))
        going = [one for one in doomed if one.stored.name not in needed]
        work = _Deletion(location, lease, context)
        work.delete(going)
        left = [one for one in marked if one.stored.name not in work.deleted]
        write_marks(repository, location.name, left, now, context.random)
        for name in old_records(settings, inventory, location, now):
            lease.check()
            with suppress(ObjectLocked):
                location.store.delete(name)
        extended = _extend_locks(inventory, location)
    return CollectionReport(
        location=location.name,
        deleted=len(work.deleted),
        bytes_freed=work.bytes_freed,
        keys_shredded=sum(name.startswith(layout.KEYS) for name in work.deleted),
        waiting=len(left) - sum(work.locked.values()),
        bytes_waiting=sum(one.stored.size for one in left),
        locked=tuple(
            LockedObjects(until=dt.datetime.fromisoformat(until), objects=count)
            for until, count in sorted(work.locked.items())
        ),
        locks_extended=extended,
        findings=tuple(_needed(name, other) for name, other in sorted(needed.items())),
    )


def _others(inventory: Inventory, location: Location) -> dict[str, tuple[Location, Callable[[str], bool]]]:
    return {
        other.name: (other, inventory.named_at(other.name))
        for other in inventory.locations
        if other.name != location.name
    }


class _Deletion:
    """Deletes objects one by one, as long as the right to do so lasts; counts what a lock keeps."""

    def __init__(self, location: Location, lease: Lease, context: Context) -> None:
        self._location = location
        self._lease = lease
        self._context = context
        self.deleted: set[str] = set()
        self.bytes_freed = 0
        self.locked: Counter[str] = Counter()

    def delete(self, going: Iterable[Marked]) -> None:
        """Delete these, in their order: keys first."""
        doomed = list(going)
        for number, one in enumerate(doomed):
            # Each time: whoever was paused since may find that others have built on what is left.
            self._lease.check()
            if number % _SHOWN_EVERY == 0:
                self._context.deadline.check()
                self._context.progress(Progress(number, len(doomed), "objects", self._location.name))
            try:
                self._location.store.delete(one.stored.name)
            except ObjectLocked as error:
                self.locked[str(error.context["until"])] += 1
            else:
                self.deleted.add(one.stored.name)
                self.bytes_freed += one.stored.size


def _extend_locks(inventory: Inventory, location: Location) -> int:
    """Lock what the newest backup of each source reaches as long as if it had been written with that backup."""
    locking = find_locking(location.store)
    lock = location.store.capabilities.lock
    if locking is None or lock is None:
        return 0
    extended = 0
    for backups in inventory.catalog.by_source().values():
        here = [backup for backup in backups if location.name in backup.locations]
        if not here:
            continue
        until = here[-1].taken_at + dt.timedelta(days=lock.days)
        for reference in inventory.manifest(here[-1].id).packs:
            # What is missing is for verification and repair to find.
            with suppress(ObjectMissing):
                present = locking.locked_until(reference.name)
                if present is None or present < until:
                    locking.extend_lock(reference.name, until)
                    extended += 1
    return extended


def _needed(name: str, location: str) -> Finding:
    return Finding(
        severity="warning",
        code="needed-elsewhere",
        object=name,
        observed=f"nothing here reaches it, but backups at {location} do, and it is missing there",
        advice="Run `strongroom repair`; it is deleted here once that location has it.",
    )
