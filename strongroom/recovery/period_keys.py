"""Foreign keys over periods (Postgres 18): whether a recovery leaves more rows that refer in vain than it found.

Such a row may be covered by several others, so that it is not told by any one that goes. The keys of the tables that
are changed are therefore looked at as a whole, before and after, in a session in which their own triggers do not act:

    watched = watch_periods(connection, tables)     # before anything is changed
    require_periods(connection, watched)            # afterwards
"""

from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.errors import ReferencesWouldBreak
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery.comparison import Matched

# The last column of either side is the period.
_KEYS = """
SELECT k.conname::text, n.nspname::text, c.relname::text, rn.nspname::text, r.relname::text,
       CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || format('%%I.%%I', n.nspname, c.relname),
       CASE r.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || format('%%I.%%I', rn.nspname, r.relname),
       array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place),
       array(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (number, place)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.place),
       array(SELECT format('OPERATOR(%%I.%%s)', m.nspname, o.oprname)
             FROM unnest(k.conpfeqop) WITH ORDINALITY p (oid, place)
             JOIN pg_operator o ON o.oid = p.oid JOIN pg_namespace m ON m.oid = o.oprnamespace ORDER BY p.place)
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
WHERE k.contype = 'f' AND (to_jsonb(k) ->> 'conperiod')::bool AND (to_jsonb(k) ->> 'conenforced')::bool
  AND k.conparentid = 0
  AND EXISTS (SELECT FROM unnest(%s::oid[]) w (oid)
              WHERE w.oid IN (k.conrelid, k.confrelid)
                 OR EXISTS (SELECT FROM pg_partition_ancestors(w.oid) a WHERE a.relid IN (k.conrelid, k.confrelid)))
ORDER BY 2, 3, 1
"""


@dataclass(frozen=True)
class WatchedPeriod:
    """A key over periods; `query` counts the rows that refer in vain, of which there were `orphans`."""

    name: str
    child: str
    parent: str
    query: str
    orphans: int


def watch_periods(connection: Connection, tables: Sequence[Matched]) -> tuple[WatchedPeriod, ...]:
    """Count, for the keys over periods that the tables have a part in, the rows that refer in vain already."""
    found = []
    with translated("the foreign keys over periods"):
        for row in connection.execute(_KEYS, [[table.mapped.live.oid for table in tables]]).fetchall():
            name, schema, table, to_schema, to_table, *rest = row
            query = _query(*rest)
            orphans = _count(connection, query)
            found.append(WatchedPeriod(name, f"{schema}.{table}", f"{to_schema}.{to_table}", query, orphans))
    return tuple(found)


def require_periods(connection: Connection, watched: Sequence[WatchedPeriod]) -> None:
    """Raise `ReferencesWouldBreak` if more rows refer in vain than before."""
    for one in watched:
        with translated(one.name):
            orphans = _count(connection, one.query)
        if orphans > one.orphans:
            raise ReferencesWouldBreak(
                rows=orphans - one.orphans,
                table=one.child,
                key=one.name,
                referenced=one.parent,
                other=f"both {one.child} and {one.parent}",
            )


def _query(
    child: str, parent: str, columns: Sequence[str], to_columns: Sequence[str], operators: Sequence[str]
) -> str:
    own = [f"c.{quote_identifier(name)}" for name in columns]
    other = [f"p.{quote_identifier(name)}" for name in to_columns]
    same = [f"{b} {o} {a}" for a, o, b in zip(own[:-1], operators, other[:-1], strict=False)]
    where = " AND ".join([*same, f"{other[-1]} && {own[-1]}"])
    return (
        f"SELECT count(*) FROM {child} AS c WHERE num_nulls({', '.join(own)}) = 0"
        f" AND NOT coalesce({own[-1]} <@ (SELECT range_agg({other[-1]}) FROM {parent} AS p WHERE {where}), false)"
    )


def _count(connection: Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
