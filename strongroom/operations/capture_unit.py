"""Capture one unit of a stored plan: slices of tables, inside the snapshot that somebody else holds.

Safe to run twice and on any machine: it opens its own connection, makes its own data key, and counts only
once its unit document is stored.
"""

import time

from strongroom.catalog.comparison import scratch_reason
from strongroom.config import Settings
from strongroom.errors import PlanChanged
from strongroom.format.documents import (
    BackupPlan,
    CaptureTotals,
    Finding,
    ObjectRef,
    PlannedUnit,
    TablePart,
    TableSlice,
)
from strongroom.operations.context import Context, Progress
from strongroom.operations.messages import CaptureUnit, UnitReport
from strongroom.postgres.capture import CaptureCounts, TableCapture
from strongroom.postgres.connection import Connection, connect, snapshot_transaction
from strongroom.postgres.snapshot import require_held
from strongroom.repository.known import KnownRows, KnownTable
from strongroom.repository.opening import open_repository_at
from strongroom.repository.repository import Repository
from strongroom.repository.unit_writer import UnitWriter


def capture_unit(settings: Settings, request: CaptureUnit, context: Context) -> UnitReport:
    """Capture one unit and return where its document is. Raises what reading and storing raise."""
    started = (time.monotonic(), time.process_time())
    repository = open_repository_at(settings, request.location, deadline=context.deadline)
    plan = repository.read_plan(request.backup)
    unit = next((unit for unit in plan.units if unit.number == request.unit), None)
    if unit is None:
        raise PlanChanged(backup=request.backup, unit=request.unit)
    work = _UnitCapture(settings, plan, unit, repository, context)
    with connect(settings.conninfo(), context.deadline, application_name="strongroom capture") as connection:
        with snapshot_transaction(connection, request.snapshot):
            document = work.run(connection)
        require_held(connection, request.snapshot)
    totals = work.totals(time.monotonic() - started[0], time.process_time() - started[1])
    return UnitReport(
        backup=plan.id, unit=unit.number, document=document, totals=totals, findings=work.findings()
    )


class _UnitCapture:
    """The capture of one unit: what is known of its tables, its writer, its counts."""

    def __init__(
        self,
        settings: Settings,
        plan: BackupPlan,
        unit: PlannedUnit,
        repository: Repository,
        context: Context,
    ) -> None:
        self.plan = plan
        self.unit = unit
        self.context = context
        self.counts = CaptureCounts()
        self.writer = UnitWriter(
            repository,
            plan.id,
            unit.number,
            context.random,
            compress=plan.compress,
            stored_limit=settings.backup.max_backup_size,
        )
        oids = [plan.tables[s.table].facts.oid for s in unit.slices]
        manifest = repository.read_manifest(plan.parent) if plan.parent else None
        self._parent = KnownRows.of_backup(repository, manifest, oids) if manifest else None
        self._parent_facts = {entry.facts.oid: entry.facts for entry in manifest.tables} if manifest else {}
        self._attempt = (
            KnownRows.of_attempt(repository, repository.read_plan(plan.resumes)) if plan.resumes else None
        )
        self._done = 0

    def run(self, connection: Connection) -> ObjectRef:
        """Capture every slice and store the unit document, or name the parent's if nothing changed."""
        parts = tuple(self._capture(connection, piece) for piece in self.unit.slices)
        unchanged = self._unchanged_document(parts)
        return unchanged or self.writer.finish(parts)

    def _capture(self, connection: Connection, piece: TableSlice) -> TablePart:
        planned = self.plan.tables[piece.table]
        table = TableCapture(
            connection=connection,
            table=planned.facts,
            pages_per_extent=planned.pages_per_extent,
            extents=planned.extents,
            writer=self.writer,
            deadline=self.context.deadline,
            counts=self.counts,
            progress=lambda done: self._progress(done, f"{planned.facts.schema}.{planned.facts.name}"),
        )
        return table.run(piece.first_extent, piece.extents, self._known(piece))

    def _known(self, piece: TableSlice) -> KnownTable | None:
        """Return what the slice is compared with: an interrupted attempt's work, else the parent's."""
        planned = self.plan.tables[piece.table]
        oid, width = planned.facts.oid, planned.pages_per_extent
        if planned.scratch_reason:
            return None
        if self._attempt and self._attempt.covers(oid, width, piece.first_extent, piece.extents):
            return self._attempt.table(oid)
        # The plan compared the table with the attempt, if that knew it; the parent may be older than a change.
        if scratch_reason(self._parent_facts.get(oid), planned.facts):
            return None
        if self._parent and self._parent.width(oid) in {0, width}:
            return self._parent.table(oid)
        return None

    def _unchanged_document(self, parts: tuple[TablePart, ...]) -> ObjectRef | None:
        """Return the parent's unit document if it says exactly what a new one would say.

        Not where an attempt was taken over: an UPDATE between the parent and the attempt may have left
        every value, and so the digests, as they were, and moved the rows to other tuple ids.
        """
        if self._attempt is not None or self._parent is None or not parts:
            return None
        if self.counts.extents_reused != self.counts.extents:
            return None
        return self._parent.document_of(parts)

    def _progress(self, done: int, label: str) -> None:
        self._done = min(self._done + done, self.unit.estimated_bytes)
        self.context.progress(Progress(self._done, self.unit.estimated_bytes, "bytes", label))

    def totals(self, wall: float, cpu: float) -> CaptureTotals:
        """Return what the unit cost."""
        counts = self.counts
        return CaptureTotals(
            rows=counts.rows,
            rows_read=counts.rows_read,
            extents=counts.extents,
            extents_reused=counts.extents_reused,
            bytes_scanned=counts.bytes_scanned,
            bytes_moved=counts.bytes_moved,
            bytes_raw=self.writer.bytes_raw,
            bytes_stored=self.writer.bytes_stored,
            packs=self.writer.packs_written,
            cpu_seconds=round(cpu, 3),
            wall_seconds=round(wall, 3),
        )

    def findings(self) -> tuple[Finding, ...]:
        """Return what should be known about this unit: extents that were read again although known."""
        return tuple(
            Finding(
                severity="info",
                code="extent-read-again",
                object=place,
                observed="what the parent holds did not explain what is there",
            )
            for place in self.counts.rereads
        )
