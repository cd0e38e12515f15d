"""Locks on live tables: taken together and in one order, never waited for longer than the application can bear.

Readers go on; writers of the tables wait until the end of the transaction. While we wait for a lock ourselves, writers
queue behind us: therefore the wait is short (`recovery.lock_timeout`), and is tried again (`recovery.lock_attempts`).
"""

import time
from collections.abc import Collection, Sequence

import psycopg
from psycopg import errors as pg

from strongroom.errors import LockNotObtained, StrongroomError
from strongroom.postgres.connection import Connection, translate, translated
from strongroom.recovery.comparison import Matched
from strongroom.recovery.reconciling import lock_statement

# The last is what the server calls a row that was moved to another partition while it was waited for.
_BUSY = (pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure)
_LONGEST_PAUSE = 5.0
_ASKED = 25
_BETWEEN = 0.01
_NAMED = 3

_HOLDERS = """
SELECT DISTINCT coalesce(l.pid, 0), coalesce(a.application_name, ''), coalesce(a.state, ''),
       coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::int8
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY (%s) AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.mode NOT IN ('AccessShareLock', 'RowShareLock') OR l.relation = ANY (%s))
ORDER BY 4 DESC
"""


def is_busy(error: StrongroomError) -> bool:
    """Tell whether an error means that somebody else holds a lock, on a table or on a row."""
    return isinstance(error, LockNotObtained) or isinstance(error.__cause__, _BUSY)


def lock_against_upkeep(connection: Connection, tables: Sequence[Matched]) -> None:
    """Keep vacuum and migrations away from tables until the end of the transaction, but neither readers nor writers.

    An autovacuum gives way after the server's `deadlock_timeout`; nobody queues behind us meanwhile, as they would
    behind the lock against writers. Raises `LockNotObtained`.
    """
    if tables:
        ordered = _in_order(tables)
        names = [table.live for table in ordered]
        _lock(connection, ordered, [lock_statement(names, "SHARE UPDATE EXCLUSIVE")])


def lock_tables(connection: Connection, tables: Sequence[Matched], *, wholly: Collection[str] = ()) -> None:
    """Keep writers away from tables until the end of the transaction, and from those in `wholly` readers as well.

    All together are waited for no longer than the session's `lock_timeout` says of one: who writes to those that we
    have already waits for us. Raises `LockNotObtained`.
    """
    ordered = _in_order(tables)
    closed = [table.live for table in ordered if table.mapped.label in wholly]
    others = [table.live for table in ordered if table.mapped.label not in wholly]
    statements = [
        lock_statement(names, mode)
        for names, mode in ((closed, "ACCESS EXCLUSIVE"), (others, "SHARE ROW EXCLUSIVE"))
        if names
    ]
    _lock(connection, ordered, statements)


def _in_order(tables: Sequence[Matched]) -> list[Matched]:
    return sorted(tables, key=lambda table: table.mapped.live.oid)


def _lock(connection: Connection, tables: Sequence[Matched], statements: Sequence[str]) -> None:
    with translated("the tables in scope"):
        before = connection.execute(
            "SELECT current_setting('statement_timeout'),"
            " set_config('statement_timeout', current_setting('lock_timeout'), true)"
        ).fetchone()
        try:
            for statement in statements:
                connection.execute(statement)
        except pg.QueryCanceled as error:
            seconds = before[1] if before else ""
            raise LockNotObtained(object=_labels(tables), attempts=1, seconds=seconds, holders="") from error
        connection.execute("SELECT set_config('statement_timeout', %s, true)", [before[0] if before else "0"])


def _labels(tables: Sequence[Matched]) -> str:
    return ", ".join(table.mapped.label for table in tables[:5])


def require_free(connection: Connection, tables: Sequence[Matched]) -> None:
    """Raise `LockNotObtained` if `lock_at_once` would: it is tried, and let go of."""
    _ask(connection, tables, lets_go=True)


def lock_at_once(connection: Connection, tables: Sequence[Matched]) -> None:
    """Keep writers away from tables in which the caller's transaction has written already.

    Who holds a lock on a table may be waiting for one of our rows, so its lock is asked for now and again and never
    waited for: nobody is caught in a deadlock with us. Raises `LockNotObtained` after a quarter of a second.
    """
    _ask(connection, tables, lets_go=False)


def _ask(connection: Connection, tables: Sequence[Matched], *, lets_go: bool) -> None:
    if not tables:
        return
    ordered = _in_order(tables)
    statement = f"{lock_statement([table.live for table in ordered], 'SHARE ROW EXCLUSIVE')} NOWAIT"
    for _ in range(_ASKED):
        try:
            # A savepoint: asking in vain does not end the transaction.
            with connection.transaction(force_rollback=lets_go):
                connection.execute(statement)
        except pg.LockNotAvailable:
            time.sleep(_BETWEEN)
        except psycopg.Error as error:
            raise translate(error, "the tables in scope") from error
        else:
            return
    raise LockNotObtained(object=_labels(ordered), attempts=_ASKED, seconds=0, holders="")


def describe_holders(
    connection: Connection, tables: Sequence[Matched], *, wholly: Collection[str] = ()
) -> str:
    """Say who holds locks on the tables at this moment, the oldest transaction first; empty if nobody does."""
    oids = [table.mapped.live.oid for table in tables]
    closed = [table.mapped.live.oid for table in tables if table.mapped.label in wholly]
    with translated("the locks"):
        rows = connection.execute(_HOLDERS, [oids, closed]).fetchall()
    said = [
        f"pid {pid} ({', '.join(filter(None, (name, state, f'for {seconds} s')))})"
        if pid
        # It has no process, and its locks stay when the server is restarted.
        else "a prepared transaction (see pg_prepared_xacts)"
        for pid, name, state, seconds in rows[:_NAMED]
    ]
    return f"; it is held by {', '.join(said)}" if said else ""


def pause_seconds(attempt: int, chance: float) -> float:
    """Return how long to wait after a failed attempt; `chance`, from 0 to 1, keeps two from waiting alike."""
    return min(_LONGEST_PAUSE, 0.1 * float(2**attempt)) * (0.5 + chance / 2)
