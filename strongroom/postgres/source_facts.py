"""What a preflight reads from the server: its state and the role's rights on tables. Sets nothing that lasts."""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from strongroom.clock import Clock
from strongroom.postgres.connection import Connection, abandon, translated
from strongroom.supabase.scope import table_scope

_LIMITS = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout")

_MILLISECONDS = 30_000
"""What a single question may take on the server."""

# Sessions are counted by pg_stat_database, because pg_stat_activity shows a common role only its own in full.
_STATE = """
SELECT clock_timestamp(),
       least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                 - coalesce(current_setting('reserved_connections', true)::int, 0)
                 - (SELECT sum(numbackends) FROM pg_stat_database),
             (SELECT CASE WHEN r.rolconnlimit < 0 THEN 1000000 ELSE r.rolconnlimit END
                 - (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid)
              FROM pg_roles r WHERE r.rolname = current_user))::int,
       ARRAY(SELECT extname::text FROM pg_extension ORDER BY 1),
       count(a.pid)::int, coalesce(clock_timestamp() - min(a.xact_start), interval '0'),
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
       (SELECT count(*)::int FROM pg_prepared_xacts WHERE database = current_database())
FROM (SELECT 1) AS one LEFT JOIN pg_stat_activity a
     ON a.xact_start < clock_timestamp() - interval '1 hour' AND a.pid <> pg_backend_pid()
     AND a.datname = current_database()
"""

_LIFT = "SELECT set_config(name, '0', true) FROM unnest(%s::text[]) AS n (name)"

_TABLES = """
SELECT n.nspname, c.relname, has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'),
       row_security_active(c.oid), pg_table_size(c.oid),
       EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
               AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
       AND NOT EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
"""

_BYPASSES = "SELECT rolbypassrls OR rolsuper FROM pg_roles WHERE rolname = current_user"


@dataclass(frozen=True)
class ServerState:
    """What the server says of itself. `limits` are the time limits that remain after lifting them."""

    clock_skew: dt.timedelta
    free_connections: int
    extensions: tuple[str, ...]
    long_transactions: int
    oldest_transaction: dt.timedelta
    sees_all_sessions: bool
    prepared_transactions: int
    limits: Mapping[str, str]


@dataclass(frozen=True)
class TableRights:
    """The tables in scope by what the role may do with them; `size` in bytes is that of the readable ones."""

    readable: int
    size: int
    unreadable: tuple[str, ...]
    withheld: tuple[str, ...]
    """Tables of the platform that it keeps to itself: a backup leaves them out and says so."""
    filtered: tuple[str, ...]
    bypasses: bool


def read_server_state(connection: Connection, clock: Clock) -> ServerState:
    """Read clock, free connections, extensions, old transactions, and which time limits cannot be lifted."""
    names = [*_LIMITS, "transaction_timeout"] if connection.info.server_version >= 170000 else list(_LIMITS)
    with _question(connection), translated("the state of the server"):
        before = clock()
        row = connection.execute(_STATE).fetchone()
        after = clock()
        # Two statements: what is asked is whether a setting outlives the one that made it.
        connection.execute(_LIFT, [names])
        limits = connection.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS n (name)", [names]
        ).fetchall()
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY always gives a row
    return ServerState(
        clock_skew=row[0] - (before + (after - before) / 2),
        free_connections=row[1],
        extensions=tuple(row[2]),
        long_transactions=row[3],
        oldest_transaction=row[4],
        sees_all_sessions=row[5],
        prepared_transactions=row[6],
        limits=dict(limits),
    )


def read_table_rights(connection: Connection) -> TableRights:
    """Read which tables in scope the role may read, and of which row-level security would hide rows."""
    with _question(connection), translated("the tables in scope"):
        rows = connection.execute(_TABLES).fetchall()
        bypasses = connection.execute(_BYPASSES).fetchone()
    found: dict[str, list[str]] = {"read": [], "unreadable": [], "withheld": [], "filtered": []}
    size = 0
    for schema, table, readable, filtered, table_size, of_extension in rows:
        scope = table_scope(schema, table)
        if scope == "ignored" or of_extension:
            continue
        name = f"{schema}.{table}"
        if not readable:
            found["unreadable" if scope == "user" else "withheld"].append(name)
            continue
        found["read"].append(name)
        size += table_size
        if filtered:
            found["filtered"].append(name)
    return TableRights(
        readable=len(found["read"]),
        size=size,
        unreadable=tuple(found["unreadable"]),
        withheld=tuple(found["withheld"]),
        filtered=tuple(found["filtered"]),
        bypasses=bool(bypasses and bypasses[0]),
    )


@contextmanager
def _question(connection: Connection) -> Iterator[None]:
    """Run a block in a transaction of its own, whose settings end with it: behind a pooler it is not ours."""
    try:
        with translated("a transaction"):
            connection.execute(
                f"BEGIN READ ONLY; SET LOCAL statement_timeout = {_MILLISECONDS}; SET LOCAL search_path = ''"
            )
            yield
    finally:
        abandon(connection)
