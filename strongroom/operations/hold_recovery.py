"""Hold a recovery: take the right to recover the database, open the run's journal there, and wait.

Held by one process at a time, for as long as its session lives. What it announces carries the `owner`, which the
operations of this holder show; a holder that was cut off has lost it to the next one.
"""

import threading
from dataclasses import replace

from strongroom.config import Settings
from strongroom.errors import (
    NothingToRollBack,
    PlanUnfit,
    RecoveryInterrupted,
    RecoveryOwnerLost,
    RecoveryRightMissing,
    RecoveryUnderWay,
)
from strongroom.format.documents import Finding
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.identity import current_user
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import HoldRecovery, RunReport
from strongroom.postgres.connection import Connection, translated
from strongroom.recovery.applied import COMMITTED
from strongroom.recovery.comparing import is_forgotten
from strongroom.recovery.ended_runs import find_ended, reopen_run
from strongroom.recovery.run_journal import (
    give_up_right,
    has_right,
    lock_run,
    open_run,
    read_run,
    set_owner_of,
    set_state_of,
    take_right,
)
from strongroom.recovery.run_records import new_record, newest_records, store_once
from strongroom.recovery.scope import role_of
from strongroom.recovery.sessions import connect_live, require_writable
from strongroom.recovery.staging_names import RUN_SCHEMA, schema_of
from strongroom.recovery_story import is_preview

_LOOK_SECONDS = 1.0
_CAN_BE_UNDONE = ("committed", "rolling-back", "finished")


def hold_recovery(settings: Settings, request: HoldRecovery, context: Context) -> RunReport:
    """Announce the run and hold it until released. A plan that was begun before goes on where its journal says.

    One that was carried out to its end, and has nothing left to do, is announced as `finished`. Raises
    `RecoveryUnderWay`, `RecoveryInterrupted` for another plan's run, `NothingToRollBack`, `PlanUnfit`,
    `DestinationReadOnly`, `RecoveryRightMissing`, and `RecoveryOwnerLost` if the right is lost while it is held.
    """
    plan = request.plan
    _require_fit(plan)
    with connect_live(settings, plan, context.deadline) as connection:
        require_writable(connection)
        if not take_right(connection):
            run = read_run(connection, RUN_SCHEMA)
            raise RecoveryUnderWay(run=run.id if run else "of somebody else")
        report = _begin(connection, settings, plan, context)
        context.announce(report)
        _wait(connection, plan, context)
        give_up_right(connection)
    return report


def _require_fit(plan: RecoveryPlan) -> None:
    """Raise `PlanUnfit` for a plan that is not one of a recovery in place."""
    names = [table.label for table in plan.tables]
    reason = ""
    if plan.destination == "throw-away" or plan.strategy == "empty":
        reason = "it is for an empty destination, and this is a recovery in place"
    elif not names:
        reason = "it has no tables"
    elif len(set(names)) < len(names):
        reason = "it names a table twice"
    if reason:
        raise PlanUnfit(plan=plan.id, reason=reason)


def _begin(connection: Connection, settings: Settings, plan: RecoveryPlan, context: Context) -> RunReport:
    """Open the journal, or find that there is nothing left to do."""
    findings: tuple[Finding, ...] = ()
    forgotten: RecoveryPlan | None = None
    owner = context.random(16).hex()
    if plan.undoes:
        forgotten = _turn_round(connection, settings, plan, owner, context)
    elif read_run(connection, schema_of(plan)) is None:
        records, findings = newest_records(settings, context, plan.id)
        if records and records[-1].outcome == "recovered":
            return RunReport(run=plan.id, state="finished", resumed=True, findings=findings)
        if records and records[-1].outcome in {"rolled-back", "left"}:
            raise PlanUnfit(plan=plan.id, reason=f"it was carried out and ended as {records[-1].outcome}")
    _require_right_to_make(connection)
    run, was_there = open_run(connection, plan, owner, current_user())
    if not plan.undoes and not is_preview(plan.id) and run.state in {"begun", "staged"}:
        findings = (*findings, *store_once(settings, context, new_record(plan, "begun", context)))
    return RunReport(
        run=run.id,
        state=run.state,
        owner=run.owner,
        resumed=was_there,
        emergency_backup=run.emergency_backup,
        findings=findings,
        forgotten=None if run.state in COMMITTED else forgotten,
    )


def _turn_round(
    connection: Connection, settings: Settings, plan: RecoveryPlan, owner: str, context: Context
) -> RecoveryPlan | None:
    """Write into the journal of the run that is to be undone that this has begun; of one that has ended, open it again.

    Returns that run's plan if which rows it touched has to be found out again. Raises `RecoveryInterrupted` for another
    run's journal, `UnknownRun` and `NothingToRollBack`.
    """
    ended = None
    if read_run(connection, RUN_SCHEMA) is None:
        ended = find_ended(settings, context, plan.undoes)
        _require_right_to_make(connection)
    with connection.transaction():
        if ended is not None:
            reopen_run(connection, ended, owner, current_user())
        undone = lock_run(connection, RUN_SCHEMA)
        if undone is None:
            raise NothingToRollBack(run=plan.undoes, reason="its journal has just been removed")
        if undone.id != plan.undoes:
            raise RecoveryInterrupted(run=undone.id, state=undone.state)
        if undone.state not in _CAN_BE_UNDONE:
            reason = "it is rolled back already"
            if undone.state != "rolled-back":
                reason = f"it has changed nothing (it is {undone.state})"
            raise NothingToRollBack(run=plan.undoes, reason=reason)
        set_state_of(connection, RUN_SCHEMA, undone.id, "rolling-back")
        # Whatever the run itself may still have ordered is refused from now on.
        set_owner_of(connection, RUN_SCHEMA, undone.id, owner)
    return undone.plan if is_forgotten(connection, replace(undone, state="rolling-back")) else None


def _require_right_to_make(connection: Connection) -> None:
    with translated("the live database"):
        row = connection.execute(
            "SELECT has_database_privilege(current_database(), 'CREATE'), current_database()::text"
        ).fetchone()
    may, database = row or (False, "")
    if not may:
        raise RecoveryRightMissing(
            role=role_of(connection), object=f"database {database}", right="create a schema in it"
        )


def _wait(connection: Connection, plan: RecoveryPlan, context: Context) -> None:
    """Wait for the release, and look every second whether the session still has the right."""
    released = threading.Event()
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            context.wait_for_release()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that holds
            raised.append(error)
        finally:
            released.set()

    threading.Thread(target=wait, name="release", daemon=True).start()
    while not released.wait(_LOOK_SECONDS):
        context.deadline.check()
        _require_held(connection, plan)
    if raised:
        raise raised[0]


def _require_held(connection: Connection, plan: RecoveryPlan) -> None:
    if not has_right(connection):
        raise RecoveryOwnerLost(run=plan.id)
