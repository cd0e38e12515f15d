"""Live tables as the catalog says they are, for everything that stages, compares and reconciles. Reads catalogs only.

live = read_live_table(connection, "public", "trades")     # None: there is no such table
references = read_references(connection, [live])
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from strongroom.format.documents import ForeignKey
from strongroom.postgres.connection import Connection, translated
from strongroom.recovery.mapping import LiveColumn, LiveIndex, LiveTable, Reference

TableName: TypeAlias = tuple[str, str]

_TABLES = """
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text, c.relfilenode::int8,
       pg_has_role(current_user, c.relowner, 'USAGE'), NOT row_security_active(c.oid),
       array(SELECT r FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) r
             WHERE NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_table_privilege(c.oid, r)),
       array(SELECT tgname::text FROM pg_trigger t
             WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY 1),
       array(SELECT tgname::text FROM pg_trigger t
             WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('A', 'R') ORDER BY 1),
       array(SELECT rulename::text FROM pg_rewrite w
             WHERE w.ev_class = c.oid AND w.ev_type <> '1' AND w.ev_enabled IN ('A', 'R') ORDER BY 1)
FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
"""

# A domain can forbid nulls and give a default where the column says nothing.
_COLUMNS = """
SELECT a.attrelid::int8, a.attname::text, a.attnum, format_type(a.atttypid, a.atttypmod), a.atttypid::int8, a.atttypmod,
       a.attnotnull OR t.typnotnull, (a.atthasdef AND a.attgenerated = '') OR t.typdefault IS NOT NULL,
       a.attgenerated::text, a.attidentity::text,
       coalesce((SELECT format('%%I.%%I', l.nspname, o.collname) FROM pg_collation o
                 JOIN pg_namespace l ON l.oid = o.collnamespace
                 WHERE o.oid = a.attcollation AND a.attcollation <> t.typcollation), '')
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum
"""

# A column is surely not null only if its constraint was validated; columns in INCLUDE are no part of a key.
_INDEXES = """
SELECT i.indrelid::int8, c.relname::text,
       array(SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY k (number, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place),
       i.indisprimary,
       i.indisunique AND i.indimmediate AND i.indisvalid AND i.indisready AND NOT i.indisexclusion
       AND i.indpred IS NULL AND i.indexprs IS NULL
       AND NOT EXISTS (
           SELECT FROM unnest(i.indkey[0:i.indnkeyatts - 1]) k (number)
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
           WHERE NOT a.attnotnull
              OR EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = a.attrelid AND n.contype = 'n'
                         AND NOT n.convalidated AND a.attnum = ANY (n.conkey))),
       i.indexprs IS NOT NULL
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY (%s) AND (i.indisunique OR i.indisexclusion) AND i.indislive
ORDER BY i.indrelid, i.indisprimary DESC, i.indnkeyatts, 2
"""

# Postgres keeps a copy of a foreign key for each partition. On the side that is referred to, a copy says less than
# the key itself (the row may be in any partition), so only the key counts; on the other side a copy says as much.
_REFERENCES = """
WITH RECURSIVE wanted (oid) AS (SELECT unnest(%s::oid[])),
above (oid) AS (
    SELECT oid FROM wanted
    UNION SELECT i.inhparent FROM above a JOIN pg_class c ON c.oid = a.oid AND c.relispartition
                                          JOIN pg_inherits i ON i.inhrelid = a.oid
)
SELECT k.conname::text, n.nspname::text, c.relname::text, rn.nspname::text, r.relname::text,
       array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place),
       array(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (number, place)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.place)
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
LEFT JOIN pg_constraint p ON p.oid = k.conparentid
WHERE k.contype = 'f' AND coalesce((to_jsonb(k) ->> 'conenforced')::bool, true)
  AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::bool, false)
  AND (k.conrelid IN (SELECT oid FROM wanted) OR k.confrelid IN (SELECT oid FROM above))
  AND (p.oid IS NULL OR (p.conrelid <> k.conrelid AND k.conrelid IN (SELECT oid FROM wanted)))
ORDER BY 2, 3, 1
"""


def read_live_table(connection: Connection, schema: str, name: str) -> LiveTable | None:
    """Return a table of the live database, or None if there is none of this name."""
    return read_live_tables(connection, [(schema, name)]).get((schema, name))


def read_live_tables(connection: Connection, names: Sequence[TableName]) -> Mapping[TableName, LiveTable]:
    """Return those of the named tables that exist, in as many queries as one of them would take."""
    with translated("the catalog"):
        found = connection.execute(
            _TABLES, [[schema for schema, _ in names], [name for _, name in names]]
        ).fetchall()
        oids = [row[0] for row in found]
        columns = _by_table(connection, _COLUMNS, oids)
        indexes = _by_table(connection, _INDEXES, oids)
    return {(row[1], row[2]): _live_table(row, columns[row[0]], indexes[row[0]]) for row in found}


def read_references(connection: Connection, tables: Sequence[LiveTable]) -> tuple[Reference, ...]:
    """Return every enforced foreign key of which at least one side is among `tables`.

    A key that refers to a partitioned table is named with that table, though a partition be in scope; one *of* a
    partition may come twice, as the partition's and as the whole table's. Keys over periods are left out: they are
    looked at in `period_keys`.
    """
    with translated("the foreign keys"):
        rows = connection.execute(_REFERENCES, [[table.oid for table in tables]]).fetchall()
    return tuple(
        Reference(
            name=name,
            schema=schema,
            table=table,
            key=ForeignKey(
                name=name,
                columns=tuple(columns),
                to_schema=to_schema,
                to_table=to_table,
                to_columns=tuple(to_columns),
            ),
        )
        for name, schema, table, to_schema, to_table, columns, to_columns in rows
    )


def _by_table(
    connection: Connection, query: str, oids: Sequence[int]
) -> defaultdict[int, list[tuple[Any, ...]]]:
    """Run a query over tables and sort its rows by the table that they begin with."""
    found: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for oid, *row in connection.execute(query, [list(oids)]):
        found[oid].append(tuple(row))
    return found


def _live_table(
    row: tuple[Any, ...], columns: Sequence[tuple[Any, ...]], indexes: Sequence[tuple[Any, ...]]
) -> LiveTable:
    oid, schema, name, kind, file_node, is_owner, sees_all, missing, triggers, always, rules = row
    return LiveTable(
        oid=oid,
        schema=schema,
        name=name,
        kind=kind,
        file_node=file_node,
        is_owner=is_owner,
        columns=tuple(LiveColumn(*column) for column in columns),
        indexes=tuple(
            LiveIndex(name=index, columns=tuple(keys), primary=primary, is_key=is_key, has_expression=more)
            for index, keys, primary, is_key, more in indexes
        ),
        user_triggers=tuple(triggers),
        always_triggers=tuple(always),
        missing_rights=tuple(missing),
        sees_all_rows=sees_all,
        always_rules=tuple(rules),
    )
