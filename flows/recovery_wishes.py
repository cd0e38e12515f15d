"""From the words of a form or a command line to what a plan is asked for, and to a plan that was made before."""

import datetime as dt
from collections.abc import Sequence

from msgspec.structs import replace

from strongroom.config import Settings
from strongroom.errors import CommandMisused, EmergencyBackupNeeded, PlanUnfit
from strongroom.format.codec import decode_json
from strongroom.format.recovery_plans import RecoveryPlan, ScopedTable
from strongroom.operations.recovery_messages import PlanRecovery
from strongroom.recovery.planning.scope import read_scoped_table

_COMMAND = "strongroom recover run"


def scoped_tables(tables: Sequence[str]) -> tuple[ScopedTable, ...]:
    """Read `schema.table` or `schema.table where condition`; names may be quoted. Raises `CommandMisused`."""
    return tuple(_scoped_table(words) for words in tables)


def instant(words: str) -> dt.datetime | None:
    """Read an ISO 8601 instant, UTC unless it says otherwise; nothing for nothing. Raises `CommandMisused`."""
    if not words.strip():
        return None
    try:
        read = dt.datetime.fromisoformat(words.strip())
    except ValueError:
        raise CommandMisused(
            problem=f"{words!r} is no instant such as 2026-11-01T12:00Z.", command=_COMMAND
        ) from None
    return read.replace(tzinfo=dt.UTC) if read.tzinfo is None else read.astimezone(dt.UTC)


def stored_plan(settings: Settings, text: str, options: PlanRecovery) -> RecoveryPlan:
    """Read a plan that was made before, with what is asked for now on top of it.

    An option may make the plan louder and less careful, never more careful than it says: both are recorded. Raises
    `PlanUnfit` for the plan of another source, `MalformedDocument` or `NewerFormat` for what is none.
    """
    plan = decode_json(RecoveryPlan, text.encode(), "the given plan")
    if plan.source != settings.source.name:
        raise PlanUnfit(plan=plan.id, reason=f"it was made for {plan.source}, not for {settings.source.name}")
    return replace(
        plan,
        force=plan.force or options.force,
        skip_verification=plan.skip_verification or options.skip_verification,
        emergency_backup=plan.emergency_backup and options.emergency_backup,
        rollback_on_error=plan.rollback_on_error and options.rollback_on_error,
        rollback_strategy=options.rollback_strategy or plan.rollback_strategy,
    )


def require_way_back(plan: RecoveryPlan) -> None:
    """Raise `EmergencyBackupNeeded` if a recovery in place is to be without a way back, and nobody forced it."""
    if plan.destination == "source" and not plan.emergency_backup and not plan.force:
        raise EmergencyBackupNeeded


def _scoped_table(words: str) -> ScopedTable:
    try:
        return read_scoped_table(words)
    except ValueError as error:
        raise CommandMisused(problem=str(error), command=_COMMAND) from None
