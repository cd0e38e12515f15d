"""What tables and sequences a database has and what names them physically. Reads catalogs only.

Run inside the snapshot's transaction, the answers belong to the same instant as the rows. Example:

    found = list_tables(connection)
    found.tables[0].file_node, found.findings
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from strongroom.format.documents import (
    Column,
    Finding,
    ForeignKey,
    SequenceState,
    SnapshotFacts,
    TableFacts,
    UniqueKey,
)
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.types import TypeCatalog
from strongroom.supabase.scope import table_scope

_TABLES = """
SELECT c.oid, n.nspname, c.relname, c.relfilenode, c.relpersistence, coalesce(am.amname, ''), c.relkind,
       pg_table_size(c.oid), has_table_privilege(c.oid, 'SELECT'),
       EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
               AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
       EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am am ON am.oid = c.relam
WHERE c.relkind IN ('r', 'f') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
"""

_COLUMNS = """
SELECT a.attrelid, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod,
       a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n'
                                    AND NOT k.convalidated AND a.attnum = ANY (k.conkey)),
       a.attgenerated::text, a.attidentity::text
FROM pg_attribute a WHERE a.attrelid = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum
"""

# A constraint that was never validated says nothing about the rows, nor does one over periods in this form.
_UNIQUE_KEYS = """
SELECT i.indrelid, c.relname, i.indisprimary, i.indnullsnotdistinct, NOT i.indimmediate,
       array_agg(a.attname ORDER BY k.place)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = ANY (%s) AND i.indisunique AND i.indisvalid AND i.indexprs IS NULL AND i.indpred IS NULL
  AND NOT i.indisexclusion
GROUP BY i.indexrelid, 1, 2, 3, 4, 5 HAVING count(*) = i.indnkeyatts ORDER BY 1, 2
"""

_FOREIGN_KEYS = """
SELECT k.conrelid, k.conname, n.nspname, r.relname,
       (SELECT array_agg(a.attname ORDER BY u.place) FROM unnest(k.conkey) WITH ORDINALITY u (attnum, place)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum),
       (SELECT array_agg(a.attname ORDER BY u.place) FROM unnest(k.confkey) WITH ORDINALITY u (attnum, place)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum)
FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE k.contype = 'f' AND k.convalidated AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::bool, false)
  AND k.conrelid = ANY (%s) ORDER BY 1, 2
"""

_SEQUENCES = """
SELECT c.oid, n.nspname, c.relname, s.seqincrement, has_sequence_privilege(c.oid, 'SELECT'),
       coalesce(t.relname, ''), coalesce(a.attname, '')
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
     AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
