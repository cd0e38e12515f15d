"""Restore one unit: copy the living rows of some extents into the destination, in one transaction."""

import time

from strongroom.config import Settings
from strongroom.errors import PlanChanged
from strongroom.format.documents import Finding
from strongroom.operations.context import Context
from strongroom.operations.messages import RestoreStepReport, RestoreUnit
from strongroom.postgres.connection import connect, translated
from strongroom.postgres.copy_in import TableFiller, load_without_triggers
from strongroom.recovery.journal import finish_unit, is_finished
from strongroom.recovery.unit_rows import UnitRows
from strongroom.recovery.units import plan_restore_units
from strongroom.repository.chunks import ChunkReader
from strongroom.repository.locations import damage_noticed
from strongroom.repository.opening import open_repository


def restore_unit(settings: Settings, request: RestoreUnit, context: Context) -> RestoreStepReport:
    """Copy one unit in. A unit whose transaction was committed before is not copied again."""
    started = time.monotonic()
    repository = open_repository(settings, to_read_rows=True)
    manifest = repository.read_manifest(request.backup)
    documents = [repository.read_unit_document(reference) for reference in manifest.documents]
    units = plan_restore_units(manifest, documents)
    unit = next((unit for unit in units if unit.number == request.unit), None)
    if unit is None:
        raise PlanChanged(backup=request.backup, unit=request.unit)
    rows = UnitRows(unit, manifest, documents, ChunkReader(repository), context)
    bytes_moved = 0
    findings: list[Finding] = []
    with connect(
        settings.destination_conninfo(), context.deadline, application_name="strongroom restore"
    ) as connection:
        load_without_triggers(connection)
        with translated("the restore of rows"), connection.transaction():
            if not is_finished(connection, manifest.id, unit.number):
                for piece in unit.slices:
                    filler = TableFiller(connection, manifest.tables[piece.table].facts)
                    bytes_moved += filler.fill(rows.blocks(piece))
                    findings += filler.findings()
                finish_unit(connection, manifest.id, unit.number)
    return RestoreStepReport(
        step=f"rows, unit {unit.number}",
        rows=rows.rows,
        bytes_moved=bytes_moved,
        seconds=round(time.monotonic() - started, 3),
        findings=(*findings, *damage_noticed(repository.store)),
    )
