"""Damage the database that a drill has restored, in one way, and see whether the integrity suites notice it.

The destination must be the drill's own: whoever calls this has made it.
"""

import time

from strongroom.config import Settings
from strongroom.drill.database_damage import find_database_damage, notice_in_database
from strongroom.format.records import DamageOutcome
from strongroom.operations.context import Context
from strongroom.operations.drill_messages import DamageDatabase, DamageReport
from strongroom.operations.judge_restore import judge_restore
from strongroom.operations.messages import JudgeRestore
from strongroom.postgres.connection import connect
from strongroom.repository.opening import open_repository

_LEVEL = "restore"


def damage_database(settings: Settings, request: DamageDatabase, context: Context) -> DamageReport:
    """Damage the destination, judge it, and report what noticed.

    Where there is nothing to damage in this way, the outcome says so, and level is empty: it counts for nothing.
    Raises what connecting and judging raise.
    """
    started = time.monotonic()
    damage = find_database_damage(request.damage)
    manifest = open_repository(settings, deadline=context.deadline).read_manifest(request.backup)
    conninfo = settings.destination_conninfo()
    with connect(conninfo, context.deadline, application_name="strongroom drill") as connection:
        trace = damage.do(connection, manifest, context.random)
    if trace is None:
        outcome = DamageOutcome(
            damage=damage.name, observed="the database has nothing of this kind to damage"
        )
        return DamageReport(outcome=outcome, level="")
    judged = judge_restore(settings, JudgeRestore(backup=request.backup), context)
    noticed_by = notice_in_database(damage, trace, request.known, judged.findings)
    observed = trace.done
    if not noticed_by:
        observed += "; the suites " + ("passed" if judged.passed else "failed, but not because of it")
    return DamageReport(
        outcome=DamageOutcome(damage=damage.name, noticed_by=noticed_by, observed=observed),
        level=_LEVEL,
        seconds=round(time.monotonic() - started, 3),
        findings=judged.findings,
    )
