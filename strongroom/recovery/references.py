"""Foreign keys that a recovery touches: whether every reference still leads somewhere, before the commit.

As a replica the session checks no foreign keys, so they are checked here, for what was touched and no more: rows that
came or changed must find the row that they refer to, and whatever refers to a row that went, or whose key changed, in
scope or out of it, must find another. Orphans that were there before, and that nobody touched, are not our failure;
nor are those of the backup, where both tables become what they were in it: a finding says so.

    watched = watch_references(connection, schema, tables, locked, whole)   # before anything is changed
    findings = require_references(connection, watched)                      # afterwards

Rows that are referred to and lie outside of the locked tables are locked as Postgres itself would lock them, so that
nobody deletes one meanwhile. The other direction needs no lock: whoever inserts a row that refers to a deleted one
waits for our transaction, or has made our deletion wait.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from strongroom.errors import ReferencesWouldBreak, TableChanged
from strongroom.format.documents import Finding
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery.comparison import EQUALS, Matched, column_differs, listed_key
from strongroom.recovery.live import read_references
from strongroom.recovery.mapping import Reference
from strongroom.recovery.staging_names import found_differences

# A partition's row is referred to through the table that it is a part of.
_ABOVE = """
SELECT n.nspname::text, c.relname::text FROM pg_partition_ancestors(%s::oid::regclass) a
JOIN pg_class c ON c.oid = a.relid JOIN pg_namespace n ON n.oid = c.relnamespace
"""

_DETAILS = """
SELECT c.relkind::text, r.relkind::text,
       array(SELECT format('OPERATOR(%%I.%%s)', n.nspname, o.oprname)
             FROM unnest(k.conpfeqop) WITH ORDINALITY p (oid, place)
             JOIN pg_operator o ON o.oid = p.oid JOIN pg_namespace n ON n.oid = o.oprnamespace ORDER BY p.place),
       k.confdeltype::text, k.confupdtype::text, has_any_column_privilege(r.oid, 'UPDATE'),
       array(SELECT CASE WHEN ra.attcollation IN (0, ca.attcollation) THEN ''
                         ELSE (SELECT format('%%I.%%I', n.nspname, o.collname) FROM pg_collation o
                               JOIN pg_namespace n ON n.oid = o.collnamespace WHERE o.oid = ra.attcollation) END
             FROM unnest(k.conkey, k.confkey) WITH ORDINALITY p (child, parent, place)
             JOIN pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = p.child
             JOIN pg_attribute ra ON ra.attrelid = k.confrelid AND ra.attnum = p.parent ORDER BY p.place)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
