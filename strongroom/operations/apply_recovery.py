"""Make live agree with the staging tables: the one step of a recovery in place that changes anything."""

import msgspec

from strongroom.config import Settings
from strongroom.errors import StrongroomError
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import ApplyRecovery, ApplyReport
from strongroom.postgres.connection import translate, translated
from strongroom.recovery.applied import COMMITTED, Applied, read_applied
from strongroom.recovery.applying import Applying, CommitUnknown
from strongroom.recovery.comparing import match_tables
from strongroom.recovery.run_journal import require_owner
from strongroom.recovery.sessions import connect_live
from strongroom.repository.opening import open_repository


def apply_recovery(settings: Settings, request: ApplyRecovery, context: Context) -> ApplyReport:
    """Commit the recovery, or raise and have changed nothing. A run that was committed before is not committed again.

    Raises `LockNotObtained`, `LiveMoved`, `ReferencesWouldBreak`, `ValueTaken`, `SchemaDrifted`, `StrategyUnfit`,
    `RecoveryOwnerLost`, `StagingIncomplete`.
    """
    plan = request.plan
    manifest = open_repository(settings, deadline=context.deadline).read_manifest(plan.backup)
    with connect_live(settings, plan, context.deadline) as connection:
        # Only looked at: a lock would take a transaction id, and others' ids are how a busy cluster is known.
        if read_applied(connection, plan) is not None:
            done = _committed(settings, request, context)
            if done is not None:
                return msgspec.structs.replace(done.report, already_done=True)
        tables = match_tables(connection, manifest, plan)
        applying = Applying(connection, plan, request.owner, manifest, tables, settings.recovery, context)
        try:
            return applying.run()
        except CommitUnknown as error:
            return _settle(settings, request, context, error)


def _settle(
    settings: Settings, request: ApplyRecovery, context: Context, unknown: CommitUnknown
) -> ApplyReport:
    """Ask the journal whether the commit on a lost connection was done; it is waited for if it is under way."""
    done = _committed(settings, request, context)
    if done is None:
        raise _lost(unknown) from unknown
    return done.report


def _lost(unknown: CommitUnknown) -> StrongroomError:
    import psycopg

    cause = unknown.__cause__
    return translate(cause if isinstance(cause, psycopg.Error) else psycopg.OperationalError("lost"))


def _committed(settings: Settings, request: ApplyRecovery, context: Context) -> Applied | None:
    """Return what the run has committed, if it has; its row is locked, so that no commit is under way meanwhile."""
    with connect_live(settings, request.plan, context.deadline) as connection, translated("the journal"):
        with connection.transaction():
            run = require_owner(connection, request.plan, request.owner)
        return read_applied(connection, request.plan) if run.state in COMMITTED else None
