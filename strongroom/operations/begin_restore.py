"""Begin a restore: check that the destination can take the backup, and cut the rows into units."""

from strongroom.config import Settings
from strongroom.format.documents import Manifest
from strongroom.operations.context import Context
from strongroom.operations.messages import BeginRestore, RestorePlanReport, UnitBrief
from strongroom.postgres.connection import connect
from strongroom.postgres.database_facts import decode_facts
from strongroom.recovery.destination import check_destination
from strongroom.recovery.journal import is_under_way
from strongroom.recovery.units import RestoreUnitPlan, plan_restore_units
from strongroom.repository.collections import FACTS, read_collection
from strongroom.repository.opening import newest_backup, open_repository


def begin_restore(settings: Settings, request: BeginRestore, context: Context) -> RestorePlanReport:
    """Return what a restore is going to write. Raises what makes the destination unfit; writes nothing."""
    repository = open_repository(settings, to_read_rows=True)
    backup = newest_backup(repository) if request.backup == "latest" else request.backup
    manifest = repository.read_manifest(backup)
    documents = [repository.read_unit_document(reference) for reference in manifest.documents]
    facts = decode_facts(b"".join(read_collection(repository, manifest, FACTS)))
    conninfo = settings.destination_conninfo()
    with connect(conninfo, context.deadline, application_name="strongroom restore") as connection:
        resumed = is_under_way(connection, backup)
        findings = check_destination(connection, manifest, facts, is_resumed=resumed)
    return RestorePlanReport(
        backup=backup,
        snapshot_at=manifest.snapshot.taken_at,
        destination=f"{conninfo.get('dbname', '')} at {conninfo.get('host', 'this machine')}",
        tables=len(manifest.tables),
        rows=sum(entry.rows for entry in manifest.tables),
        units=tuple(_brief(manifest, unit) for unit in plan_restore_units(manifest, documents)),
        findings=tuple(findings),
    )


def _brief(manifest: Manifest, unit: RestoreUnitPlan) -> UnitBrief:
    first = manifest.tables[unit.slices[0].table].facts
    more = len(unit.slices) - 1
    label = f"{first.schema}.{first.name}" + (f" and {more} more" if more else "")
    return UnitBrief(number=unit.number, label=label, estimated_bytes=unit.raw)
