"""Clean up after a recovery that is no longer under way: remove its staging tables and its journal."""

from msgspec.structs import replace

from strongroom.config import Settings
from strongroom.errors import RecoveryUnderWay
from strongroom.format.documents import Finding
from strongroom.format.records import RecoveryOutcome
from strongroom.operations.context import Context
from strongroom.operations.keeping_for_rollback import keep_for_rollback
from strongroom.operations.recovery_messages import CleanRecovery, CleanReport, RunState
from strongroom.recovery.run_journal import (
    Run,
    drop_schemas,
    lock_run,
    present_schemas,
    read_run,
    take_right,
)
from strongroom.recovery.run_records import new_record, newest_records, store_once
from strongroom.recovery.sessions import connect_live
from strongroom.recovery.staging_names import ROLLBACK_SCHEMA, RUN_SCHEMA
from strongroom.recovery_story import is_preview

_LEFT_AS: dict[RunState, RecoveryOutcome] = {
    "begun": "failed",
    "staged": "failed",
    "committed": "left",
    "rolling-back": "left",
    "rolled-back": "rolled-back",
    "finished": "recovered",
}
_CHANGED = ("left", "recovered")


def clean_recovery(settings: Settings, request: CleanRecovery, context: Context) -> CleanReport:  # noqa: ARG001  (as all operations)
    """Remove both schemas of recoveries, at once; a commit that is under way in the server is waited for.

    What was committed stays. Afterwards the run cannot go on; rolled back it can still be, from its record, if that
    could be stored. Raises `RecoveryUnderWay`.
    """
    findings: tuple[Finding, ...] = ()
    with connect_live(settings, None, context.deadline) as connection:
        if not take_right(connection):
            under_way = read_run(connection, RUN_SCHEMA)
            raise RecoveryUnderWay(run=under_way.id if under_way else "of somebody else")
        with connection.transaction():
            run = lock_run(connection, RUN_SCHEMA)
            undoing = lock_run(connection, ROLLBACK_SCHEMA)
            outcome: RecoveryOutcome = _LEFT_AS[run.state] if run else "failed"
            if undoing is not None and undoing.state in {"committed", "finished"}:
                # The rollback had given everything back, and was cut off before it could say so.
                outcome = "rolled-back"
            if run is not None and not is_preview(run.id):
                findings = _record(settings, context, run, outcome)
                if outcome in _CHANGED:
                    findings += keep_for_rollback(settings, run, context)
            removed = present_schemas(connection)
            drop_schemas(connection, removed)
    return CleanReport(
        removed=removed,
        run=run.id if run else "",
        changed=run is not None and outcome in _CHANGED,
        findings=findings,
    )


def _record(settings: Settings, context: Context, run: Run, outcome: RecoveryOutcome) -> tuple[Finding, ...]:
    """Store what became of a run, unless it had ended before, and only its rollback was given up."""
    earlier, findings = newest_records(settings, context, run.id)
    if outcome == "left" and earlier and earlier[-1].outcome in _CHANGED:
        return findings
    record = replace(new_record(run.plan, outcome, context), emergency_backup=run.emergency_backup)
    return store_once(settings, context, record)
