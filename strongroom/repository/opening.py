"""Opening what the settings name: the store of the first location, the keys, the repository.

Kept apart from `Repository` so that the repository itself knows nothing of files and settings.
"""

from strongroom.catalog.catalog import Catalog
from strongroom.config import Settings
from strongroom.errors import NoBackupYet
from strongroom.ids import BackupId
from strongroom.keys import load_keyring
from strongroom.repository.repository import Repository
from strongroom.stores.open import open_store
from strongroom.stores.protocol import Store


def open_location(settings: Settings) -> Store:
    """Open the store of the first location."""
    return open_store(settings.repository.locations[0].url)


def open_repository(settings: Settings, *, to_read_rows: bool = False) -> Repository:
    """Open the repository with the keys of this machine.

    The recovery private key is unlocked only `to_read_rows`; everything else works where it is absent.
    """
    passphrase = settings.keys.read_passphrase if to_read_rows else None
    keyring = load_keyring(settings.keys.directory, passphrase=passphrase)
    if to_read_rows:
        keyring.require_recovery_private()
    return Repository.open(open_location(settings), keyring)


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
    return Catalog.of(repository.read_manifest(backup) for backup in repository.backup_ids())
