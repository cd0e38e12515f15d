r"""The SQL that measures a restored table: counts, digests and catalog facts, never rows. Pure.

The statements pass through SQLAlchemy (which reads `:name` and `%`) and end up in HTML pages, and a name
in Postgres may hold any character. Identifiers and literals are therefore written with Unicode escapes
for everything but letters, digits, underscore, hyphen and space: what is left means nothing to anybody on
the way. Example:

    identifier('a"b:c')   ->   U&"a\0022b\003Ac"
"""

import re
from collections.abc import Mapping, Sequence

from strongroom.format.documents import ForeignKey, SequenceState, TableFacts, UniqueKey
from strongroom.postgres.digest import row_digest

_QUOTED = re.compile(r'"((?:[^"]|"")*)"')

Equality = Mapping[tuple[str, str, str], str]
"""(schema, table, column) -> schema of the type's `=` operator, where that is not pg_catalog."""


def _inert(character: str) -> bool:
    return character.isalnum() or character in "_- "


def identifier(name: str) -> str:
    """Return `name` as a quoted identifier that survives SQLAlchemy, `%` formatting and HTML."""
    if all(map(_inert, name)):
        return f'"{name}"'
    escaped = (
        c if _inert(c) else f"\\{ord(c):04X}" if ord(c) < 0x10000 else f"\\+{ord(c):06X}" for c in name
    )
    return f'U&"{"".join(escaped)}"'


def literal(text: str) -> str:
    """Return `text` as a string literal that survives the same, whatever standard_conforming_strings is."""
    if all(map(_inert, text)):
        return f"'{text}'"
    escaped = (
        c if _inert(c) else f"\\u{ord(c):04X}" if ord(c) < 0x10000 else f"\\U{ord(c):08X}" for c in text
    )
    return f"E'{''.join(escaped)}'"


def inert(sql: str) -> str:
    """Rewrite the quoted identifiers of an expression that has no string literals in it."""
    return _QUOTED.sub(lambda match: identifier(match.group(1).replace('""', '"')), sql)


def relation(schema: str, name: str) -> str:
    """Return the qualified, quoted name of a table or sequence."""
    return f"{identifier(schema)}.{identifier(name)}"


def not_null_flag(number: int) -> str:
    """Return the name under which `measured_rows` tells whether not-null column `number` is null."""
    return f"null_{number}"


def own_rows(table: TableFacts) -> str:
    """Return where a table's own rows are, as FROM takes it. `ONLY`, since children are tables of their own."""
    return f"ONLY {relation(table.schema, table.name)}"


def measured_rows(table: TableFacts, source: str = "") -> str:
    """Return the query behind a table's batch: for each row its digest and which not-null columns are null.

    The server evaluates only what an aggregate asks for. `source` is where the rows are, if not in the table.
    """
    flags = [
        # Not `IS NULL`, which is also true of a composite whose fields are all null.
        f", t.{identifier(column.name)} IS NOT DISTINCT FROM NULL AS {not_null_flag(column.number)}"
        for column in table.columns
        if column.not_null
    ]
    expressions = inert(row_digest(table.columns)) + " AS digest" + "".join(flags)
    return f"SELECT {expressions} FROM {source or own_rows(table)} AS t"


def null_rows(table: TableFacts, column: str, source: str = "") -> str:
    """Return a query that counts the rows with a null in `column`."""
    return (
        f"SELECT count(*) FROM {source or own_rows(table)} AS t"
        f" WHERE t.{identifier(column)} IS NOT DISTINCT FROM NULL"
    )


def counted_rows(source: str) -> str:
    """Return a query that counts the rows that are at `source`."""
    return f"SELECT count(*) FROM {source} AS t"


def listed_columns(table: TableFacts) -> str:
    """Return a query for the names and types of a table's columns, in their order."""
    return (
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)"
        " FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        f" WHERE n.nspname = {literal(table.schema)} AND c.relname = {literal(table.name)}"
        " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    )


def duplicated_keys(table: TableFacts, key: UniqueKey, source: str = "") -> str:
    """Return a query that counts the values of `key` that more than one row has.

    Grouping uses the type's own equality and takes nulls as equal; where nulls are distinct, a key with a
    null in it never collides.
    """
    columns = [f"t.{identifier(name)}" for name in key.columns]
    present = "" if key.nulls_not_distinct else _all_present(columns)
    return (
        f"SELECT count(*) FROM (SELECT FROM {source or own_rows(table)} AS t{present}"
        f" GROUP BY {', '.join(columns)} HAVING count(*) > 1) AS duplicated"
    )


