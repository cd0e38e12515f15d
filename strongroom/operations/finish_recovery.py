"""Finish a recovery: store signed what became of it, then remove its staging tables and its journal.

In this order, so that a run which is cut off in between is ended by asking again. A rollback ends the run that it
has undone, and both journals go. A run that can be rolled back has its own backup held meanwhile.
"""

from msgspec.structs import replace

from strongroom.config import Settings
from strongroom.errors import PlanUnfit, RecoveryOwnerLost
from strongroom.format.records import RecoveredTable, RecoveryRecord
from strongroom.operations.context import Context
from strongroom.operations.keeping_for_rollback import keep_for_rollback
from strongroom.operations.recovery_messages import FinishRecovery, RunReport, RunState
from strongroom.postgres.connection import Connection
from strongroom.recovery.run_journal import (
    Run,
    drop_schemas,
    lock_run,
    require_owner,
    set_state,
    set_state_of,
)
from strongroom.recovery.run_records import new_record, newest_records, store_once
from strongroom.recovery.sessions import connect_live
from strongroom.recovery.staging_names import ROLLBACK_SCHEMA, RUN_SCHEMA, SCHEMAS

_ENDS_AS: dict[str, tuple[RunState, ...]] = {
    "recovered": ("committed", "finished"),
    "left": ("committed", "rolling-back"),
    "failed": ("begun", "staged"),
}


def finish_recovery(settings: Settings, request: FinishRecovery, context: Context) -> RunReport:
    """End a run. What was ended before stays as it is; a record that cannot be stored is a finding.

    Raises `RecoveryOwnerLost`, and `PlanUnfit` for an outcome that the journal says is not true.
    """
    plan = request.plan
    ended = plan.undoes or plan.id
    state: RunState = "rolled-back" if request.outcome == "rolled-back" else "finished"
    with connect_live(settings, plan, context.deadline) as connection:
        try:
            with connection.transaction():
                run = _turn(connection, request)
        except RecoveryOwnerLost:
            records, findings = newest_records(settings, context, ended)
            if not records or records[-1].outcome != request.outcome:
                raise
            return RunReport(run=ended, state=state, resumed=True, findings=findings)
        if plan.undoes and request.outcome == "failed":
            # Nothing was undone: the run stays what it was, and can be asked to be undone again.
            drop_schemas(connection, [ROLLBACK_SCHEMA])
            return RunReport(run=run.id, state=run.state, emergency_backup=run.emergency_backup)
        findings = store_once(settings, context, _record(request, run, context))
        if request.outcome in {"recovered", "left"}:
            findings += keep_for_rollback(settings, run, context)
        drop_schemas(connection, SCHEMAS if plan.undoes else [RUN_SCHEMA])
    return RunReport(run=run.id, state=state, emergency_backup=run.emergency_backup, findings=findings)


def _turn(connection: Connection, request: FinishRecovery) -> Run:
    """Check that the outcome is true, write into the journal that the end has begun; return the run that ends."""
    plan, outcome = request.plan, request.outcome
    run = require_owner(connection, plan, request.owner)
    if plan.undoes:
        return _turn_undone(connection, request, run)
    if run.state not in _ENDS_AS.get(outcome, ()):
        raise PlanUnfit(plan=plan.id, reason=f"it is {run.state}, and cannot end as {outcome}")
    if outcome == "recovered":
        set_state(connection, plan, "finished")
    return run


def _turn_undone(connection: Connection, request: FinishRecovery, run: Run) -> Run:
    """Do the same for a rollback, whose end is the end of the run that it undoes."""
    plan, outcome = request.plan, request.outcome
    undone = lock_run(connection, RUN_SCHEMA)
    if undone is None or undone.id != plan.undoes:
        raise RecoveryOwnerLost(run=plan.undoes)
    has_changed = run.state in {"committed", "finished"}
    if outcome == "rolled-back" and has_changed:
        set_state(connection, plan, "finished")
        set_state_of(connection, RUN_SCHEMA, undone.id, "rolled-back")
    elif outcome == "failed" and not has_changed:
        set_state_of(connection, RUN_SCHEMA, undone.id, "committed")
    else:
        raise PlanUnfit(plan=plan.id, reason=f"it is {run.state}, and cannot end as {outcome}")
    return undone


def _record(request: FinishRecovery, run: Run, context: Context) -> RecoveryRecord:
    """Return the record of the run that ends, with its own plan."""
    applied = request.applied
    return replace(
        new_record(run.plan, request.outcome, context),
        emergency_backup=run.emergency_backup or request.emergency_backup,
        approved_by=request.approved_by,
        tables=tuple(
            RecoveredTable(table=t.table, inserts=t.inserts, changes=t.changes, deletes=t.deletes)
            for t in (applied.tables if applied else ())
        ),
        seconds=round(request.seconds, 3),
        lock_seconds=round(applied.lock_seconds, 3) if applied else 0.0,
        findings=(*request.findings, *(applied.findings if applied else ())),
    )
