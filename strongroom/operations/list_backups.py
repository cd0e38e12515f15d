"""List the backups: the good ones as they are, and a finding for each manifest that cannot be believed.

One damaged or forged manifest hides no other backup; the caller treats a finding as a failure.
"""

from collections.abc import Sequence

from strongroom.config import Settings
from strongroom.errors import (
    FormatError,
    KeyringError,
    LocationUnreachable,
    ManifestsNotBelieved,
    StoreError,
    StrongroomError,
    Transient,
    UnknownBackup,
)
from strongroom.findings import finding_of
from strongroom.format.documents import Finding, Manifest
from strongroom.ids import BackupId
from strongroom.keys import load_keyring
from strongroom.operations.context import Context
from strongroom.operations.messages import BackupBrief, ListBackups, ListReport
from strongroom.repository import layout
from strongroom.repository.inventory import read_holds
from strongroom.repository.locations import Location, by_nearness, find_location, nearest, open_locations
from strongroom.repository.repository import Repository

_NOT_BELIEVED = (FormatError, KeyringError, StoreError)


def list_backups(settings: Settings, request: ListBackups, context: Context) -> ListReport:
    """Return all backups, newest snapshot last. Raises what keeps the whole repository from being read."""
    locations = [one for one in open_locations(settings) if request.location in {"", one.name}]
    find_location(settings, request.location)
    repository = Repository.open(nearest(locations), load_keyring(settings.keys.directory))
    # Without these keys every manifest would count as damaged, which would be a lie.
    repository.keyring.require_operator()
    repository.keyring.require_signing_public()
    manifests: list[Manifest] = []
    findings: list[Finding] = []
    where = _where(locations, findings)
    for backup in sorted(where):
        context.deadline.check()
        try:
            manifests.append(repository.read_manifest(backup))
        except UnknownBackup:
            continue  # It was expired between listing and reading.
        except _NOT_BELIEVED as error:
            if isinstance(error, Transient):
                raise
            findings.append(finding_of(error, layout.manifest_name(backup), "critical"))
    manifests.sort(key=lambda manifest: (manifest.snapshot.taken_at, manifest.id))
    held = _held(repository, context, findings)
    return ListReport(
        location=repository.store.description,
        backups=tuple(
            brief_of(manifest, where[BackupId(manifest.id)], held.get(manifest.id, ""))
            for manifest in manifests
        ),
        findings=tuple(findings),
    )


def failure_of(report: ListReport) -> StrongroomError | None:
    """Return the error that a list ends with: a manifest not believed comes before a location out of reach."""
    places = [found for found in report.findings if found.object.startswith("location ")]
    others = [found for found in report.findings if found not in places]
    if others:
        return ManifestsNotBelieved(count=len(others), location=report.location, first=others[0].object)
    if places:
        names = ", ".join(found.object.removeprefix("location ") for found in places)
        return LocationUnreachable(location=names, reason=places[0].observed)
    return None


def _where(locations: Sequence[Location], findings: list[Finding]) -> dict[BackupId, tuple[str, ...]]:
    """Return the locations that list each backup, the nearest first.

    One out of reach is a finding; if all are, or a single one is, its error is raised.
    """
    found: dict[BackupId, tuple[str, ...]] = {}
    failed: list[StoreError] = []
    for location in by_nearness(locations):
        try:
            listed = [layout.backup_of(stored.name) for stored in location.store.list(layout.MANIFESTS)]
        except StoreError as error:
            failed.append(error)
            findings.append(finding_of(error, f"location {location.name}", "critical"))
            continue
        for backup in listed:
            found[backup] = (*found.get(backup, ()), location.name)
    if len(failed) == len(locations):
        raise failed[0]
    return found


def _held(repository: Repository, context: Context, findings: list[Finding]) -> dict[str, str]:
    """Say of each backup that is held why and until when."""
    try:
        holds = read_holds(repository)
    except (FormatError, KeyringError) as error:
        findings.append(finding_of(error, layout.HOLDS, "critical"))
        return {}
    return {
        hold.backup: f"until {hold.until.isoformat(' ', 'minutes') if hold.until else 'released'}"
        + (f": {hold.reason}" if hold.reason else "")
        for hold in holds
        if hold.lasts(context.clock())
    }


def brief_of(manifest: Manifest, locations: tuple[str, ...] = (), held: str = "") -> BackupBrief:
    """Return a backup in a line."""
    return BackupBrief(
        locations=locations,
        held=held,
        id=manifest.id,
        kind=manifest.kind,
        backup_class=manifest.backup_class,
        source=manifest.source,
        snapshot_at=manifest.snapshot.taken_at,
        bytes_stored=manifest.totals.bytes_stored,
        tables=len(manifest.tables),
        rows=sum(entry.rows for entry in manifest.tables),
        parent=manifest.parent,
        reason=manifest.reason,
    )
