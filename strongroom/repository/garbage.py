"""Garbage: objects of a location that nothing reaches, since when, and the freeing of their bytes (I3, I4).

    marks = mark(place, reached, now)             # what is reached any more, or again, loses its mark
    doomed = collectable(marks, now, grace, oldest_right(location.store, now))

An object is deleted only if it has been marked for the whole grace period, and was marked before the oldest backup
that is running began. Whoever builds on an object has chosen it while a manifest reached it; so who began after the
mark cannot know the object, and who began before it is seen by its lease. For that to hold, the mark of whatever
is reached is taken away before any manifest expires (`docs/decisions/0010`).
"""

import contextlib
import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from strongroom.errors import FormatError, KeyringError, ObjectLocked, ObjectMissing
from strongroom.format.documents import FORMAT
from strongroom.format.records import GarbageRecord, Unreached
from strongroom.repository import layout
from strongroom.repository.attempts import instant_of, names_of_attempt, young_attempts
from strongroom.repository.data_keys import superseded_forms
from strongroom.repository.leases import Lease
from strongroom.repository.locations import Location
from strongroom.repository.repository import Repository
from strongroom.repository.writing import BACKUP_RIGHT
from strongroom.stores.protocol import Store, StoredObject

FOLDERS = (layout.KEYS, layout.PACKS, layout.UNIT_DOCUMENTS, layout.ROW_MAPS, layout.ATTEMPTS)
"""Where objects lie that are there only as long as something names them; keys first: without them the rest is noise."""


@dataclass(frozen=True, slots=True)
class Marked:
    """An object that nothing reaches, and since when that has been known."""

    stored: StoredObject
    since: dt.datetime


def reached_at(
    repository: Repository, listed: Collection[str], named: Callable[[str], bool], now: dt.datetime
) -> Callable[[StoredObject], bool]:
    """Return what tells whether an object of a location is reached there.

    By a listed manifest (`named` tells, by name; data keys by that of their first form), by an attempt that may be
    running or be resumed. A sealed form whose recovery keys are retired is not. `repository` is that of the location
    alone.
    """
    kept = {layout.attempt_name(backup) for backup in listed}
    for backup in young_attempts(repository, listed, now):
        kept.update(names_of_attempt(repository, backup))
    superseded = {form.name for form in superseded_forms(repository.data_keys)}

    def is_reached(stored: StoredObject) -> bool:
        form = layout.key_form(stored.name) if stored.name.startswith(layout.KEYS) else None
        if form is None:
            return stored.name in kept or named(stored.name)
        first = layout.key_name(form.data_key)
        return stored.name not in superseded and (first in kept or named(first))

    return is_reached


def find_unreached(store: Store, is_reached: Callable[[StoredObject], bool]) -> Iterator[StoredObject]:
    """Yield what nothing reaches, keys first. Names that are none of this version's are left alone."""
    for folder in FOLDERS:
        for stored in store.list(folder):
            if folder == layout.KEYS and layout.key_form(stored.name) is None:
                continue
            if not is_reached(stored):
                yield stored


def newest_list(repository: Repository, location: str = "") -> GarbageRecord | None:
    """Return the newest list of unreached objects that can be believed, of a location or of any; None without one.

    A list that was carried here from another location is none of this one's: its marks are older than they may be.
    """
    for name in reversed(repository.record_names(layout.GARBAGE)):
        with contextlib.suppress(FormatError, KeyringError, ObjectMissing):
            record = repository.read_record(GarbageRecord, name)
            if location in {"", record.location}:
                return record
    return None


def read_marks(repository: Repository, location: str) -> dict[str, dt.datetime]:
    """Return since when each object of a location has been known to be unreached.

    Where no list can be believed every mark begins anew, which costs time and nothing else.
    """
    newest = newest_list(repository, location)
    return {one.name: one.since for one in newest.unreachable} if newest else {}


def mark(
    repository: Repository, location: str, is_reached: Callable[[StoredObject], bool], now: dt.datetime
) -> list[Marked]:
    """Return what nothing reaches at a location, each with the mark that it has, or with one of now."""
    before = read_marks(repository, location)
    return [
        Marked(stored, before.get(stored.name, now))
        for stored in find_unreached(repository.store, is_reached)
    ]


def write_marks(
    repository: Repository,
    location: str,
    marked: Iterable[Marked],
    now: dt.datetime,
    random: Callable[[int], bytes],
) -> None:
    """Store the marks, in the place of those before; the last ones stay beside them, and so does what is locked."""
    unreachable = tuple(Unreached(one.stored.name, one.since) for one in marked)
    written = repository.put_record(
        GarbageRecord(format=FORMAT, at=now, location=location, unreachable=unreachable), random
    ).name
    names = repository.record_names(layout.GARBAGE)
    kept = {written, *[name for name in names if name < written][-1:]}
    for name in names:
        if name not in kept:
            with contextlib.suppress(ObjectLocked):
                repository.store.delete(name)


def oldest_right(store: Store, now: dt.datetime) -> dt.datetime | None:
    """Return when the backup began that is running at a location, None if none is.

    Of a holder whose token tells no instant everything is younger.
    """
    _, entry = Lease(store, BACKUP_RIGHT, "", lambda: now).newest()
    return instant_of(entry.token) if entry is not None and entry.until > now else None


def collectable(
    marked: Iterable[Marked], now: dt.datetime, grace: dt.timedelta, running_since: dt.datetime | None
) -> list[Marked]:
    """Return what may be deleted now (I4): marked long enough, and before the oldest running backup began."""
    return [
        one
        for one in marked
        if one.since + grace <= now and (running_since is None or one.since < running_since)
    ]


def needed_elsewhere(
    doomed: Iterable[Marked], others: Mapping[str, tuple[Location, Callable[[str], bool]]]
) -> dict[str, str]:
    """Return which of the objects another location's manifests reach while it lacks them, and which location.

    Such a copy is what that location will be repaired from (I3); one of another size there is as good as none. Data
    keys are looked for in any form.
    """
    candidates = [one.stored for one in doomed]
    sizes = {stored.name: stored.size for stored in candidates if not stored.name.startswith(layout.KEYS)}
    found: dict[str, str] = {}
    for name, (location, is_named) in others.items():
        wanted = {_first_form(stored.name) for stored in candidates if is_named(_first_form(stored.name))}
        if not wanted:
            continue
        for folder in FOLDERS:
            wanted -= {
                _first_form(stored.name)
                for stored in location.store.list(folder)
                if sizes.get(stored.name, stored.size) == stored.size
            }
        found |= {stored.name: name for stored in candidates if _first_form(stored.name) in wanted}
    return found


def _first_form(name: str) -> str:
    form = layout.key_form(name) if name.startswith(layout.KEYS) else None
    return name if form is None else layout.key_name(form.data_key)
