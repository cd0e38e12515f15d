"""What locations lack, from an inventory: the plans that copying carries out."""

import datetime as dt
from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import islice

from strongroom.errors import (
    ForeignRepository,
    FormatError,
    KeyringError,
    NotARepository,
    UnknownBackup,
    WrongRepositoryKey,
)
from strongroom.format.documents import Manifest
from strongroom.repository import layout
from strongroom.repository.inventory import Inventory
from strongroom.repository.locations import Location
from strongroom.repository.reach import reached_names
from strongroom.repository.replication import ReplicationPlan, plan_replication
from strongroom.repository.repository import Repository, read_description
from strongroom.retention.policy import RetentionPolicy
from strongroom.retention.wanted import wanted_at
from strongroom.stores.nearest import read_good
from strongroom.stores.protocol import Store

_RECORDS = (
    layout.RECOVERY_KEYS,
    layout.HOLDS,
    layout.ACCEPTED,
    layout.VERIFICATIONS,
    layout.RECOVERIES,
    layout.DRILLS,
)
"""What every location keeps a copy of. Garbage records speak of one location and stay there."""

_COMPARED = 16
"""How many of a location's newest backups are read to know what is there; the rest is asked for one by one."""


def plan_for(
    inventory: Inventory,
    location: Location,
    policy: RetentionPolicy,
    now: dt.datetime,
    backups: Collection[str] = (),
) -> ReplicationPlan:
    """Plan what to copy to a location: the backups named, or all that its rules want, if it does not list them.

    Raises `UnknownBackup` for a named one that no location lists.
    """
    known = {backup.id for backup in inventory.catalog.backups}
    # A manifest that no location has a good copy of says nothing of what is there, and is nothing to copy.
    listed = inventory.listed.get(location.name, frozenset()) & known
    newest = set(islice(sorted(listed, reverse=True), _COMPARED))
    there = _read_at(inventory, location, newest)
    # A manifest that does not read there, or was planted, lists nothing: it is copied again.
    listed -= newest - there.keys()
    for backup in backups:
        if backup not in known:
            raise UnknownBackup(backup=backup)
    wanted = frozenset(backups) or wanted_at(inventory.catalog, policy, location.name, now)
    missing = _read(inventory, sorted(wanted - listed))
    gone = set(backups) - listed - {manifest.id for manifest in missing}
    if gone:
        raise UnknownBackup(backup=min(gone))
    parents = {manifest.parent for manifest in missing} | {manifest.base for manifest in missing}
    there |= _read_at(inventory, location, (parents & listed) - there.keys())
    reached = [reached_names(manifest) for manifest in there.values()]
    return plan_replication(location.name, missing, reached)


def _read(inventory: Inventory, backups: Iterable[str]) -> list[Manifest]:
    """Read manifests; one that has expired since the inventory was taken is left out."""
    found = []
    for backup in backups:
        with suppress(UnknownBackup):
            found.append(inventory.manifest(backup))
    return found


def _read_at(inventory: Inventory, location: Location, backups: Iterable[str]) -> dict[str, Manifest]:
    """Read those manifests that are good at the location itself."""
    repository = Repository(location.store, inventory.repository.keyring, inventory.repository.info)
    found = {}
    for backup in backups:
        with suppress(UnknownBackup, FormatError, KeyringError):
            found[backup] = repository.read_manifest(backup)
    return found


def join_repository(repository: Repository, location: Location) -> None:
    """See that a location holds this repository, making it there if nothing is.

    The signed bytes are copied as they are, so that all locations hold the same one. Raises `ForeignRepository`.
    """
    try:
        present = Repository.open(location.store, repository.keyring).info.id
    except NotARepository:
        location.store.create(layout.REPOSITORY, _signed_description(repository))
        present = Repository.open(location.store, repository.keyring).info.id
    except WrongRepositoryKey as error:
        raise ForeignRepository(
            location=location.name, present="one of other keys", wanted=repository.info.id
        ) from error
    if present != repository.info.id:
        raise ForeignRepository(location=location.name, present=present, wanted=repository.info.id)


def _signed_description(repository: Repository) -> bytes:
    """Return the bytes of `repository.json` from a location where it is as it was signed."""

    def judged(data: bytes) -> bytes:
        present = read_description(data, repository.keyring).id
        if present != repository.info.id:
            raise ForeignRepository(
                location=repository.store.description, present=present, wanted=repository.info.id
            )
        return data

    return read_good(repository.store, layout.REPOSITORY, judged)


def missing_records(inventory: Inventory, location: Location) -> list[str]:
    """Return the names of records, sets of recovery keys, and newer forms of data keys that a location lacks.

    A newer form is wanted only of a data key that the location has: the others are none of its backups'.
    """
    store = inventory.repository.store
    lacking: list[str] = []
    for folder in _RECORDS:
        there = {found.name for found in location.store.list(folder)}
        lacking += [found.name for found in store.list(folder) if found.name not in there]
    present = _newest_forms(location.store)
    newest = _newest_forms(store)
    lacking += [
        layout.KeyForm(key, newest[key]).name for key in sorted(present) if newest.get(key, 0) > present[key]
    ]
    return lacking


def _newest_forms(store: Store) -> dict[str, int]:
    """Return the number of the newest sealed form of each data key that a store has."""
    found: dict[str, int] = {}
    for stored in store.list(layout.KEYS):
        form = layout.key_form(stored.name)
        if form is not None:
            found[form.data_key] = max(form.number, found.get(form.data_key, 0))
    return found
