"""Where a backup is written: the first location that takes it, and the right to write there.

with first_writable(settings, backup, context) as place:
    place.repository.put_plan(plan, context.random)
    place.lease.check()
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256

from strongroom.clock import Clock
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import (
    ForgedSignature,
    FormatError,
    NotARepository,
    NoWritableLocation,
    ObjectLocked,
    SamePlace,
    StoreError,
    StoreReadOnly,
    StrongroomError,
    WrongRepositoryKey,
)
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
from strongroom.keys import load_keyring
from strongroom.repository.leases import Lease
from strongroom.repository.locations import Location, open_locations
from strongroom.repository.repository import Repository

BACKUP_RIGHT = "backup"
"""The right to take a backup into a location."""
COPY_RIGHT = "copies"
"""The right to copy objects into a location, or to delete there what nothing reaches: never both at once."""

_TRIAL_BYTES = 1 << 20
_PASSED_OVER = (StoreError, NotARepository, WrongRepositoryKey, FormatError, ForgedSignature)


@dataclass(frozen=True)
class Writable:
    """A location that takes a backup, with the right held, and a finding for each one that was passed over."""

    location: Location
    repository: Repository
    lease: Lease
    findings: tuple[Finding, ...]


@contextmanager
def first_writable(
    settings: Settings, backup: str, clock: Clock, random: Callable[[int], bytes], deadline: Deadline
) -> Iterator[Writable]:
    """Hold the right to back up at the first location that can be written to.

    Raises `LeaseHeld` if a backup is running there; with one location what is wrong with it, with several
    `NoWritableLocation`.
    """
    keyring = load_keyring(settings.keys.directory)
    locations = open_locations(settings, deadline)
    failed: list[tuple[Location, StrongroomError]] = []
    for location in locations:
        with ExitStack() as stack:
            try:
                if location.settings.read_only:
                    raise StoreReadOnly(store=location.store.description, operation="a backup", name="")
                repository = Repository.open(location.store, keyring)
                lease = stack.enter_context(Lease(location.store, BACKUP_RIGHT, backup, clock))
                if len(locations) > 1:
                    _try_to_write(location, random)
            except _PASSED_OVER as error:
                failed.append((location, error))
                continue
            findings = tuple(
                finding_of(error, f"location {one.name}", "warning", "it could not be written to: ")
                for one, error in failed
            )
            yield Writable(location, repository, lease, findings)
            return
    if len(failed) == 1:
        raise failed[0][1]
    raise NoWritableLocation(reasons="; ".join(f"{one.name}: {error.render()}" for one, error in failed))


def _try_to_write(location: Location, random: Callable[[int], bytes]) -> None:
    """Store and delete an object of some size: a lease is small enough to fit on a full disk."""
    name, data = f"scratch/{random(16).hex()}", random(_TRIAL_BYTES)
    try:
        location.store.put(name, data, sha256(data).hexdigest())
    finally:
        # What a lock keeps is swept up by a retention run after its end.
        with suppress(ObjectLocked):
            location.store.delete(name)


def require_apart(location: Location, locations: Iterable[Location], token: str, clock: Clock) -> None:
    """Raise `SamePlace` if the right to copy to a location, held with this token, shows at another one too.

    Two URLs of one place look like two copies; what they hold tells nothing, since copies are the same anyhow.
    """
    for other in locations:
        if other.name != location.name:
            _, entry = Lease(other.store, COPY_RIGHT, token, clock).newest()
            if entry is not None and entry.token == token:
                raise SamePlace(first=location.name, second=other.name)
