"""Note in the run's journal which backup it can be rolled back to."""

from strongroom.config import Settings
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import NoteEmergencyBackup, RunReport
from strongroom.recovery.run_journal import require_owner, set_emergency_backup
from strongroom.recovery.sessions import connect_live


def note_emergency_backup(settings: Settings, request: NoteEmergencyBackup, context: Context) -> RunReport:
    """Write the emergency backup down. The first one stays: it is from before anything was changed.

    Raises `RecoveryOwnerLost`.
    """
    plan = request.plan
    with connect_live(settings, plan, context.deadline) as connection, connection.transaction():
        run = require_owner(connection, plan, request.owner)
        backup = run.emergency_backup or request.backup
        set_emergency_backup(connection, plan, backup)
    return RunReport(run=run.id, state=run.state, owner=run.owner, resumed=True, emergency_backup=backup)
