"""Plan the rollback of a recovery: back to what live held before it, from its emergency backup.

Of a run that was cut off or has failed the journal in the live database says what there is to undo; of one that has
ended, its record in the repository does. Either way only the rows that it touched are given back.
"""

from strongroom.config import Settings
from strongroom.errors import NothingToRollBack, UnknownBackup
from strongroom.format.records import RecoveryRecord
from strongroom.operations.context import Context
from strongroom.operations.plan_recovery import policy_of
from strongroom.operations.recovery_messages import PlanRollback, RecoveryPlanReport
from strongroom.recovery.ended_runs import find_ended
from strongroom.recovery.planning import plan as planning
from strongroom.recovery.run_journal import Run, read_run
from strongroom.recovery.sessions import connect_live
from strongroom.recovery.staging_names import RUN_SCHEMA
from strongroom.repository.opening import open_repository


def plan_rollback(settings: Settings, request: PlanRollback, context: Context) -> RecoveryPlanReport:
    """Make the plan, the same each time. Raises `UnknownRun`, `NothingToRollBack`, and what connecting raises."""
    run = _find_run(settings, request.run, context)
    if not run.emergency_backup:
        raise NothingToRollBack(run=request.run, reason="it was carried out without an emergency backup")
    try:
        manifest = open_repository(settings, deadline=context.deadline).read_manifest(run.emergency_backup)
    except UnknownBackup as error:
        reason = f"its emergency backup {run.emergency_backup} is not listed any more"
        raise NothingToRollBack(run=request.run, reason=reason) from error
    return RecoveryPlanReport(plan=planning.plan_rollback(run.plan, manifest, policy_of(settings)))


def _find_run(settings: Settings, wanted: str, context: Context) -> Run | RecoveryRecord:
    """Return the run as its journal or its record says, if it has committed and is not undone yet."""
    with connect_live(settings, None, context.deadline) as connection:
        run = read_run(connection, RUN_SCHEMA)
    if run is None or run.id != wanted:
        return find_ended(settings, context, wanted)
    match run.state:
        case "begun" | "staged":
            raise NothingToRollBack(run=wanted, reason="it has changed nothing")
        case "rolled-back":
            raise NothingToRollBack(run=wanted, reason="it is rolled back already")
        case _:
            return run