WHERE k.contype = 'f' AND k.conname = %s AND k.conrelid = to_regclass(%s)
"""


@dataclass(frozen=True)
class Watched:
    """A foreign key that may break. `gone` is a table of values that were referred to and may be gone now.

    `operators` compare a referenced column with a referring one, `collations` are those of referenced columns, as
    quoted SQL, where the referring ones have others. `child` and `parent` are what to read from, as quoted
    SQL: a partitioned table as a whole, any other without its children.
    """

    reference: Reference
    child: str
    parent: str
    operators: tuple[str, ...]
    collations: tuple[str, ...]
    acts_on_delete: bool
    is_parent_locked: bool
    is_whole: bool
    may_lock_parent: bool
    touched: tuple[str, ...] = ()
    gone: str = ""

    @property
    def parent_label(self) -> str:
        """The table that is referred to."""
        return _parent_label(self.reference)


def watch_references(
    connection: Connection,
    schema: str,
    tables: Sequence[Matched],
    locked: Collection[str],
    whole: Collection[str],
) -> tuple[Watched, ...]:
    """Note, before anything is changed, what may be referred to in vain afterwards.

    `tables` are those that are going to be changed, `locked` the labels of those that nobody else writes to, and
    `whole` of those that become exactly what they were in the backup.
    """
    by_label = {table.mapped.label: table for table in tables}
    above = {table.mapped.label: _above(connection, table) for table in tables}
    found = []
    for number, reference in enumerate(read_references(connection, [table.mapped.live for table in tables])):
        parents = [table for table in tables if _parent_label(reference) in above[table.mapped.label]]
        child = by_label.get(f"{reference.schema}.{reference.table}")
        watched = _watch(connection, reference, locked, whole)
        if child is not None:
            watched = replace(watched, touched=_touched(schema, child, reference))
        if parents:
            watched = replace(watched, gone=_note_gone(connection, schema, number, parents, reference))
        if watched.touched or watched.gone or (parents and watched.acts_on_delete):
            found.append(watched)
    return tuple(found)


def require_references(connection: Connection, watched: Sequence[Watched]) -> tuple[Finding, ...]:
    """Raise `ReferencesWouldBreak` if a row that came, or was left, refers to nothing; return what the backup has."""
    findings = []
    for one in watched:
        with translated(one.reference.name):
            orphans = max([0, *(_count_orphans(connection, one, rows) for rows in one.touched)])
            left = _count_left(connection, one) if one.gone else 0
        if (orphans or left) and not one.is_whole:
            other = _parent_label(one.reference) if orphans else _child_label(one.reference)
            raise _broken(one, orphans or left, other=other)
        if orphans or left:
            findings.append(_orphans_of_backup(one, orphans or left))
    return tuple(findings)


def drop_notes(connection: Connection, watched: Sequence[Watched]) -> None:
    """Remove what `watch_references` has noted."""
    for one in watched:
        if one.gone:
            with translated(one.reference.name):
                connection.execute(f"DROP TABLE {one.gone}")


def require_no_action(
    connection: Connection, watched: Sequence[Watched], deleting: Matched, differences: str
) -> None:
    """Raise `ReferencesWouldBreak` if deleting a table's rows would make foreign keys act on rows that are to stay.

    Only where triggers of foreign keys cannot be kept from acting. They do not wait for the other half of a row that
    is replaced either.
    """
    acting = [one for one in watched if one.acts_on_delete]
    above = _above(connection, deleting) if acting else frozenset()
    for one in acting:
        if _parent_label(one.reference) not in above:
            continue
        own = ""
        if _child_label(one.reference) == deleting.mapped.label:
            own = f" AND NOT EXISTS (SELECT FROM {differences} AS d WHERE d.live_tid = c.ctid AND d.kind IN ('d', 'r'))"
        with translated(one.reference.name):
            row = connection.execute(
                f"SELECT count(*) FROM {differences} AS g JOIN ONLY {deleting.live} AS l ON l.ctid = g.live_tid"
                f" JOIN {one.child} AS c ON {_refers(one, 'l', 'c')} WHERE g.kind IN ('d', 'r'){own}"
            ).fetchone()
        if row and row[0]:
            raise _broken(one, row[0], other=_child_label(one.reference))


# ------------------------------------------------------------------------------------------- watching


def _above(connection: Connection, table: Matched) -> frozenset[str]:
    with translated(table.mapped.label):
        rows = connection.execute(_ABOVE, [table.mapped.live.oid]).fetchall()
    return frozenset({table.mapped.label, *(f"{schema}.{name}" for schema, name in rows)})


def _watch(
    connection: Connection, reference: Reference, locked: Collection[str], whole: Collection[str]
) -> Watched:
    child = f"{quote_identifier(reference.schema)}.{quote_identifier(reference.table)}"
    parent = f"{quote_identifier(reference.key.to_schema)}.{quote_identifier(reference.key.to_table)}"
    with translated(reference.name):
        row = connection.execute(_DETAILS, [reference.name, child]).fetchone()
    if row is None:
        raise TableChanged(object=_child_label(reference), detail=f"the foreign key {reference.name} is gone")
    child_kind, parent_kind, operators, on_delete, on_update, may_lock, collations = row
    return Watched(
        reference=reference,
        child=child if child_kind == "p" else f"ONLY {child}",
        parent=parent if parent_kind == "p" else f"ONLY {parent}",
        operators=tuple(operators) or (EQUALS,) * len(reference.key.columns),
        collations=tuple(collations),
        acts_on_delete=bool({on_delete, on_update} & set("cnd")),
        is_parent_locked=_parent_label(reference) in locked,
        is_whole={_child_label(reference), _parent_label(reference)} <= set(whole),
        may_lock_parent=may_lock,
    )


def _touched(schema: str, table: Matched, reference: Reference) -> tuple[str, ...]:
    """Return relations, as quoted SQL, of the rows that came or changed, with the columns that refer."""
    differences = found_differences(schema, table.mapped.number)
    columns = reference.key.columns
    if set(columns) <= set(table.mapped.columns):
        names = ", ".join(quote_identifier(name) for name in columns)
        listed = ", ".join(f"s.{quote_identifier(name)}" for name in columns)
        # The OFFSET keeps the planner from reading the whole staging table for a few rows.
        staged = f"(SELECT {names} FROM {table.staged} WHERE ctid = d.staged_tid OFFSET 0)"
        rows = f"{differences} AS d CROSS JOIN LATERAL {staged} AS s"
        return (f"(SELECT {listed} FROM {rows} WHERE d.kind IN ('i', 'u', 'r'))",)
    if not table.mapped.key:
        return ()
    # A column that the backup does not have, or that the server computes: live says what has become of it.
    listed = ", ".join(f"l.{quote_identifier(name)}" for name in columns)
    live = f"JOIN ONLY {table.live} AS l ON {listed_key(table, 'd', 'l')}"
    return (f"(SELECT {listed} FROM {differences} AS d {live} WHERE d.kind IN ('i', 'u', 'r'))",)


def _note_gone(
    connection: Connection, schema: str, number: int, parents: Sequence[Matched], reference: Reference
) -> str:
    """Write down the values that rows which go, or change, are referred to by; return the table's name."""
    name = f"{quote_identifier(schema)}.gone_{number}"
    columns = reference.key.to_columns
    listed = ", ".join(f"l.{quote_identifier(column)}" for column in columns)
    present = " AND ".join(f"l.{quote_identifier(column)} IS NOT NULL" for column in columns)
    queries = []
    for table in parents:
        live = {column.name: column for column in table.mapped.live.columns}
        written = [live[column] for column in columns if column in table.mapped.columns]
        changed = " OR ".join(column_differs(column) for column in written) or "false"
        if len(written) < len(columns):
            # What the server computes of other columns may change with any of them.
            changed = "true"
        queries.append(
            f"SELECT {listed} FROM {found_differences(schema, table.mapped.number)} AS d"
            f" JOIN ONLY {table.live} AS l ON l.ctid = d.live_tid"
            f" LEFT JOIN {table.staged} AS s ON s.ctid = d.staged_tid"
            f" WHERE (d.kind = 'd' OR (d.kind IN ('u', 'r') AND ({changed}))) AND {present}"
        )
    with translated(reference.name):
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        connection.execute(f"CREATE UNLOGGED TABLE {name} AS {' UNION '.join(queries)}")
        connection.execute(f"ANALYZE {name}")
        some = connection.execute(f"SELECT EXISTS (SELECT FROM {name})").fetchone()
        if some == (True,):
            return name
        connection.execute(f"DROP TABLE {name}")
    return ""


