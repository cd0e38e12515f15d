"""Finish staging: prove that the staging tables hold the wanted rows and nothing else, and index them."""

import time

from strongroom.config import Settings
from strongroom.errors import StagingIncomplete
from strongroom.format.documents import Manifest
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.context import Context
from strongroom.operations.messages import RestoreStepReport
from strongroom.operations.recovery_messages import FinishStaging
from strongroom.postgres.connection import Connection, translated
from strongroom.recovery.comparing import is_forgotten
from strongroom.recovery.mapping import MappedTable
from strongroom.recovery.run_journal import note_staged, require_owner, set_state
from strongroom.recovery.scope import read_scope
from strongroom.recovery.sessions import connect_live
from strongroom.recovery.staging import (
    drop_unwanted,
    filters_while_loading,
    index_table,
    prove_table,
    set_wanted_apart,
    unfinished_units,
)
from strongroom.recovery.staging_names import needs_whole
from strongroom.recovery.staging_units import cut_to_scope
from strongroom.repository.opening import open_repository


def finish_staging(settings: Settings, request: FinishStaging, context: Context) -> RestoreStepReport:
    """Compare what was loaded with the baseline, remove what is not wanted, and note that it was proven.

    Raises `RecoveryOwnerLost`, `StagingIncomplete`, `SchemaDrifted` for duplicates of what is a key now,
    `ConditionInvalid`, and what `read_scope` raises.
    """
    started = time.monotonic()
    plan = request.plan
    manifest = open_repository(settings, deadline=context.deadline).read_manifest(plan.backup)
    rows = 0
    with connect_live(settings, plan, context.deadline) as connection:
        tables = read_scope(connection, manifest, plan)
        with connection.transaction():
            run = require_owner(connection, plan, request.owner)
            if run.state == "begun" or (not run.is_staged and is_forgotten(connection, run)):
                rows = _prove(connection, plan, cut_to_scope(manifest, plan), tables, context)
                note_staged(connection, plan)
            if run.state == "begun":
                set_state(connection, plan, "staged")
    return RestoreStepReport(step="staging, proof", rows=rows, seconds=round(time.monotonic() - started, 3))


def _prove(
    connection: Connection,
    plan: RecoveryPlan,
    cut: Manifest,
    tables: tuple[MappedTable, ...],
    context: Context,
) -> int:
    """Prove, filter and index each table; return how many rows are wanted."""
    missing = unfinished_units(connection, plan)
    if missing:
        observed, expected = f"not the rows of {missing} units", f"{sum(e.rows for e in cut.tables)} rows"
        raise StagingIncomplete(
            object=tables[0].label, observed=observed, expected=expected, backup=plan.backup
        )
    with translated("the session"):
        # Elsewhere rows are read in their order; here they are only counted and summed.
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 2")
    wanted = 0
    for entry, table in zip(cut.tables, tables, strict=True):
        context.deadline.check()
        rows = prove_table(connection, plan, entry, table)
        if needs_whole(plan, table):
            rows = set_wanted_apart(connection, plan, table)
        elif table.where and not filters_while_loading(connection, plan, table):
            rows -= drop_unwanted(connection, plan, table)
        index_table(connection, plan, table)
        wanted += rows
    return wanted