LEFT JOIN pg_class t ON t.oid = d.refobjid
LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE c.relpersistence <> 't' AND n.nspname !~ '^pg_'
ORDER BY n.nspname, c.relname
"""


@dataclass(frozen=True)
class TablesFound:
    """The tables in scope, and what is not going to be captured, with the reason."""

    tables: tuple[TableFacts, ...]
    findings: tuple[Finding, ...]


def list_tables(connection: Connection, *, with_keys: bool = True) -> TablesFound:
    """List every table whose rows belong in a backup: leaves, children, unlogged ones, managed ones."""
    with translated("the catalog"):
        rows = connection.execute(_TABLES).fetchall()
        wanted: list[tuple[Any, ...]] = []
        findings: list[Finding] = []
        for row in rows:
            if not _in_scope(row):
                continue
            obstacle = _obstacle(row)
            if obstacle:
                findings.append(obstacle)
            else:
                wanted.append(row)
        oids = [row[0] for row in wanted]
        columns = _columns(connection, oids)
        types = TypeCatalog(connection)
        types.load()
        uniques = _unique_keys(connection, oids) if with_keys else {}
        foreign = _foreign_keys(connection, oids) if with_keys else {}
    tables = tuple(
        TableFacts(
            oid=row[0],
            schema=row[1],
            name=row[2],
            file_node=row[3],
            persistence=row[4],
            access_method=row[5],
            columns=columns.get(row[0], ()),
            type_facts=types.facts(c.type_oid for c in columns.get(row[0], ())),
            unique_keys=uniques.get(row[0], ()),
            foreign_keys=foreign.get(row[0], ()),
            managed=table_scope(row[1], row[2]) == "managed" or row[9],
            size=row[7],
        )
        for row in wanted
    )
    return TablesFound(tables, tuple(findings))


def _in_scope(row: tuple[Any, ...]) -> bool:
    """Tell whether the rows of this relation belong in a backup, if they can be read."""
    _, schema, name, _, _, _, _, _, _, of_extension, configuration = row
    return table_scope(schema, name) != "ignored" and (configuration or not of_extension)


def _obstacle(row: tuple[Any, ...]) -> Finding | None:
    """Return why the rows of this relation are left out, or None if they are captured.

    A table of the user's own that cannot be read is no obstacle here: locking it fails, loudly.
    """
    _, schema, name, _, _, _, kind, _, readable, _, _ = row
    if kind == "f":
        return Finding(
            severity="info",
            code="foreign-table",
            object=f"{schema}.{name}",
            observed="a foreign table",
            advice="Its definition is in the backup; its rows live on another server and are not.",
        )
    if not readable and table_scope(schema, name) == "managed":
        return Finding(
            severity="warning",
            code="table-not-readable",
            object=f"{schema}.{name}",
            observed="the role has no SELECT on it",
            advice="The platform keeps this table to itself; its rows are not in the backup.",
        )
    return None


def _columns(connection: Connection, oids: list[int]) -> dict[int, tuple[Column, ...]]:
    found: dict[int, list[Column]] = defaultdict(list)
    for oid, name, number, type_name, type_oid, modifier, not_null, generated, identity in connection.execute(
        _COLUMNS, [oids]
    ):
        found[oid].append(
            Column(
                name=name,
                number=number,
                type=type_name,
                type_oid=type_oid,
                type_modifier=modifier,
                not_null=not_null,
                generated=generated,
                identity=identity,
            )
        )
    return {oid: tuple(columns) for oid, columns in found.items()}


def _unique_keys(connection: Connection, oids: list[int]) -> dict[int, tuple[UniqueKey, ...]]:
    found: dict[int, list[UniqueKey]] = defaultdict(list)
    for oid, name, primary, not_distinct, deferrable, columns in connection.execute(_UNIQUE_KEYS, [oids]):
        found[oid].append(
            UniqueKey(
                name=name,
                columns=tuple(columns),
                primary=primary,
                nulls_not_distinct=not_distinct,
                deferrable=deferrable,
            )
        )
    return {oid: tuple(keys) for oid, keys in found.items()}


def _foreign_keys(connection: Connection, oids: list[int]) -> dict[int, tuple[ForeignKey, ...]]:
    found: dict[int, list[ForeignKey]] = defaultdict(list)
    for oid, name, schema, table, columns, to_columns in connection.execute(_FOREIGN_KEYS, [oids]):
        found[oid].append(
            ForeignKey(
                name=name,
                columns=tuple(columns),
                to_schema=schema,
                to_table=table,
                to_columns=tuple(to_columns),
            )
        )
    return {oid: tuple(keys) for oid, keys in found.items()}


def list_sequences(connection: Connection) -> tuple[SequenceState, ...]:
    """Return the state of every readable sequence outside the ignored schemas, at the snapshot."""
    found: list[SequenceState] = []
    with translated("sequences"):
        for _, schema, name, increment, readable, table, column in connection.execute(_SEQUENCES).fetchall():
            # A sequence goes where its table goes: rows without it would meet their own numbers again.
            scope = table_scope(schema, table or name)
            if scope == "ignored" or not readable:
                continue
            quoted = '"' + schema.replace('"', '""') + '"."' + name.replace('"', '""') + '"'
            # A sequence's relation is read, not pg_sequence_last_value(), which forgets is_called.
            row = connection.execute(f"SELECT last_value, is_called FROM {quoted}").fetchone()
            if row is None:
                continue
            found.append(
                SequenceState(
                    schema=schema,
                    name=name,
                    last_value=row[0],
                    is_called=row[1],
                    increment=increment,
                    table=table,
                    column=column,
                    managed=scope == "managed",
                )
            )
    return tuple(found)


def read_snapshot_facts(connection: Connection) -> SnapshotFacts:
    """Return what identifies the instant of the current snapshot and the history it belongs to."""
    row = connection.execute(
        "SELECT (SELECT system_identifier::text FROM pg_control_system()),"
        " ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int, d.oid, d.datname,"
        " current_setting('server_version_num')::int, pg_snapshot_xmin(s)::text::bigint,"
        " pg_snapshot_xmax(s)::text::bigint, pg_current_wal_lsn()::text, clock_timestamp()"
        " FROM pg_database d, pg_current_snapshot() s WHERE d.datname = current_database()"
    ).fetchone()
    assert row is not None  # noqa: S101 - the current database is always in pg_database
    return SnapshotFacts(
        system_identifier=row[0],
        timeline=row[1],
        database_oid=row[2],
        database=row[3],
        server_version=row[4],
        xmin=row[5],
        xmax=row[6],
        wal_lsn=row[7],
        taken_at=row[8],
    )