# ------------------------------------------------------------------------------------------- requiring


def _count_orphans(connection: Connection, one: Watched, rows: str) -> int:
    """Lock what is referred to, unless nobody can write there anyway, and count the rows for which it is not there."""
    present = " AND ".join(
        f"c.{quote_identifier(column)} IS NOT NULL" for column in one.reference.key.columns
    )
    parents, parent = "", one.parent
    if not one.is_parent_locked and one.may_lock_parent:
        columns = ", ".join(f"p.{quote_identifier(column)}" for column in one.reference.key.to_columns)
        # What is gone once its lock is obtained is not among them, though the statement began before.
        parents = (
            f", locked AS MATERIALIZED (SELECT {columns} FROM {one.parent} AS p"
            f" WHERE EXISTS (SELECT FROM coming AS c WHERE {_refers(one, 'p', 'c')}) FOR KEY SHARE OF p)"
        )
        parent = "locked"
    row = connection.execute(
        f"WITH coming AS MATERIALIZED (SELECT * FROM {rows} AS c){parents}"
        f" SELECT count(*) FROM coming AS c WHERE {present}"
        f" AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {_refers(one, 'p', 'c')})"
    ).fetchone()
    return int(row[0]) if row else 0


def _count_left(connection: Connection, one: Watched) -> int:
    """Count the rows that still refer to something that is gone."""
    row = connection.execute(
        f"SELECT count(*) FROM {one.gone} AS g JOIN {one.child} AS c ON {_refers(one, 'g', 'c')}"
        f" WHERE NOT EXISTS (SELECT FROM {one.parent} AS p WHERE {_refers(one, 'p', 'c')})"
    ).fetchone()
    return int(row[0]) if row else 0


def _orphans_of_backup(one: Watched, rows: int) -> Finding:
    return Finding(
        severity="warning",
        code="orphans-in-backup",
        object=_child_label(one.reference),
        expected=f"every row refers ({one.reference.name}) to a row of {_parent_label(one.reference)}",
        observed=f"{rows} rows do not, and did not in the backup",
        advice="The tables are what they were at the recovery point. Correct these rows as you would have then.",
    )


def _refers(one: Watched, parent: str, child: str) -> str:
    """Return the SQL condition that a row of the alias `child` refers to the row of the alias `parent`."""
    key = one.reference.key
    return " AND ".join(
        f"{parent}.{quote_identifier(to)} {operator} {child}.{quote_identifier(column)}"
        # As in the server's own check: the referenced column's decides.
        + (f" COLLATE {collation}" if collation else "")
        for to, operator, column, collation in zip(
            key.to_columns, one.operators, key.columns, one.collations, strict=True
        )
    )


def _broken(one: Watched, rows: int, *, other: str) -> ReferencesWouldBreak:
    return ReferencesWouldBreak(
        rows=rows,
        table=_child_label(one.reference),
        key=one.reference.name,
        referenced=_parent_label(one.reference),
        other=other,
    )


def _child_label(reference: Reference) -> str:
    return f"{reference.schema}.{reference.table}"


def _parent_label(reference: Reference) -> str:
    return f"{reference.key.to_schema}.{reference.key.to_table}"
