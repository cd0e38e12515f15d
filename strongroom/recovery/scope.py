"""What a plan is about: each of its tables as the backup has it, matched with the live table of the same name.

    tables = read_scope(connection, manifest, plan)      # raises whatever makes the recovery impossible

Everything that stages, compares or reconciles begins here, so that no step goes on with a table that has changed
since the step before. A plan's conditions are the user's own words; the server parses them here once, in ways that
only a single expression survives.
"""

from collections.abc import Mapping, Sequence

import psycopg

from strongroom.errors import (
    ConditionInvalid,
    LiveTableGone,
    NothingInScope,
    RecoveryRightMissing,
    SchemaDrifted,
)
from strongroom.format.documents import Manifest, TableFacts
from strongroom.format.recovery_plans import RecoveryPlan, ScopedTable, Strategy
from strongroom.postgres.connection import Connection, abandon, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.postgres.extents import qualified
from strongroom.postgres.types import TypeCatalog
from strongroom.recovery.live import TableName, read_live_tables
from strongroom.recovery.mapping import LiveTable, MappedTable, condition_sql, map_table

_NEEDED: Mapping[Strategy, tuple[str, ...]] = {
    "exact": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "merge_missing": ("SELECT", "INSERT"),
    "merge_overwrite": ("SELECT", "INSERT", "UPDATE"),
    "empty": ("SELECT", "INSERT"),
}
_LOCKING = ("UPDATE", "DELETE")
"""Any of these lets a role keep writers away; INSERT alone does not."""

# A table that was renamed has the same columns; one that was moved has the same name.
_SIMILAR = """
SELECT format('%%s.%%s', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT array_agg(a.attname::text) AS names FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) k
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^(pg_|information_schema$|strongroom_)'
  AND (c.relname = %(name)s OR (n.nspname = %(schema)s AND k.names @> %(columns)s))
  AND NOT (format('%%s.%%s', n.nspname, c.relname) = ANY (%(known)s))
ORDER BY c.relname <> %(name)s, cardinality(k.names), 1 LIMIT 1
"""

_REFUSED = (psycopg.DataError, psycopg.NotSupportedError, psycopg.ProgrammingError)
_TEXTS_OF_TYPES = ("enum ", "composite ")


def read_scope(connection: Connection, manifest: Manifest, plan: RecoveryPlan) -> tuple[MappedTable, ...]:
    """Return the plan's tables in its order, each matched with the live one; for a session outside a transaction.

    Raises `NothingInScope`, `LiveTableGone`, `RecoveryRightMissing`, `SchemaDrifted`, `ConditionInvalid`.
    """
    facts = {(entry.facts.schema, entry.facts.name): entry.facts for entry in manifest.tables}
    for table in plan.tables:
        if (table.schema, table.name) not in facts:
            raise NothingInScope(backup=manifest.id, object=f"table {table.label}")
    live = read_live_tables(connection, [(table.schema, table.name) for table in plan.tables])
    mapped = []
    for number, table in enumerate(plan.tables):
        known = facts[table.schema, table.name]
        found = live.get((table.schema, table.name))
        if found is None:
            raise LiveTableGone(object=table.label, similar=_similar(connection, known, facts))
        _require_rights(connection, found, plan.strategy)
        mapped.append(map_table(number, known, table.where, found))
    _require_same_texts(connection, mapped)
    for one in mapped:
        if one.where:
            require_condition(connection, one)
    return tuple(mapped)


def require_condition(connection: Connection, mapped: MappedTable) -> None:
    """Raise `ConditionInvalid` unless the table's condition is one expression over the columns that are staged.

    The server is asked twice, about the condition in parentheses and in brackets: whatever closes the one early
    does not fit the other, so that only what is whole in itself passes both. Nothing is evaluated over rows.
    """
    columns = ", ".join(f"t.{quote_identifier(name)}" for name in mapped.columns)
    rows = f"(SELECT {columns} FROM ONLY {qualified(mapped.facts)} AS t) AS t"
    for test in (condition_sql(mapped.where), f"(ARRAY[\n{mapped.where}\n])[1]"):
        _parse(connection, mapped.label, f"SELECT FROM {rows} WHERE {test} LIMIT 0")


def _parse(connection: Connection, label: str, query: str) -> None:
    """Have the server parse and plan a query, in a transaction in which nothing can be written."""
    try:
        with translated(label):
            connection.execute("BEGIN READ ONLY")
        # Asked for a binary answer, psycopg sends it as one statement; the server refuses a second one in it.
        connection.execute(query, binary=True)
    except (*_REFUSED, psycopg.errors.ReadOnlySqlTransaction) as error:
        detail = (error.diag.message_primary or "it cannot be sent").strip().partition("\n")[0]
        raise ConditionInvalid(object=label, detail=f"{detail}.") from error
    except psycopg.Error:
        with translated(label):
            raise
    finally:
        abandon(connection)


def _similar(connection: Connection, facts: TableFacts, known: Mapping[TableName, TableFacts]) -> str:
    """Name a live table that may be the one that is gone, by another name or in another schema."""
    with translated("the catalog"):
        row = connection.execute(
            _SIMILAR,
            {
                "schema": facts.schema,
                "name": facts.name,
                "columns": [column.name for column in facts.columns],
                "known": [f"{schema}.{name}" for schema, name in known],
            },
        ).fetchone()
    return f", though there is a similar one: {row[0]}" if row else ""


def _require_rights(connection: Connection, live: LiveTable, strategy: Strategy) -> None:
    missing = [right for right in _NEEDED[strategy] if right in live.missing_rights]
    if not missing and all(right in live.missing_rights for right in _LOCKING):
        missing = ["lock it against writers (for which it needs UPDATE or DELETE)"]
    if not live.sees_all_rows:
        missing = ["see all its rows (row-level security applies to it)"]
    if missing:
        raise RecoveryRightMissing(role=role_of(connection), object=live.label, right=", ".join(missing))


def role_of(connection: Connection) -> str:
    """Return the role whose rights count."""
    with translated("the role"):
        row = connection.execute("SELECT current_user::text").fetchone()
    return str(row[0]) if row else ""


def _require_same_texts(connection: Connection, tables: Sequence[MappedTable]) -> None:
    """Raise `SchemaDrifted` where a type has kept its name, and its values have other texts or other parts now.

    A type that was made anew has another oid, and is known by its labels only: what they mean is then their text.
    """
    if not any(table.facts.type_facts for table in tables):
        return
    types = TypeCatalog(connection)
    with translated("the types"):
        types.load()
        for table in tables:
            oids = [c.type_oid for c in table.live.columns if c.name in table.columns]
            holds = set(types.facts(oids))
            about = {statement.partition(":")[0] for statement in holds}
            broken = [
                fact
                for fact in table.facts.type_facts
                if fact.startswith(_TEXTS_OF_TYPES) and fact not in holds and fact.partition(":")[0] in about
            ]
            if broken:
                detail = f"a type of its columns has changed since ({broken[0]} no longer holds)"
                raise SchemaDrifted(object=table.label, detail=detail)


def scoped(plan: RecoveryPlan, schema: str, name: str) -> ScopedTable | None:
    """Return what the plan says of a table, or None if it is out of its scope."""
    return next((table for table in plan.tables if (table.schema, table.name) == (schema, name)), None)