def referred_rows(key: ForeignKey, *, partitioned: bool) -> str:
    """Return where the rows are that a key refers to: the root of partitions has none of its own."""
    place = relation(key.to_schema, key.to_table)
    return place if partitioned else f"ONLY {place}"


def orphaned_rows(
    table: TableFacts,
    key: ForeignKey,
    *,
    partitioned: bool,
    equality: Equality,
    source: str = "",
    referred: str = "",
) -> str:
    """Return a query that counts the rows that refer to nothing (MATCH SIMPLE: a null refers to nothing).

    `partitioned` tells that the referenced table is the root of partitions, which has no rows of its own.
    `source` and `referred` are where the rows of either side are, if not in their tables.
    """
    child = [f"t.{identifier(name)}" for name in key.columns]
    parent = [f"r.{identifier(name)}" for name in key.to_columns]
    matches = " AND ".join(
        f"{there} {_equals(table, key, place, equality)} {here}"
        for place, (here, there) in enumerate(zip(child, parent, strict=True))
    )
    return (
        f"SELECT count(*) FROM {source or own_rows(table)} AS t{_all_present(child)}"
        f" AND NOT EXISTS (SELECT FROM {referred or referred_rows(key, partitioned=partitioned)} AS r"
        f" WHERE {matches})"
    )


def _all_present(columns: Sequence[str]) -> str:
    return " WHERE " + " AND ".join(f"{column} IS DISTINCT FROM NULL" for column in columns)


def _equals(table: TableFacts, key: ForeignKey, place: int, equality: Equality) -> str:
    """Return the operator that compares column `place`; without a search_path not every type sees its `=`."""
    own = (table.schema, table.name, key.columns[place])
    other = (key.to_schema, key.to_table, key.to_columns[place])
    schema = equality.get(other) or equality.get(own)
    return f"OPERATOR({identifier(schema)}.=)" if schema else "="


def sequence_position(sequence: SequenceState) -> str:
    """Return a query for a sequence's last_value and is_called."""
    return f"SELECT last_value, is_called FROM {relation(sequence.schema, sequence.name)}"


def sequence_behind(sequence: SequenceState) -> str:
    """Return a query for 1 if the sequence's next value would not pass its column's values, else 0.

    A sequence lives in the schema of the table that owns it.
    """
    extreme, sign = ("max", "<=") if sequence.increment > 0 else ("min", ">=")
    # bigint would overflow at the end of the range.
    upcoming = f"s.last_value::numeric + CASE WHEN s.is_called THEN {sequence.increment} ELSE 0 END"
    return (
        f"SELECT count(*) FROM {relation(sequence.schema, sequence.name)} AS s WHERE {upcoming} {sign}"
        f" (SELECT {extreme}(t.{identifier(sequence.column)})"
        f" FROM ONLY {relation(sequence.schema, sequence.table)} AS t)"
    )


EQUALITY_OPERATORS = """
WITH RECURSIVE base (oid, type) AS (
    SELECT oid, oid FROM pg_catalog.pg_type
    UNION ALL
    SELECT b.oid, t.typbasetype FROM base AS b JOIN pg_catalog.pg_type AS t ON t.oid = b.type
    WHERE t.typtype = 'd'
)
SELECT n.nspname, c.relname, a.attname, opn.nspname
FROM pg_catalog.pg_operator AS o
JOIN pg_catalog.pg_namespace AS opn ON opn.oid = o.oprnamespace
JOIN base AS b ON b.type = o.oprleft
JOIN pg_catalog.pg_attribute AS a ON a.atttypid = b.oid
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE o.oprname = '=' AND o.oprleft = o.oprright AND opn.nspname <> 'pg_catalog' AND a.attnum > 0
  AND c.relkind IN ('r', 'p') AND NOT a.attisdropped
"""
"""The columns whose type, below all domains, has its `=` outside pg_catalog (see `Equality`)."""

HIDING_TABLES = """
SELECT count(*), min(n.nspname || '.' || c.relname)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN unnest(%s::text[], %s::text[]) AS wanted (schema, name)
  ON wanted.schema = n.nspname AND wanted.name = c.relname
WHERE pg_catalog.row_security_active(c.oid)
"""
"""How many of the given tables row-level security applies to for this role, and the first of them."""
