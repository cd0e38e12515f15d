"""How many rows the live tables hold now: counted where that is quick, else as the server estimates.

    counts = count_live(connection, [("public", "trades")], seconds=20)
    counts["public.trades"]         # LiveCount(rows=2110, is_exact=True)

A table that is not there, or whose rows this role may not see, is left out: what was not counted is unknown.
"""

import time
from collections.abc import Sequence

from psycopg import sql

from strongroom.errors import MissingRight, RowSecurityActive, StatementTimedOut, TableChanged
from strongroom.postgres.connection import Connection, translated
from strongroom.recovery.planning.facts import LiveCount

LONGEST_COUNT_SECONDS = 5.0
"""What one table may take: a plan is wanted while somebody waits."""

# Without any statistics yet (-1), nothing is known. The pages are those of the statistics as well: asking for the size
# itself takes a lock, for which a plan would wait as long as somebody else holds one.
_ESTIMATES = """
SELECT n.nspname::text, c.relname::text, c.reltuples::int8, c.relpages
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN unnest(%s::text[], %s::text[]) AS wanted (schema, name) ON (schema, name) = (n.nspname, c.relname)
WHERE c.relkind = 'r'
ORDER BY 4, 1, 2
"""

_NOT_COUNTED = (MissingRight, RowSecurityActive, TableChanged)


def count_live(
    connection: Connection, tables: Sequence[tuple[str, str]], seconds: float
) -> dict[str, LiveCount]:
    """Count the rows of these tables (schema, name), the smallest first, by label, for about so many seconds.

    The connection is in autocommit; its statement timeout is changed. Raises what a lost connection raises.
    """
    counts: dict[str, LiveCount] = {}
    end = time.monotonic() + seconds
    with translated("the live tables"):
        found = connection.execute(_ESTIMATES, [[s for s, _ in tables], [n for _, n in tables]]).fetchall()
    for schema, name, estimated, _ in found:
        left = min(LONGEST_COUNT_SECONDS, end - time.monotonic())
        try:
            rows = _count(connection, schema, name, left) if left > 0 else None
        except _NOT_COUNTED:
            continue
        if rows is not None:
            counts[f"{schema}.{name}"] = LiveCount(rows)
        elif estimated >= 0:
            counts[f"{schema}.{name}"] = LiveCount(estimated, is_exact=False)
    return counts


def _count(connection: Connection, schema: str, name: str, seconds: float) -> int | None:
    """Return the rows of a table, None if counting took longer."""
    query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, name))
    limit = str(max(1, int(seconds * 1000)))
    try:
        with translated(f"{schema}.{name}"):
            connection.execute("SELECT set_config('statement_timeout', %s, false)", [limit])
            row = connection.execute(query).fetchone()
    except StatementTimedOut:
        return None
    return row[0] if row else None
