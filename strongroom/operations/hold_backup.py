"""Hold a backup: it stays whatever the policy says, until an instant or until it is released."""

import datetime as dt
from contextlib import suppress

from strongroom.config import Settings
from strongroom.errors import FormatError, KeyringError, ObjectMissing
from strongroom.format.documents import FORMAT
from strongroom.format.records import HoldAction, HoldRecord
from strongroom.identity import current_user
from strongroom.operations.context import Context
from strongroom.operations.location_messages import HoldBackup, HoldReport
from strongroom.repository import layout
from strongroom.repository.locations import open_locations
from strongroom.repository.opening import newest_backup, open_repository
from strongroom.repository.records import write_everywhere

_LATER = dt.timedelta(milliseconds=1)


def hold_backup(settings: Settings, request: HoldBackup, context: Context) -> HoldReport:
    """Write down, at every location, that a backup is held. Raises `UnknownBackup`, `NoBackupYet`.

    A location that does not take the record is a finding; it catches up when backups are copied there.
    """
    return record_hold(settings, request.backup, "hold", request.until, request.reason, context)


def record_hold(
    settings: Settings,
    backup: str,
    action: HoldAction,
    until: dt.datetime | None,
    reason: str,
    context: Context,
) -> HoldReport:
    """Write a hold or a release down at every location."""
    repository = open_repository(settings, deadline=context.deadline)
    if backup == "latest":
        backup = newest_backup(repository)
    # A hold of what is not listed anywhere would promise something that nobody can keep.
    repository.read_manifest(backup)
    said = []
    for name in repository.record_names(f"{layout.HOLDS}{backup}/"):
        # One that cannot be believed stops retention, and must not stop anybody from holding.
        with suppress(FormatError, KeyringError, ObjectMissing):
            said.append(repository.read_record(HoldRecord, name).at)
    record = HoldRecord(
        format=FORMAT,
        # The last word counts, and must come last though it be said on a machine whose clock is behind.
        at=max([context.clock(), *(at + _LATER for at in said)]),
        backup=backup,
        action=action,
        reason=reason,
        by=current_user(),
        until=until,
    )
    locations, findings = write_everywhere(
        open_locations(settings, context.deadline), repository.keyring, record, context.random
    )
    return HoldReport(
        backup=backup,
        held=action == "hold",
        until=until,
        reason=reason,
        locations=locations,
        findings=findings,
    )
