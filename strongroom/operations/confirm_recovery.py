"""Confirm a recovery after its commit: compare live with the staging tables once more."""

from strongroom.config import Settings
from strongroom.errors import PlanUnfit
from strongroom.format.documents import Finding
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import ConfirmRecovery, ConfirmReport
from strongroom.recovery.applied import read_applied
from strongroom.recovery.comparing import match_tables
from strongroom.recovery.confirming import Confirmed, confirm_tables
from strongroom.recovery.sessions import connect_live
from strongroom.repository.opening import open_repository


def confirm_recovery(settings: Settings, request: ConfirmRecovery, context: Context) -> ConfirmReport:
    """Tell whether any row differs that nobody has written since. Raises `PlanUnfit` if nothing was committed."""
    plan = request.plan
    manifest = open_repository(settings, deadline=context.deadline).read_manifest(plan.backup)
    with connect_live(settings, plan, context.deadline) as connection:
        applied = read_applied(connection, plan)
        if applied is None:
            raise PlanUnfit(plan=plan.id, reason="it has not committed anything that could be confirmed")
        tables = match_tables(connection, manifest, plan)
        found = confirm_tables(connection, plan, tables, applied, lock_timeout=settings.recovery.lock_timeout)
    differing = sum(one.differing for one in found)
    return ConfirmReport(
        passed=not differing,
        differing=differing,
        written_since=sum(one.written_since for one in found),
        rows_compared=sum(one.rows for one in found),
        findings=tuple(_finding(one) for one in found if one.differing),
    )


def _finding(confirmed: Confirmed) -> Finding:
    return Finding(
        severity="critical",
        code="not-as-recovered",
        object=confirmed.label,
        expected="every row as it was recovered, but for those written since",
        observed=f"{confirmed.differing} rows differ that nobody is known to have written since",
        advice="A trigger for replicas, or something that writes beside the database's own rules.",
    )
