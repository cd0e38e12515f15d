"""The demo's databases: the trading platform before and after, what changes in between, and how they compare.

Comparing shares nothing with the engine: tables come from the catalog, rows are hashed by the server and,
as COPY text, once more here.
"""

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from strongroom.deadline import Deadline
from strongroom.postgres.connection import connect
from strongroom.postgres.schema_description import Description, describe_schema
from strongroom.supabase.scope import is_managed_schema

_CHANGES = (
    "UPDATE public.candles SET c = c + 0.000010, v = v + 1 WHERE v % 10 = 1",
    "UPDATE public.backtests SET finished = true, runtime = runtime + interval '1 min' WHERE NOT finished",
    """INSERT INTO public.trades (backtest_id, symbol, side, volume, open_price, close_price, opened_at, closed_at)
       SELECT backtest_id, symbol, side, volume, open_price, close_price, opened_at + interval '1 day',
              closed_at + interval '1 day'
       FROM public.trades WHERE id % 100 = 3 AND closed_at IS NOT NULL""",
    "UPDATE public.ticks SET bid = bid + 0.000010, ask = ask + 0.000010 WHERE volume % 200 = 5",
    "DELETE FROM public.ticks WHERE volume % 400 = 11",
    """INSERT INTO public.ticks (symbol, ts, seq, bid, ask, volume)
       SELECT symbol, ts, 1, bid, ask, 1 FROM public.ticks WHERE volume % 200 = 9""",
    """UPDATE public.robots SET params = params || '{"lot": 0.5}' WHERE name LIKE 'Robot 1%'""",
    """INSERT INTO auth.users (instance_id, id, aud, role, email, raw_user_meta_data, created_at, updated_at)
       VALUES ('00000000-0000-0000-0000-000000000000', gen_random_uuid(), 'authenticated', 'authenticated',
               'newcomer@quantforge.test', '{"username": "newcomer"}', now(), now())""",
    # A restore makes these anew, so they are made to agree with their tables here as well.
    "REFRESH MATERIALIZED VIEW analytics.daily_pnl",
    "REFRESH MATERIALIZED VIEW analytics.robot_totals",
)
"""About one row in a hundred: candles and ticks corrected, ticks come and gone, backtests done, trades made, a
user signed up. Published tables with a generated column take no updates here: Postgres 18 refuses them."""

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 2
"""


_BESIDE_TABLES = {
    "large objects": "SELECT oid, encode(sha256(lo_get(oid)), 'hex') FROM pg_largeobject_metadata",
    "sequences": """SELECT schemaname, sequencename, last_value FROM pg_sequences
        WHERE has_sequence_privilege(format('%I.%I', schemaname, sequencename), 'SELECT')""",
    "vault secrets": "SELECT name, description, decrypted_secret FROM vault.decrypted_secrets",
}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a table holds, in an order-free form: rows, a digest by the server, a digest of the COPY text."""

    rows: int
    by_server: str
    by_copy: str


def change_rows(dsn: str) -> int:
    """Change about one row in a hundred, and return how many were touched."""
    with psycopg.connect(dsn) as connection:
        return sum(max(0, connection.execute(statement).rowcount) for statement in _CHANGES)


def fingerprint_tables(dsn: str, backed_up: Collection[str]) -> dict[str, Fingerprint]:
    """Return the fingerprint of every table of the user, and of those of the platform that are backed up.

    Materialised views count too, and tables of the user even if the backup should have forgotten them.
    """
    with _reading(dsn) as connection:
        tables: list[tuple[str, str]] = connection.execute(_TABLES).fetchall()
        return {
            f"{schema}.{name}": _fingerprint(connection, _rows_of(schema, name))
            for schema, name in tables
            if f"{schema}.{name}" in backed_up or not is_managed_schema(schema)
        }


def fingerprint_the_rest(dsn: str) -> dict[str, Fingerprint]:
    """Return the fingerprints of what holds data and is no table, by its kind."""
    with _reading(dsn) as connection:
        return {kind: _fingerprint(connection, sql.SQL(query)) for kind, query in _BESIDE_TABLES.items()}


def describe_definitions(dsn: str) -> Description:
    """Describe everything that is defined in the database, privileges included."""
    with connect(
        {key: str(value) for key, value in conninfo_to_dict(dsn).items()}, Deadline.never()
    ) as connection:
        return describe_schema(connection)


@contextmanager
def _reading(dsn: str) -> Iterator[psycopg.Connection]:
    """Open one instant of a database, with all rows in sight."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for setting in ("search_path = ''", "TimeZone = 'UTC'", "row_security = off"):
            connection.execute(sql.SQL("SET LOCAL " + setting))
        yield connection


def _rows_of(schema: str, name: str) -> sql.Composed:
    return sql.SQL("SELECT t.* FROM ONLY {} AS t").format(sql.Identifier(schema, name))


def _fingerprint(connection: psycopg.Connection, rows_of: sql.Composable) -> Fingerprint:
    query = sql.SQL("SELECT count(*), coalesce(sum(hashtextextended(t::text, 7)), 0)::text FROM ({}) AS t")
    row = connection.execute(query.format(rows_of)).fetchone()
    rows, by_server = row or (0, "")
    total = 0
    with connection.cursor().copy(sql.SQL("COPY ({}) TO STDOUT").format(rows_of)) as lines:
        for line in lines:
            # A sum does not depend on the order, in which two servers need not agree.
            total += int.from_bytes(hashlib.blake2b(bytes(line), digest_size=16).digest(), "big")
    return Fingerprint(rows, by_server, f"{total % (1 << 128):032x}")
