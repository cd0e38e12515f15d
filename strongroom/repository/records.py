"""Records at several locations: the same object at each, so that they never disagree."""

from collections.abc import Callable, Sequence

from strongroom.crypto.keyring import Keyring
from strongroom.errors import RepositoryError, StoreError
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
from strongroom.format.records import Record
from strongroom.repository import layout
from strongroom.repository.locations import Location
from strongroom.repository.repository import Repository
from strongroom.repository.signed import signed, store_bytes


def write_everywhere(
    locations: Sequence[Location], keyring: Keyring, record: Record, random: Callable[[int], bytes]
) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Store a record at every location; return the names of those that took it, and a finding for each other.

    The bytes are sealed once. Raises the last error if no location took it; the others catch up when backups are
    copied there.
    """
    name = layout.record_name(record.folder, record.at, random(4).hex())
    sealed: bytes | None = None
    written: list[str] = []
    findings: list[Finding] = []
    last: StoreError | RepositoryError | None = None
    for location in locations:
        if location.settings.read_only:
            continue
        try:
            repository = Repository.open(location.store, keyring)
            if sealed is None:
                sealed = signed(keyring, name, repository.seal(record.KIND, name, record, random))
            store_bytes(location.store, name, sealed)
        except (StoreError, RepositoryError) as error:
            last = error
            findings.append(finding_of(error, f"location {location.name}", "warning"))
        else:
            written.append(location.name)
    if not written and last is not None:
        raise last
    return tuple(written), tuple(findings)
