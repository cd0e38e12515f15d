"""List the backups: the good ones as they are, and a finding for each manifest that cannot be believed.

One damaged or forged manifest hides no other backup; the caller treats a finding as a failure.
"""

from strongroom.config import Settings
from strongroom.errors import FormatError, KeyringError, StoreError, StrongroomError, Transient, UnknownBackup
from strongroom.format.documents import Finding, Manifest
from strongroom.operations.context import Context
from strongroom.operations.messages import BackupBrief, ListBackups, ListReport
from strongroom.repository import layout
from strongroom.repository.opening import open_repository

_NOT_BELIEVED = (FormatError, KeyringError, StoreError)


def list_backups(settings: Settings, request: ListBackups, context: Context) -> ListReport:  # noqa: ARG001  (as all operations)
    """Return all backups, newest snapshot last. Raises what keeps the whole repository from being read."""
    repository = open_repository(settings)
    # Without these keys every manifest would count as damaged, which would be a lie.
    repository.keyring.require_operator()
    repository.keyring.require_signing_public()
    manifests: list[Manifest] = []
    findings: list[Finding] = []
    for backup in repository.backup_ids():
        context.deadline.check()
        try:
            manifests.append(repository.read_manifest(backup))
        except UnknownBackup:
            continue  # It was expired between listing and reading.
        except _NOT_BELIEVED as error:
            if isinstance(error, Transient):
                raise
            findings.append(_finding(layout.manifest_name(backup), error))
    manifests.sort(key=lambda manifest: (manifest.snapshot.taken_at, manifest.id))
    return ListReport(
        location=repository.store.description,
        backups=tuple(brief_of(manifest) for manifest in manifests),
        findings=tuple(findings),
    )


def brief_of(manifest: Manifest) -> BackupBrief:
    """Return a backup in a line."""
    return BackupBrief(
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


def _finding(name: str, error: StrongroomError) -> Finding:
    return Finding(
        severity="critical", code=error.code, object=name, observed=error.render(), advice=error.advice()
    )
