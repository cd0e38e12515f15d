"""Holding what a recovery can be taken back by: its own backup stays for as long as its emergency backup does.

Which rows a run that has ended has touched is found out again from the two (see `strongroom.recovery.recalling`).
"""

from strongroom.config import Settings
from strongroom.errors import FormatError, KeyringError, RepositoryError, StoreError
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
from strongroom.operations.context import Context
from strongroom.operations.hold_backup import record_hold
from strongroom.operations.retention_policy import policy_of
from strongroom.recovery.run_journal import Run
from strongroom.repository.inventory import read_holds
from strongroom.repository.opening import open_repository


def keep_for_rollback(settings: Settings, run: Run, context: Context) -> tuple[Finding, ...]:
    """Hold the backup of a run that has changed live, unless somebody holds it that long already.

    Without an emergency backup there is no way back, and nothing is held. A hold that cannot be written down is a
    warning: the recovery itself is done.
    """
    backup = run.plan.backup
    stays = max(location.rules.emergency for location in policy_of(settings).locations)
    if not (run.emergency_backup and stays):
        return ()
    until = context.clock() + stays
    reason = f"taking back the recovery {run.plan.id} needs it"
    try:
        repository = open_repository(settings, deadline=context.deadline)
        if any(hold.until is None or hold.until >= until for hold in read_holds(repository, backup)):
            return ()
        return record_hold(settings, backup, "hold", until, reason, context).findings
    except (StoreError, RepositoryError, KeyringError, FormatError) as error:
        return (finding_of(error, f"the hold of backup {backup}", "warning"),)
