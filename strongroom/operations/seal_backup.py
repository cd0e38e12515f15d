"""Seal a backup: from its units to the manifest that makes it exist."""

from contextlib import suppress

from strongroom.config import Settings
from strongroom.errors import BackupTooLarge, CaptureIncomplete, UnknownBackup
from strongroom.format.documents import Manifest
from strongroom.operations.context import Context
from strongroom.operations.messages import BackupReport, SealBackup
from strongroom.repository.assembly import assemble_manifest, sum_totals
from strongroom.repository.collections import COLLECTIONS
from strongroom.repository.leases import require_lease
from strongroom.repository.opening import open_repository_at


def seal_backup(settings: Settings, request: SealBackup, context: Context) -> BackupReport:
    """Write the manifest, last of all (I1). Raises `CaptureIncomplete`, `BackupTooLarge`, `LeaseLost`.

    Only while the backup still has the right to write, and safe to run twice: where an acknowledgement was
    lost, the backup is listed already.
    """
    repository = open_repository_at(settings, request.location, deadline=context.deadline)
    with suppress(UnknownBackup):
        return report_of(repository.read_manifest(request.backup))
    plan = repository.read_plan(request.backup)
    references = list({u.document.name: u.document for u in request.units if u.document}.values())
    documents = [(reference, repository.read_unit_document(reference)) for reference in references]
    finished_at = context.clock()
    totals = sum_totals(
        (unit.totals for unit in request.units),
        tables=len(plan.tables),
        wall_seconds=(finished_at - plan.started_at).total_seconds(),
    )
    limit = settings.backup.max_backup_size
    if limit and totals.bytes_stored > limit:
        raise BackupTooLarge(estimate=totals.bytes_stored, limit=limit, suggestion=2 * totals.bytes_stored)
    findings = (*plan.findings, *(finding for unit in request.units for finding in unit.findings))
    manifest = assemble_manifest(plan, documents, totals, findings, finished_at)
    _require_catalog(manifest)
    context.deadline.check()
    require_lease(repository.store, "backup", plan.id, context.clock())
    repository.write_manifest(manifest, context.random)
    return report_of(manifest)


def _require_catalog(manifest: Manifest) -> None:
    """Refuse a backup of rows without their definitions: it could not be restored."""
    captured = {reference.name for reference in manifest.collections}
    if captured != COLLECTIONS:
        raise CaptureIncomplete(object="the catalog", expected=len(COLLECTIONS), captured=len(captured))


def report_of(manifest: Manifest) -> BackupReport:
    """Return a listed backup in brief."""
    return BackupReport(
        backup=manifest.id,
        kind=manifest.kind,
        backup_class=manifest.backup_class,
        reason=manifest.reason,
        parent=manifest.parent,
        base=manifest.base,
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        snapshot_at=manifest.snapshot.taken_at,
        totals=manifest.totals,
        findings=manifest.findings,
    )
