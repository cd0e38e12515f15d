"""Prepare staging: make the tables that the wanted rows are loaded into, and cut the loading into units."""

from strongroom.config import Settings
from strongroom.format.documents import Finding
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.context import Context
from strongroom.operations.messages import UnitBrief
from strongroom.operations.recovery_messages import PrepareStaging, StagingReport
from strongroom.postgres.connection import Connection
from strongroom.recovery.comparing import is_forgotten
from strongroom.recovery.mapping import MappedTable
from strongroom.recovery.run_journal import require_owner, set_state
from strongroom.recovery.scope import read_scope
from strongroom.recovery.sessions import connect_live
from strongroom.recovery.staging import filters_while_loading, make_staging
from strongroom.recovery.staging_names import needs_whole
from strongroom.recovery.staging_units import cut_to_scope, fingerprint
from strongroom.recovery.units import plan_restore_units
from strongroom.repository.opening import open_repository

_NOT_CHANGED_YET = ("begun", "staged")


def prepare_staging(settings: Settings, request: PrepareStaging, context: Context) -> StagingReport:
    """Make the staging tables; units that an earlier attempt has loaded stay, if nothing has changed since.

    Raises `RecoveryOwnerLost`, and what `read_scope` raises.
    """
    plan = request.plan
    repository = open_repository(settings, deadline=context.deadline)
    manifest = repository.read_manifest(plan.backup)
    cut = cut_to_scope(manifest, plan)
    documents = [repository.read_unit_document(reference) for reference in cut.documents]
    units = plan_restore_units(cut, documents)
    with connect_live(settings, plan, context.deadline) as connection:
        tables = read_scope(connection, manifest, plan)
        with connection.transaction():
            run = require_owner(connection, plan, request.owner)
            # Once rows were changed, the staging tables say what was wanted: they are made anew only to recall that.
            if run.state in _NOT_CHANGED_YET or is_forgotten(connection, run):
                made = make_staging(connection, plan, tables, units, fingerprint(plan, tables, units))
                if made and run.state == "staged":
                    set_state(connection, plan, "begun")
                findings = _filtered_afterwards(connection, plan, tables)
            else:
                findings = ()
    return StagingReport(
        tables=len(tables),
        rows=sum(entry.rows for entry in cut.tables),
        units=tuple(
            UnitBrief(
                number=unit.number,
                label=tables[unit.slices[0].table].label
                + (f" and {len(unit.slices) - 1} more" if len(unit.slices) > 1 else ""),
                estimated_bytes=unit.raw,
            )
            for unit in units
        ),
        findings=findings,
    )


def _filtered_afterwards(
    connection: Connection, plan: RecoveryPlan, tables: tuple[MappedTable, ...]
) -> tuple[Finding, ...]:
    """Name the tables that are loaded whole first, because all of it is needed, or COPY cannot test the condition."""
    return tuple(
        Finding(
            severity="info",
            code="condition-after-loading",
            object=table.label,
            observed="all rows of the table are needed to tell which may be deleted"
            if needs_whole(plan, table)
            else "the server does not test this condition while rows come in",
            advice="The whole table is loaded into the staging schema first; other tables that the condition reads "
            "are read as they are now, not as they were.",
        )
        for table in tables
        if table.where and not filters_while_loading(connection, plan, table)
    )
