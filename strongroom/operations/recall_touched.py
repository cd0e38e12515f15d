"""Recall which rows a run has touched, for its rollback, from the rows that both have staged."""

import time

from strongroom.config import Settings
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import DifferencesReport, RecallTouched
from strongroom.recovery.comparing import match_tables
from strongroom.recovery.recalling import recall_tables
from strongroom.recovery.sessions import connect_live
from strongroom.repository.opening import open_repository


def recall_touched(settings: Settings, request: RecallTouched, context: Context) -> DifferencesReport:
    """Compare the run's backup with its emergency backup, as the run did, and write down what differs.

    Raises `RecoveryOwnerLost`, `StagingIncomplete`, `NothingToRollBack`, and what `read_scope` raises.
    """
    started = time.monotonic()
    plan, undone = request.plan, request.undone
    repository = open_repository(settings, deadline=context.deadline)
    sought, kept = repository.read_manifest(undone.backup), repository.read_manifest(plan.backup)
    with connect_live(settings, plan, context.deadline) as connection:
        wanted = match_tables(connection, sought, undone)
        former = match_tables(connection, kept, plan)
        found = recall_tables(connection, plan, undone, request.owner, wanted, former)
    return DifferencesReport(
        tables=tuple(
            found[table.mapped.number].differences(table.mapped)
            for table in wanted
            if table.mapped.number in found
        ),
        seconds=round(time.monotonic() - started, 3),
    )
