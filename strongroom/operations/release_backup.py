"""Release a backup: from now on the policy decides about it again."""

from strongroom.config import Settings
from strongroom.errors import UnknownHold
from strongroom.operations.context import Context
from strongroom.operations.hold_backup import record_hold
from strongroom.operations.location_messages import HoldReport, ReleaseBackup
from strongroom.repository.inventory import read_holds
from strongroom.repository.opening import newest_backup, open_repository


def release_backup(settings: Settings, request: ReleaseBackup, context: Context) -> HoldReport:
    """End a hold. Raises `UnknownHold` if the backup is not held, `UnknownBackup`, `NoBackupYet`."""
    repository = open_repository(settings, deadline=context.deadline)
    backup = newest_backup(repository) if request.backup == "latest" else request.backup
    if all(
        hold.backup != backup or not hold.lasts(context.clock()) for hold in read_holds(repository, backup)
    ):
        raise UnknownHold(backup=backup)
    return record_hold(settings, backup, "release", None, "", context)
