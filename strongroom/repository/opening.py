"""Opening what the settings name: the locations, the keys, the repository.

Kept apart from `Repository` so that the repository itself knows nothing of files and settings.
"""

from collections.abc import Iterator
from contextlib import suppress

from strongroom.catalog.catalog import Catalog
from strongroom.config import Settings
from strongroom.crypto.keyring import Keyring
from strongroom.deadline import Deadline
from strongroom.errors import (
    ForeignRepository,
    LocationUnreachable,
    NoBackupYet,
    NotARepository,
    StoreError,
    UnknownBackup,
    WrongRepositoryKey,
)
from strongroom.format.documents import Manifest
from strongroom.ids import BackupId
from strongroom.keys import load_keyring
from strongroom.repository.locations import Location, nearest, open_location, open_locations
from strongroom.repository.read_ahead import read_ahead, width_for
from strongroom.repository.repository import Repository


def open_repository(
    settings: Settings, *, to_read_rows: bool = False, deadline: Deadline | None = None
) -> Repository:
    """Open the repository for reading, with the keys of this machine: the nearest good copy of each object.

    The recovery private key is unlocked only `to_read_rows`; everything else works where it is absent.
    """
    passphrase = settings.keys.read_passphrase if to_read_rows else None
    keyring = load_keyring(settings.keys.directory, passphrase=passphrase)
    if to_read_rows:
        keyring.require_recovery_private()
    return Repository.open(nearest(open_locations(settings, deadline)), keyring)


def open_repository_at(
    settings: Settings, location: str = "", *, to_read_rows: bool = False, deadline: Deadline | None = None
) -> Repository:
    """Open what one location holds of the repository, for writing too; the first one if none is named."""
    passphrase = settings.keys.read_passphrase if to_read_rows else None
    keyring = load_keyring(settings.keys.directory, passphrase=passphrase)
    return Repository.open(open_location(settings, location, deadline).store, keyring)


def open_own_location(settings: Settings, name: str, deadline: Deadline) -> Location:
    """Open a location where something is going to be deleted.

    Raises `ForeignRepository` before anything, a lease included, is written to another repository, `UnknownLocation`,
    and `LocationUnreachable`: whoever does not see every location deletes nothing.
    """
    location = open_location(settings, name, deadline)
    keyring = load_keyring(settings.keys.directory)
    wanted = ""
    for one in open_locations(settings, deadline):
        try:
            wanted = identify(one, keyring, wanted)
        except StoreError as error:
            raise LocationUnreachable(location=one.name, reason=error.render()) from error
    return location


def newest_backup(repository: Repository) -> BackupId:
    """Return the id of the newest listed backup; raise `NoBackupYet`. Reads no manifest: ids sort by time."""
    newest: BackupId | None = None
    for backup in repository.backup_ids():
        newest = backup
    if newest is None:
        raise NoBackupYet
    return newest


def read_catalog(repository: Repository) -> Catalog:
    """Read every manifest. One that is damaged or forged raises: a list with a hole is not shown as whole."""
    return Catalog.of(_read_listed(repository))


def _read_listed(repository: Repository) -> Iterator[Manifest]:
    width = width_for(repository.store)
    for _, result in read_ahead(repository.backup_ids(), repository.read_manifest, width):
        # One that expires between listing and reading was not listed.
        with suppress(UnknownBackup):
            yield result()


def identify(location: Location, keyring: Keyring, wanted: str = "") -> str:
    """Return the id of the repository at a location, `wanted` if there is none.

    Raises `ForeignRepository` for another than `wanted` (any, if empty) or one of other keys, and what reading raises.
    """
    try:
        present = Repository.open(location.store, keyring).info.id
    except NotARepository:
        return wanted
    except WrongRepositoryKey as error:
        raise ForeignRepository(
            location=location.name, present="one of other keys", wanted=wanted or "one of the keys at hand"
        ) from error
    if wanted and present != wanted:
        raise ForeignRepository(location=location.name, present=present, wanted=wanted)
    return present
