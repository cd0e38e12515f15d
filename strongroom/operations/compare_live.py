"""Compare the live tables with the staging tables: what a recovery would insert, change and delete."""

import time
from collections.abc import Iterator, Sequence

from strongroom.config import Settings
from strongroom.format.documents import Finding
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import CompareLive, DifferencesReport
from strongroom.recovery.applied import read_applied
from strongroom.recovery.comparing import Compared, compare_tables, match_tables, touched_rows
from strongroom.recovery.comparison import Matched
from strongroom.recovery.sessions import connect_live
from strongroom.repository.opening import open_repository


def compare_live(settings: Settings, request: CompareLive, context: Context) -> DifferencesReport:
    """Find what differs at one instant, and write it down in the recovery's schema. Live is only read.

    Of a run that was committed, what it has touched is returned: a rollback goes by it, so it is not compared again.
    Raises `RecoveryOwnerLost`, `StagingIncomplete`, `LockNotObtained`, `PlanUnfit`, and what `read_scope` raises.
    """
    started = time.monotonic()
    plan = request.plan
    manifest = open_repository(settings, deadline=context.deadline).read_manifest(plan.backup)
    with connect_live(settings, plan, context.deadline) as connection:
        applied = read_applied(connection, plan)
        if applied is not None:
            return DifferencesReport(tables=applied.report.tables)
        tables = match_tables(connection, manifest, plan)
        limited = set(touched_rows(connection, plan, [table.mapped for table in tables]))
        compared = compare_tables(
            connection, plan, request.owner, tables, lock_timeout=settings.recovery.lock_timeout
        )
    findings = [*_findings(tables, compared)]
    if plan.undoes:
        findings += [_not_limited(table) for table in tables if table.mapped.number not in limited]
    return DifferencesReport(
        tables=tuple(one.differences(t.mapped) for t, one in zip(tables, compared, strict=True)),
        seconds=round(time.monotonic() - started, 3),
        findings=tuple(findings),
    )


def _findings(tables: Sequence[Matched], compared: Sequence[Compared]) -> Iterator[Finding]:
    for table, found in zip(tables, compared, strict=True):
        if found.since:
            yield Finding(
                severity="warning",
                code="rows-written-since",
                object=table.mapped.label,
                expected="no rows that are newer than the recovery point",
                observed=f"{found.since} of the {found.deletes} rows that will be deleted are",
                advice="Most likely they are the application's own. Both merge strategies keep them.",
            )
        if not table.mapped.key and table.strategy == "merge_overwrite" and found.inserts and found.kept:
            yield Finding(
                severity="warning",
                code="no-key",
                object=table.mapped.label,
                expected="a key by which a changed row is known",
                observed="rows are matched by all that is in them",
                advice="A row that was changed comes back beside the changed one. `exact` does not leave both.",
            )


def _not_limited(table: Matched) -> Finding:
    return Finding(
        severity="warning",
        code="rollback-of-all",
        object=table.mapped.label,
        expected="the list of rows that the recovery has touched",
        observed="it is not there any more",
        advice="All rows go back to the emergency backup, also those that the application has written since.",
    )
