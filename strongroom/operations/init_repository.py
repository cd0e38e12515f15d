"""Make a repository: its keys on this machine, and the same `repository.json` at every location.

Nothing is ever overwritten, and what is there is used where it can be: an `init` that failed half-way is completed
by running it again, and a location that was added later joins the others.
"""

from collections.abc import Sequence

from strongroom.config import Settings
from strongroom.errors import (
    ForeignRepository,
    ObjectMissing,
    RepositoryError,
    RepositoryExists,
    RepositoryWithoutKeys,
    StoreError,
    StoreReadOnly,
)
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
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
from strongroom.repository.locations import Location, open_locations
from strongroom.repository.repository import Repository
from strongroom.repository.shortfall import join_repository
from strongroom.stores.protocol import Store

_STAY = (OPERATOR_FILE, SIGNING_FILE, SIGNING_PUBLIC_FILE, RECOVERY_PUBLIC_FILE)


def init_repository(settings: Settings, request: InitRepository, context: Context) -> InitReport:  # noqa: ARG001  (as all operations)
    """Make the keys, if there are none, and the repository wherever it is not yet.

    Raises `RepositoryExists` if everything is there, `RepositoryWithoutKeys` if only the keys are missing,
    `WrongRepositoryKey` if they are another repository's, and what making keys and storing at the first location
    raise. Another location that cannot be used now is a finding: copying makes the repository there.
    """
    first, *others = open_locations(settings, context.deadline)
    holding, findings = _holding([first, *others])
    has_keys = has_key_files(settings)
    if holding and not has_keys:
        raise RepositoryWithoutKeys(location=holding[0].store.description, directory=settings.keys.directory)
    if not has_keys:
        create_keys(settings.keys.directory, settings.keys.read_passphrase(), context.random)
    keyring = load_keyring(settings.keys.directory)
    if holding:
        repository = Repository.open(holding[0].store, keyring)
    else:
        repository = Repository.create(first.store, keyring, context.clock(), context.random)
    joined, more = _join(repository, [first, *others], holding)
    if holding and not joined:
        raise RepositoryExists(location=holding[0].store.description)
    recovery = settings.keys.directory / RECOVERY_FILE
    return InitReport(
        repository=repository.info.id,
        location=first.store.description,
        keys=str(settings.keys.directory),
        keys_made=not has_keys,
        take_away=str(recovery) if recovery.exists() else "",
        stay=_STAY,
        locations=tuple(one.name for one in [first, *others] if one in holding or one.name in joined),
        findings=(*findings, *more),
        joined=tuple(joined),
    )


def has_key_files(settings: Settings) -> bool:
    """Tell whether there are key files, so that no passphrase is needed to make them."""
    return any((settings.keys.directory / name).exists() for name in (*_STAY, RECOVERY_FILE))


def _holding(locations: Sequence[Location]) -> tuple[list[Location], list[Finding]]:
    """Return the locations that hold a repository. The first has to answer; another that does not is a finding.

    A location out of reach may hold the repository: making a new one beside it would be wrong, and is noticed as
    soon as it answers (`ForeignRepository`).
    """
    found, findings = [], []
    for place, location in enumerate(locations):
        try:
            if _holds_repository(location.store):
                found.append(location)
        except StoreError as error:
            if place == 0:
                raise
            findings.append(finding_of(error, f"location {location.name}", "warning"))
    return found, findings


def _join(
    repository: Repository, locations: Sequence[Location], holding: Sequence[Location]
) -> tuple[list[str], list[Finding]]:
    """Make the repository where it is not; return where, and a finding for each place where it could not be."""
    joined, findings = [], []
    for place, location in enumerate(locations):
        try:
            if location.settings.read_only:
                raise StoreReadOnly(
                    store=location.store.description, operation="create", name=layout.REPOSITORY
                )
            join_repository(repository, location)
        except ForeignRepository:
            raise
        except (StoreError, RepositoryError) as error:
            if place == 0:
                raise
            findings.append(finding_of(error, f"location {location.name}", "warning"))
        else:
            if location not in holding:
                joined.append(location.name)
    return joined, findings


def _holds_repository(store: Store) -> bool:
    try:
        store.stat(layout.REPOSITORY)
    except ObjectMissing:
        return False
    return True
