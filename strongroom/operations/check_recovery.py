"""Check a recovery in place: everything that can be known before anything is written."""

from collections.abc import Iterator
from typing import Any, Literal

from strongroom.config import Settings
from strongroom.errors import RecoveryRightMissing
from strongroom.format.documents import Finding, Manifest
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import CheckRecovery, MappedBrief, RecoveryCheckReport
from strongroom.postgres.connection import Connection, translated
from strongroom.recovery.mapping import MappedTable
from strongroom.recovery.scope import read_scope, role_of
from strongroom.recovery.sessions import connect_live, require_writable, triggers_are_off
from strongroom.repository.opening import open_repository

_LONG_SECONDS = 5

_IDENTITY = """
SELECT (SELECT system_identifier::text FROM pg_control_system()),
       (SELECT oid::int8 FROM pg_database WHERE datname = current_database())
"""

# Whatever conflicts with the lock that the recovery takes. A prepared transaction has no process, and of another
# role's session a role without pg_read_all_stats sees the process id only: then only strong locks are told.
_HOLDERS = """
SELECT l.pid, coalesce(a.application_name, ''), coalesce(a.state, ''),
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8,
       array_agg(DISTINCT l.relation::regclass::text ORDER BY l.relation::regclass::text)
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY (%s) AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
  AND coalesce(a.backend_type, '') <> 'autovacuum worker'
  AND (l.pid IS NULL OR clock_timestamp() - a.xact_start > make_interval(secs => %s)
       OR a.state LIKE 'idle in transaction%%' OR (a.xact_start IS NULL AND l.mode <> 'RowExclusiveLock'))
GROUP BY 1, 2, 3, 4 ORDER BY 4 DESC NULLS LAST
"""


def check_recovery(settings: Settings, request: CheckRecovery, context: Context) -> RecoveryCheckReport:
    """Match the tables in scope with the live ones, and name what somebody should know before.

    Raises what makes the recovery impossible: `DestinationReadOnly`, `RecoveryRightMissing`, and what `read_scope`
    raises. Nothing is written.
    """
    plan = request.plan
    # For rows: a wrong passphrase is told now, not after an emergency backup was taken.
    repository = open_repository(settings, to_read_rows=True, deadline=context.deadline)
    manifest = repository.read_manifest(plan.backup)
    with connect_live(settings, plan, context.deadline) as connection:
        require_writable(connection)
        tables = read_scope(connection, manifest, plan)
        mode = _trigger_mode(connection, tables)
        findings = [
            *_other_database(connection, manifest),
            *(finding for table in tables for finding in _columns(table)),
            *(finding for table in tables for finding in _always(table)),
            *_holders(connection, tables),
        ]
    return RecoveryCheckReport(
        tables=tuple(
            MappedBrief(
                table=table.label,
                columns=len(table.columns),
                left_out=table.left_out,
                kept=table.kept,
                key=table.key,
            )
            for table in tables
        ),
        triggers=mode,
        findings=tuple(findings),
    )


def _trigger_mode(connection: Connection, tables: tuple[MappedTable, ...]) -> Literal["replica", "disabled"]:
    """Tell what keeps triggers from acting. Raises `RecoveryRightMissing` if nothing can."""
    if triggers_are_off(connection):
        return "replica"
    foreign = next((table for table in tables if not table.live.is_owner), None)
    if foreign is not None:
        right = "set session_replication_role, nor, not being the table's owner, disable its triggers"
        raise RecoveryRightMissing(role=role_of(connection), object=foreign.label, right=right)
    return "disabled"


def _other_database(connection: Connection, manifest: Manifest) -> Iterator[Finding]:
    with translated("the live database"):
        row = connection.execute(_IDENTITY).fetchone()
    if row != (manifest.snapshot.system_identifier, manifest.snapshot.database_oid):
        yield Finding(
            severity="warning",
            code="other-database",
            object=f"database {connection.info.dbname}",
            expected=f"the database {manifest.snapshot.database} that the backup was taken of",
            observed="another one, or one that was restored since",
            advice="Make sure that this is the project that you mean to recover.",
        )


def _columns(table: MappedTable) -> Iterator[Finding]:
    """Name the columns that only one side has."""
    live = {column.name for column in table.live.columns}
    for name in table.left_out:
        is_there = name in live
        yield Finding(
            severity="warning",
            code="column-generated-now" if is_there else "column-left-out",
            object=f"{table.label}.{name}",
            expected="the column of the backup",
            observed="live computes it now" if is_there else "the live table does not have it",
            advice="Its values in the backup are not put back.",
        )
    for name in table.kept:
        yield Finding(
            severity="warning",
            code="column-kept",
            object=f"{table.label}.{name}",
            expected="a column that the backup has values of",
            observed="it is new, or was computed when the backup was taken",
            advice="Rows that are changed keep their value, rows that are inserted get the default."
            if table.key
            else "The table has no key: rows that differ are deleted and inserted, and get the default.",
        )


def _always(table: MappedTable) -> Iterator[Finding]:
    """Name triggers and rules that act though the session is a replica."""
    for kind, names in (("trigger", table.live.always_triggers), ("rule", table.live.always_rules)):
        for name in names:
            yield Finding(
                severity="warning",
                code=f"always-{kind}",
                object=f"{kind} {name} on {table.label}",
                observed="it is enabled for replicas too, and acts on what the recovery writes",
                advice="If it changes rows, the recovery is not confirmed; disable it meanwhile.",
            )


def _holders(connection: Connection, tables: tuple[MappedTable, ...]) -> Iterator[Finding]:
    """Name sessions that have held locks for long which keep the recovery waiting."""
    with translated("the locks"):
        rows = connection.execute(_HOLDERS, [[table.live.oid for table in tables], _LONG_SECONDS]).fetchall()
    for row in rows:
        yield _holder(*row)


def _holder(pid: int | None, application: str, state: str, age: float | None, tables: list[Any]) -> Finding:
    who = f"process {pid}" if pid else "a prepared transaction"
    doing = f", {state}" if state else ""
    since = f" for {age:.0f} s" if age is not None else ""
    end = f"SELECT pg_terminate_backend({pid})" if pid else "ROLLBACK PREPARED"
    return Finding(
        severity="warning",
        code="table-locked",
        object=", ".join(tables),
        observed=f"{who}{f' ({application})' if application else ''} holds a lock{since}{doing}",
        advice=f"The recovery has to wait for it: let it end, or end it ({end}).",
    )
