"""Comparing once more after the commit: what differs, and whether somebody else has written it since.

Nothing is stored. A live row that differs was written since if its transaction had not ended when the recovery kept
writers away, and is not the recovery's own. A staged row that live does not have leaves nothing behind to be asked:
it counts as deleted since only if the recovery's transaction has proven that it was there (it did: every row count was
what it should be, and nothing of the user's can have acted), and if any other transaction has ended since. Otherwise
it differs, and nobody is to be blamed but us.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.postgres.connection import Connection, abandon, translated
from strongroom.recovery.applied import Applied
from strongroom.recovery.comparing import begin_snapshot, current_snapshot, touched_rows
from strongroom.recovery.comparison import Matched, find_differences
from strongroom.recovery.unchanged import age_of, is_quiet


@dataclass(frozen=True)
class Confirmed:
    """One table: rows that differ, rows that differ because they were written since, and how many were compared."""

    label: str
    differing: int
    written_since: int
    rows: int


def confirm_tables(
    connection: Connection,
    plan: RecoveryPlan,
    tables: Sequence[Matched],
    applied: Applied,
    *,
    lock_timeout: float,
) -> tuple[Confirmed, ...]:
    """Compare all tables in one snapshot. Raises `LockNotObtained` if one stays locked by a migration."""
    only = touched_rows(connection, plan, [table.mapped for table in tables])
    try:
        begin_snapshot(connection, tables, lock_timeout=lock_timeout)
        xid = current_snapshot(connection)[2]
        may_be_gone = applied.is_certain and not is_quiet(
            connection, applied.snapshot, frozenset({applied.xid, xid})
        )
        found = tuple(
            _confirm(
                connection, table, only.get(table.mapped.number, ""), applied, xid, may_be_gone=may_be_gone
            )
            for table in tables
        )
    finally:
        abandon(connection)
    return found


def _confirm(
    connection: Connection, table: Matched, only: str, applied: Applied, xid: int, *, may_be_gone: bool
) -> Confirmed:
    # An id of 64 bits, made of how many transactions ago it was.
    birth = f"({xid} - age(l.xmin))"
    oldest = age_of(connection, int(applied.snapshot.partition(":")[0]))
    since = (
        f"l.xmin IS NOT NULL AND age(l.xmin) <= {oldest} AND {birth} <> {applied.xid}"
        f" AND NOT pg_visible_in_snapshot({birth}::text::xid8, '{applied.snapshot}'::pg_snapshot)"
    )
    kept = "'k'" if table.strategy != "merge_missing" else "'k', 'u', 'r', 'd'"
    with translated(table.mapped.label):
        row = connection.execute(
            f"WITH found AS MATERIALIZED ({find_differences(table, only)})"
            f" SELECT count(*) FILTER (WHERE d.kind <> 'i'), count(*) FILTER (WHERE d.kind <> 'i' AND {since}),"
            " count(*) FILTER (WHERE d.kind = 'i')"
            f" FROM found AS d LEFT JOIN ONLY {table.live} AS l ON l.ctid = d.live_tid WHERE d.kind NOT IN ({kept})"
        ).fetchone()
        rows = connection.execute(f"SELECT count(*) FROM {table.staged}").fetchone()
    there, written, missing = row or (0, 0, 0)
    gone = missing if may_be_gone else 0
    return Confirmed(
        label=table.mapped.label,
        differing=there - written + missing - gone,
        written_since=written + gone,
        rows=int(rows[0]) if rows else 0,
    )
