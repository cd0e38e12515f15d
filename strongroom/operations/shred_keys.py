"""Delete the data keys that no manifest at any location reaches, at every location, before any pack goes.

From then on nobody reads what they sealed, even where a medium keeps old bytes or somebody has copied the bucket.
"""

import datetime as dt
from collections import defaultdict
from contextlib import ExitStack

from strongroom.config import Settings
from strongroom.errors import ObjectLocked
from strongroom.format.documents import Finding
from strongroom.ids import new_backup_id
from strongroom.operations.context import Context
from strongroom.operations.location_messages import CollectionReport, ShredKeys
from strongroom.operations.retention_policy import policy_of
from strongroom.repository import layout
from strongroom.repository.garbage import Marked, collectable, mark, oldest_right, reached_at
from strongroom.repository.inventory import Inventory, take_inventory
from strongroom.repository.leases import Lease
from strongroom.repository.locations import Location
from strongroom.repository.repository import Repository
from strongroom.repository.writing import COPY_RIGHT
from strongroom.retention.doubts import refuse_doubtful_clock

EVERYWHERE = "every location"


def shred_keys(settings: Settings, request: ShredKeys, context: Context) -> CollectionReport:  # noqa: ARG001  (as all operations)
    """Delete every form of the data keys that nothing reaches anywhere, wherever they are.

    Raises `LeaseHeld` if somebody is copying somewhere, `LocationUnreachable` while a location is out of sight: a key
    that one location keeps is not shredded.
    """
    now = context.clock()
    grace = dt.timedelta(seconds=settings.retention.grace)
    shredded: set[str] = set()
    deleted, findings = 0, []
    with ExitStack() as rights:
        inventory = take_inventory(settings, context.deadline, now, strict=True)
        token = new_backup_id(now, context.random(5))
        leases = [
            rights.enter_context(Lease(location.store, COPY_RIGHT, token, context.clock))
            for location in inventory.locations
            if not location.settings.read_only
        ]
        # Only now nobody can copy a manifest to anywhere: what is listed is looked at again.
        inventory = take_inventory(settings, context.deadline, now, strict=True)
        refuse_doubtful_clock(inventory.catalog, now, inventory.last_seen, policy_of(settings).max_silence)
        doomed, waiting = _doomed_everywhere(inventory, grace, now)
        for key, copies in sorted(doomed.items()):
            for lease in leases:
                lease.check()
            for location, name in copies:
                context.deadline.check()
                try:
                    location.store.delete(name)
                except ObjectLocked as error:
                    findings.append(_locked(location, name, error))
                else:
                    deleted += 1
                    shredded.add(key)
    return CollectionReport(
        location=EVERYWHERE,
        deleted=deleted,
        bytes_freed=0,
        keys_shredded=len(shredded),
        waiting=waiting,
        bytes_waiting=0,
        findings=tuple(findings),
    )


def _doomed_everywhere(
    inventory: Inventory, grace: dt.timedelta, now: dt.datetime
) -> tuple[dict[str, list[tuple[Location, str]]], int]:
    """Return the keys that may be deleted at every location where they are, and how many wait for the end of grace."""
    copies: dict[str, list[tuple[Location, str]]] = defaultdict(list)
    # A key that a manifest anywhere reaches stays, wherever it is: it may be the last copy (I3).
    kept: set[str] = set().union(*inventory.data_keys.values())
    unreached: set[str] = set()
    for location in inventory.locations:
        if inventory.is_empty(location):
            continue
        repository = Repository.open(location.store, inventory.repository.keyring)
        is_reached = reached_at(
            repository, inventory.listed[location.name], inventory.named_at(location.name), now
        )
        marked = {
            one.stored.name: one for one in mark(repository, location.name, is_reached, now) if _key_of(one)
        }
        due = {
            one.stored.name
            for one in collectable(marked.values(), now, grace, oldest_right(location.store, now))
        }
        for stored in location.store.list(layout.KEYS):
            form = layout.key_form(stored.name)
            if form is None:
                continue
            if stored.name in marked:
                unreached.add(form.data_key)
            if stored.name not in due or location.settings.read_only:
                # One copy that stays makes deleting the others worth nothing.
                kept.add(form.data_key)
            copies[form.data_key].append((location, stored.name))
    doomed = {key: places for key, places in copies.items() if key not in kept}
    return doomed, len(unreached - doomed.keys())


def _key_of(one: Marked) -> bool:
    return one.stored.name.startswith(layout.KEYS)


def _locked(location: Location, name: str, error: ObjectLocked) -> Finding:
    return Finding(
        severity="warning",
        code=error.code,
        object=f"{name} at {location.name}",
        observed=error.render(),
        advice="What it sealed can be read with the recovery key until that date.",
    )
