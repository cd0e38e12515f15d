"""Runs that have ended, and that somebody wants to roll back all the same: what their records say of that.

    record = find_ended(settings, context, "recovery-…")      # raises why not
    with connection.transaction():
        reopen_run(connection, record, owner, "somebody@somewhere")

A run's end has removed its journal. It is opened again from the record, as that of a run which is being rolled back,
so that everything after that, being cut off included, is as if it had not ended.
"""

import shlex

from strongroom.config import Settings
from strongroom.errors import NothingToRollBack, UnknownBackup, UnknownRun
from strongroom.format.records import RecoveryRecord
from strongroom.operations.context import Context
from strongroom.postgres.connection import Connection
from strongroom.recovery.planning.scope import write_scoped_table
from strongroom.recovery.run_journal import open_run, set_emergency_backup, set_state
from strongroom.recovery.run_records import newest_records
from strongroom.repository.opening import open_repository

_HAS_CHANGED = ("recovered", "left")

_NAMED = 6
"""Of a run with more tables than this, they are not all put into the command that is proposed."""


def find_ended(settings: Settings, context: Context, run: str) -> RecoveryRecord:
    """Return the record of a run that has ended, and that can be rolled back.

    Raises `UnknownRun`, and `NothingToRollBack` if it has changed nothing, is rolled back already, has no emergency
    backup, if a later run has touched the same tables, or if its own backup is gone.
    """
    # All are read and looked through: what somebody typed may be no part of a name.
    records, _ = newest_records(settings, context)
    record = next((one for one in records if one.plan.id == run), None)
    if record is None:
        raise UnknownRun(run=run)
    _require_changed(record)
    if not record.emergency_backup:
        raise NothingToRollBack(run=run, reason="it was carried out without an emergency backup")
    later = [one.plan.id for one in records if _is_later(one, record)]
    if later:
        reason = f"{later[-1]} came after it and changed the same tables, and has to be rolled back first"
        raise NothingToRollBack(run=run, reason=reason)
    try:
        open_repository(settings, deadline=context.deadline).read_manifest(record.plan.backup)
    except UnknownBackup as error:
        reason = (
            f"it has ended, and the backup {record.plan.backup} that it recovered from, which tells the rows that it"
            f" touched, is not listed any more; `{_instead(record)}` shows what going back to its emergency backup"
            " as a whole would do"
        )
        raise NothingToRollBack(run=run, reason=reason) from error
    return record


def reopen_run(connection: Connection, record: RecoveryRecord, owner: str, by: str) -> None:
    """Open the run's journal again, in the caller's transaction, as that of a run which is being rolled back."""
    open_run(connection, record.plan, owner, by)
    set_emergency_backup(connection, record.plan, record.emergency_backup)
    set_state(connection, record.plan, "rolling-back")


def _require_changed(record: RecoveryRecord) -> None:
    reason = ""
    if record.outcome == "failed":
        reason = "it has changed nothing"
    elif record.outcome == "rolled-back":
        reason = "it is rolled back already"
    elif record.outcome not in _HAS_CHANGED:
        reason = "its journal is gone from the live database, and how it ended is not recorded"
        if record.emergency_backup:
            reason += f"; `{_instead(record)}` shows what going back to its emergency backup would do"
    if reason:
        raise NothingToRollBack(run=record.plan.id, reason=reason)


def _is_later(one: RecoveryRecord, than: RecoveryRecord) -> bool:
    """Tell whether a run has changed tables of another one, after that."""
    if one.plan.id == than.plan.id or one.outcome not in _HAS_CHANGED:
        return False
    # Taken just before anything was changed; ids of backups sort by time.
    own, other = one.emergency_backup, than.emergency_backup
    came_after = own > other if own else one.at > than.at
    tables = {table.label for table in than.plan.tables}
    return came_after and any(table.label in tables for table in one.plan.tables)


def _instead(record: RecoveryRecord) -> str:
    words = ["strongroom", "recover", "plan", "custom", "--preview", "--backup", record.emergency_backup]
    # All tables of the user's are what is in scope by itself.
    for table in record.plan.tables if len(record.plan.tables) <= _NAMED else ():
        words += ["--table", write_scoped_table(table)]
    return shlex.join(words)
