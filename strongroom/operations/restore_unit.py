"""Restore one unit: copy the living rows of some extents into the destination, in one transaction."""

import time
from collections.abc import Iterator

from strongroom.config import Settings
from strongroom.errors import PlanChanged
from strongroom.format.documents import Extent, Finding, Manifest, UnitDocument
from strongroom.operations.context import Context, Progress
from strongroom.operations.messages import RestoreStepReport, RestoreUnit
from strongroom.postgres.connection import connect, translated
from strongroom.postgres.copy_in import TableFiller, load_without_triggers
from strongroom.recovery.journal import finish_unit, is_finished
from strongroom.recovery.units import RestoreSlice, RestoreUnitPlan, plan_restore_units
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
    work = _UnitRestore(unit, manifest, documents, ChunkReader(repository), context)
    with connect(
        settings.destination_conninfo(), context.deadline, application_name="strongroom restore"
    ) as connection:
        load_without_triggers(connection)
        with translated("the restore of rows"), connection.transaction():
            if not is_finished(connection, manifest.id, unit.number):
                for piece in unit.slices:
                    filler = TableFiller(connection, manifest.tables[piece.table].facts)
                    work.bytes_moved += filler.fill(work.blocks(piece))
                    work.findings += filler.findings()
                finish_unit(connection, manifest.id, unit.number)
    return RestoreStepReport(
        step=f"rows, unit {unit.number}",
        rows=work.rows,
        bytes_moved=work.bytes_moved,
        seconds=round(time.monotonic() - started, 3),
        findings=(*work.findings, *damage_noticed(repository.store)),
    )


class _UnitRestore:
    """The rows of one unit, layer by layer."""

    def __init__(
        self,
        unit: RestoreUnitPlan,
        manifest: Manifest,
        documents: list[UnitDocument],
        reader: ChunkReader,
        context: Context,
    ) -> None:
        self._unit = unit
        self._manifest = manifest
        self._documents = documents
        self._reader = reader
        self._context = context
        self._done = 0
        self.rows = 0
        self.bytes_moved = 0
        self.findings: list[Finding] = []

    def blocks(self, piece: RestoreSlice) -> Iterator[bytes]:
        """Yield the COPY text of a slice's living rows; the deadline is looked at before each chunk."""
        entry = self._manifest.tables[piece.table]
        reference = entry.parts[piece.part]
        document = self._documents[reference.document]
        extents = document.parts[reference.part].extents
        label = f"{entry.facts.schema}.{entry.facts.name}"
        for extent in extents[piece.first_extent : piece.first_extent + piece.extents]:
            yield from self._layers(extent, document, label)

    def _layers(self, extent: Extent, document: UnitDocument, label: str) -> Iterator[bytes]:
        for layer in extent.layers:
            self._context.deadline.check()
            text, rows = self._reader.rows(layer, document)
            self.rows += rows
            self._done += layer.chunk.raw
            self._context.progress(Progress(min(self._done, self._unit.raw), self._unit.raw, "bytes", label))
            yield text
