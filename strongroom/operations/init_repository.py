"""Make a repository: its keys on this machine, and `repository.json` at the first location.

Nothing is ever overwritten, and what is there is used where it can be: an `init` that failed half-way is
completed by running it again.
"""

from strongroom.config import Settings
from strongroom.errors import ObjectMissing, RepositoryExists, RepositoryWithoutKeys
from strongroom.keys import (
    OPERATOR_FILE,
    RECOVERY_FILE,
    RECOVERY_PUBLIC_FILE,
    SIGNING_FILE,
    SIGNING_PUBLIC_FILE,
    create_keys,
    load_keyring,
)
from strongroom.operations.context import Context
from strongroom.operations.messages import InitReport, InitRepository
from strongroom.repository import layout
from strongroom.repository.opening import open_location
from strongroom.repository.repository import Repository
from strongroom.stores.protocol import Store

_STAY = (OPERATOR_FILE, SIGNING_FILE, SIGNING_PUBLIC_FILE, RECOVERY_PUBLIC_FILE)


def init_repository(settings: Settings, request: InitRepository, context: Context) -> InitReport:  # noqa: ARG001  (as all operations)
    """Make the keys, if there are none, and the repository.

    Raises `RepositoryExists` if both are there, `RepositoryWithoutKeys` if only the keys are missing,
    `WrongRepositoryKey` if they are another repository's, and what making keys and storing raise.
    """
    store = open_location(settings)
    has_keys = has_key_files(settings)
    if _holds_repository(store):
        if not has_keys:
            raise RepositoryWithoutKeys(location=store.description, directory=settings.keys.directory)
        Repository.open(store, load_keyring(settings.keys.directory))
        raise RepositoryExists(location=store.description)
    if not has_keys:
        create_keys(settings.keys.directory, settings.keys.read_passphrase(), context.random)
    keyring = load_keyring(settings.keys.directory)
    repository = Repository.create(store, keyring, context.clock(), context.random)
    return InitReport(
        repository=repository.info.id,
        location=store.description,
        keys=str(settings.keys.directory),
        keys_made=not has_keys,
        take_away=str(settings.keys.directory / RECOVERY_FILE),
        stay=_STAY,
    )


def has_key_files(settings: Settings) -> bool:
    """Tell whether there are key files, so that no passphrase is needed to make them."""
    return any((settings.keys.directory / name).exists() for name in (*_STAY, RECOVERY_FILE))


def _holds_repository(store: Store) -> bool:
    try:
        store.stat(layout.REPOSITORY)
    except ObjectMissing:
        return False
    return True
