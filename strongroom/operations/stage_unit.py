"""Stage one unit: load its rows into the staging tables, only those that are wanted, in one transaction."""

import time
from dataclasses import dataclass, field

from strongroom.config import Settings
from strongroom.errors import PlanChanged
from strongroom.format.documents import Manifest
from strongroom.operations.context import Context
from strongroom.operations.messages import RestoreStepReport
from strongroom.operations.recovery_messages import StageUnit
from strongroom.postgres.connection import Connection
from strongroom.postgres.copy_in import TableFiller
from strongroom.recovery.mapping import MappedTable, condition_sql
from strongroom.recovery.scope import read_scope
from strongroom.recovery.sessions import connect_live
from strongroom.recovery.staging import Loaded, enter_unit, filters_while_loading, take_unit
from strongroom.recovery.staging_names import schema_of, staged_rows
from strongroom.recovery.staging_units import cut_to_scope, fingerprint
from strongroom.recovery.unit_rows import UnitRows
from strongroom.recovery.units import RestoreUnitPlan, plan_restore_units
from strongroom.repository.chunks import ChunkReader
from strongroom.repository.locations import damage_noticed
from strongroom.repository.opening import open_repository


@dataclass
class _Counts:
    """What was moved, and per table what was loaded."""

    moved: int = 0
    loaded: dict[int, Loaded] = field(default_factory=dict)


def stage_unit(settings: Settings, request: StageUnit, context: Context) -> RestoreStepReport:
    """Load one unit. A unit whose transaction was committed before is not loaded again.

    Raises `PlanChanged` if the staging tables were made for another cut, what `read_scope` raises, and what reading
    damaged packs raises.
    """
    started = time.monotonic()
    plan = request.plan
    repository = open_repository(settings, to_read_rows=True, deadline=context.deadline)
    manifest = repository.read_manifest(plan.backup)
    cut = cut_to_scope(manifest, plan)
    documents = [repository.read_unit_document(reference) for reference in cut.documents]
    units = plan_restore_units(cut, documents)
    unit = next((unit for unit in units if unit.number == request.unit), None)
    if unit is None:
        raise PlanChanged(backup=plan.backup, unit=request.unit)
    rows = UnitRows(unit, cut, documents, ChunkReader(repository), context)
    counts = _Counts()
    with connect_live(settings, plan, context.deadline) as connection:
        tables = read_scope(connection, manifest, plan)
        with connection.transaction():
            if take_unit(connection, plan, unit.number, fingerprint(plan, tables, units)):
                fillers = _fillers(connection, request, cut, unit, tables)
                _load(unit, rows, fillers, counts)
                enter_unit(connection, plan, unit.number, counts.loaded)
    return RestoreStepReport(
        step=f"staging, unit {unit.number}",
        rows=sum(loaded.kept for loaded in counts.loaded.values()),
        bytes_moved=counts.moved,
        seconds=round(time.monotonic() - started, 3),
        findings=tuple(damage_noticed(repository.store)),
    )


def _fillers(
    connection: Connection,
    request: StageUnit,
    cut: Manifest,
    unit: RestoreUnitPlan,
    tables: tuple[MappedTable, ...],
) -> dict[int, TableFiller]:
    """Make what fills each of the unit's tables."""
    plan = request.plan
    found = {}
    for number in sorted({piece.table for piece in unit.slices}):
        table = tables[number]
        is_filtered = bool(table.where) and filters_while_loading(connection, plan, table)
        found[number] = TableFiller(
            connection,
            cut.tables[number].facts,
            into=staged_rows(schema_of(plan), number),
            columns=table.columns,
            where=condition_sql(table.where) if is_filtered else "",
        )
    return found


def _load(unit: RestoreUnitPlan, rows: UnitRows, fillers: dict[int, TableFiller], counts: _Counts) -> None:
    """Fill the tables slice by slice, and count."""
    for piece in unit.slices:
        before, filler = rows.rows, fillers[piece.table]
        counts.moved += filler.fill(rows.blocks(piece))
        sent = counts.loaded[piece.table].sent if piece.table in counts.loaded else 0
        counts.loaded[piece.table] = Loaded(sent=sent + rows.rows - before, kept=filler.rows_kept)
