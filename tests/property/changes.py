# ruff: noqa: ARG005 - every migration is called alike, whether or not it needs the table and the number
"""Changes to a database, as SQL: what a user, a migration or the platform might do between two backups.

Every function returns statements; numbers choose among what is there, so that Hypothesis can shrink them.
A statement that the server refuses (a lock, a view, a type that is in use) is no error: it changed nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

Statements: TypeAlias = list[str]

SCHEMAS = ("app", 'Odd "Schema" é', "public")

EXPRESSIONS: Mapping[str, str] = {
    "integer": "((g::bigint * 7919 + {r}) % 2147483647)::int",
    "bigint": "g::bigint * 4294967296 + {r}",
    "smallint": "((g + {r}) % 30000)::int2",
    "boolean": "CASE (g + {r}) % 3 WHEN 0 THEN true WHEN 1 THEN false END",
    "numeric": "(ARRAY['NaN', '1.00', '1.0', '-Infinity', '0', '-0.000', '12345678901234567890.123'])"
    "[1 + (g + {r}) % 7]::numeric",
    "double precision": "(ARRAY['NaN', '-0', '0', 'Infinity', '0.1', '1e-300'])[1 + (g + {r}) % 6]::float8",
    "text": r"(ARRAY['', E'tab\there', E'line\nfeed', E'back\\slash', E'\\N', NULL, E'\\.', 'ünï ☃', E'cr\r',"
    r" repeat('long ', 900)])[1 + (g + {r}) % 10] || g",
    "character(5)": "left('a ' || g, 5)",
    "character varying(40)": "'v' || g || '-' || {r}",
    "bytea": "decode(md5((g + {r})::text), 'hex') || '\\x00'::bytea",
    "jsonb": r"jsonb_build_object('n', g, 'z', NULL, 't', E'tab\t\\ and \" quote', 'd', 1.00)",
    "json": """('{{"a":  ' || g || ', "a": {r}}}')::json""",
    "integer[]": "ARRAY[g, NULL, {r}]",
    "text[]": r"""ARRAY['a,b', '"q"', NULL, E'back\\', '{{}}', 'NULL', g::text]""",
    "timestamp with time zone": "'2026-11-23 04:05:06.789+02'::timestamptz + g * interval '1 s'",
    "date": "(ARRAY['infinity', '-infinity', '0044-03-15 BC', '2026-11-23'])[1 + g % 4]::date",
    "interval": "(ARRAY['1 mon', '30 days', '720:00:00', '-1 year 2 days'])[1 + (g + {r}) % 4]::interval",
    "uuid": "md5((g + {r})::text)::uuid",
    "inet": "('10.0.' || g % 250 || '.1/24')::inet",
    "bit varying": "(g % 16)::bit(4)::varbit",
    "int4range": "int4range(g, g + 10)",
    "point": "point(g, {r})",
    "xml": "('<a>' || g || '</a>')::xml",
    "tsvector": "to_tsvector('pg_catalog.simple', 'one two ' || g)",
    "money": "g::money",
    "regclass": "'app.anchor'::regclass",
    "app.mood": "(enum_range(NULL::app.mood))[1 + (g + {r}) % array_length(enum_range(NULL::app.mood), 1)]",
    "app.mood[]": "enum_range(NULL::app.mood)",
    "app.pair": r'''('(' || g || E',"a \\\\ ""b""")')::app.pair''',
    "app.short": "left('s' || g, 8)::app.short",
    "app.huge": "(SELECT string_agg(md5((g * 100000 + i + {r})::text), '')"
    " FROM generate_series(1, CASE WHEN {r} % 9 = 0 THEN 30000 ELSE 200 END) i)::app.huge",
}
"""Types by the name that the catalog gives them, and values: `g` differs by row, `{r}` by statement."""

TYPES: Sequence[str] = tuple(EXPRESSIONS)

PREPARATION = """
CREATE TYPE app.mood AS ENUM ('sad', 'o''k', 'with space');
CREATE TYPE app.pair AS (a int, b text);
CREATE DOMAIN app.short AS text CHECK (length(value) < 100);
CREATE DOMAIN app.huge AS text;
CREATE TABLE app.anchor (id int);
CREATE TABLE app."zero columns" ();
INSERT INTO app."zero columns" SELECT FROM generate_series(1, 7);
"""


@dataclass(frozen=True)
class PresentTable:
    """A table as the catalog has it now: quoted name, and columns by quoted name."""

    name: str
    bare: str
    columns: tuple[tuple[str, str], ...]


def clear(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Drop whatever is there and make the schemas and types anew."""
    names = connection.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
    ).fetchall()
    for (name,) in names:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(str(name))))
    for name in SCHEMAS:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    connection.execute(PREPARATION)


def present_tables(connection: psycopg.Connection[tuple[Any, ...]]) -> list[PresentTable]:
    """List the tables that rows can be written to, with the columns that take values."""
    rows = connection.execute(
        "SELECT format('%I.%I', n.nspname, c.relname), quote_ident(c.relname),"
        " coalesce(array_agg(quote_ident(a.attname) ORDER BY a.attnum) FILTER (WHERE a.attnum > 0), '{}'),"
        " coalesce(array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)"
        "          FILTER (WHERE a.attnum > 0), '{}')"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " AND a.attgenerated = ''"
        " WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
        " AND c.relname <> 'anchor' GROUP BY c.oid, 1, 2 ORDER BY c.oid"
    ).fetchall()
    return [
        PresentTable(str(n), str(b), tuple(zip(names, types, strict=True))) for n, b, names, types in rows
    ]


# ---------------------------------------------------------------------------------------- making tables


def create_table(number: int, shape: int, types: Sequence[str]) -> Statements:
    """Make a table of one of several shapes, with a key, without one, partitioned, inherited, and so on."""
    schema = '"' + SCHEMAS[number % len(SCHEMAS)].replace('"', '""') + '"'
    name = f'{schema}."T{number} ""é"" \\ "'
    columns = ", ".join(f"\"c{place} 'x'\" {kind}" for place, kind in enumerate(types))
    listed = f", {columns}" if columns else ""
    return [
        [f"CREATE TABLE {name} (id int PRIMARY KEY{listed})"],
        [f"CREATE TABLE {name} ({columns})"],
        [f"CREATE UNLOGGED TABLE {name} (id bigint GENERATED ALWAYS AS IDENTITY{listed})"],
        [f"CREATE TABLE {name} (id int, doubled int GENERATED ALWAYS AS (id * 2) STORED{listed})"],
        [
            f"CREATE TABLE {name} (id int, gone text DEFAULT 'x'{listed})",
            f"ALTER TABLE {name} DROP COLUMN gone",
        ],
        [
            f"CREATE TABLE {name} (id int{listed}) PARTITION BY LIST ((id % 3))",
            *(
                f'CREATE TABLE {schema}."P{number}-{p}" PARTITION OF {name} FOR VALUES IN ({p})'
                for p in range(2)
            ),
            f'CREATE TABLE {schema}."P{number}-d" PARTITION OF {name} DEFAULT',
        ],
        [
            f"CREATE TABLE {name} (id int{listed})",
            f'CREATE TABLE {schema}."Child{number}" () INHERITS ({name})',
        ],
        [f"CREATE TABLE {name} (only_virtual int GENERATED ALWAYS AS (1))"],
        [f"CREATE TABLE {name} (id int{listed}) WITH (fillfactor = 50)"],
    ][shape % 9]


# ---------------------------------------------------------------------------------------- changing rows


def insert(table: PresentTable, rows: int, r: int) -> Statements:
    """Add rows; huge values only a few."""
    kinds = [kind for _, kind in table.columns]
    count = min(rows, 4) if "app.huge" in kinds else rows
    if not table.columns:
        return [f"INSERT INTO {table.name} SELECT FROM generate_series(1, {count})"] if count else []
    values = ", ".join(_value(kind, r) for kind in kinds)
    names = ", ".join(name for name, _ in table.columns)
    return [
        (
            f"INSERT INTO {table.name} ({names}) OVERRIDING SYSTEM VALUE SELECT {values}"
            f" FROM generate_series({r * 100}, {r * 100 + count - 1}) AS g"
        )
    ]


def update(table: PresentTable, one_in: int, r: int) -> Statements:
    """Change one column of some rows, chosen by where they lie."""
    if not table.columns:
        return []
    name, kind = table.columns[r % len(table.columns)]
    g = "abs(hashtext(t.ctid::text))"
    value = _value(kind, r).replace("(g ", f"({g} ") if kind == "app.huge" else _value(kind, r)
    return [
        (
            f"UPDATE ONLY {table.name} AS t SET {name} = (SELECT {value} FROM (SELECT {g} % 100000 AS g) AS s)"
            f" WHERE abs(hashtext(t.ctid::text) % {one_in}) = {r % one_in}"
        )
    ]


def touch(table: PresentTable, one_in: int, r: int) -> Statements:
    """Write rows again as they are: new versions of the same values."""
    if not table.columns:
        return []
    name = table.columns[0][0]
    return [
        f"UPDATE {table.name} SET {name} = {name} WHERE abs(hashtext(ctid::text) % {one_in}) = {r % one_in}"
    ]


def delete(table: PresentTable, one_in: int, r: int) -> Statements:
    """Remove some rows, or all."""
    return [f"DELETE FROM {table.name} WHERE abs(hashtext(ctid::text) % {one_in}) = {r % one_in}"]


def delete_tail(table: PresentTable, one_in: int, r: int) -> Statements:
    """Remove the rows of the last pages and let VACUUM give the pages back."""
    return [f"DELETE FROM ONLY {table.name} WHERE ctid >= '({r % 5},0)'::tid", f"VACUUM {table.name}"]


def _value(kind: str, r: int) -> str:
    return EXPRESSIONS.get(kind, "NULL").format(r=r)


# ------------------------------------------------------------------------------- migrating and housekeeping


def _column(table: PresentTable, r: int) -> tuple[str, str]:
    return table.columns[r % len(table.columns)] if table.columns else ("missing", "integer")


MIGRATIONS: Mapping[str, Callable[[PresentTable, int], Statements]] = {
    "add a column with a default": lambda t, r: [
        f"ALTER TABLE {t.name} ADD COLUMN \"a{r}\" text DEFAULT 'd{r}'"
    ],
    "add a volatile default": lambda t, r: [
        f'ALTER TABLE {t.name} ADD COLUMN "v{r}" float8 DEFAULT random()'
    ],
    "add an empty column": lambda t, r: [f'ALTER TABLE {t.name} ADD COLUMN "e{r}" int'],
    "add a generated column": lambda t, r: [
        f'ALTER TABLE {t.name} ADD COLUMN "g{r}" int GENERATED ALWAYS AS ({r}) STORED'
    ],
    "drop a column": lambda t, r: [f"ALTER TABLE {t.name} DROP COLUMN {_column(t, r)[0]} CASCADE"],
    "drop a column and add it again": lambda t, r: [
        (
            f"ALTER TABLE {t.name} DROP COLUMN {_column(t, r)[0]} CASCADE,"
            f" ADD COLUMN {_column(t, r)[0]} {_column(t, r)[1]}"
        )
    ],
    "change a type": lambda t, r: [
        f"ALTER TABLE {t.name} ALTER {_column(t, r)[0]} TYPE text USING {_column(t, r)[0]}::text"
    ],
    "widen a type": lambda t, r: [f"ALTER TABLE {t.name} ALTER {_column(t, r)[0]} TYPE varchar(80)"],
    "rename a column": lambda t, r: [f'ALTER TABLE {t.name} RENAME {_column(t, r)[0]} TO "renamed {r}"'],
    "exchange two columns' names": lambda t, r: [
        f"ALTER TABLE {t.name} RENAME {_column(t, r)[0]} TO swap",
        f"ALTER TABLE {t.name} RENAME {_column(t, r + 1)[0]} TO {_column(t, r)[0]}",
        f"ALTER TABLE {t.name} RENAME swap TO {_column(t, r + 1)[0]}",
    ],
    "rename the table": lambda t, r: [f'ALTER TABLE {t.name} RENAME TO "Renamed {r}"'],
    "move the table": lambda t, r: [f"ALTER TABLE {t.name} SET SCHEMA app"],
    "drop the table": lambda t, r: [f"DROP TABLE {t.name} CASCADE"],
    "add an enum label": lambda t, r: [f"ALTER TYPE app.mood ADD VALUE 'label {r}' BEFORE 'sad'"],
    "rename an enum label": lambda t, r: [
        (
            f"DO $$ BEGIN EXECUTE format('ALTER TYPE app.mood RENAME VALUE %L TO %L',"
            f" (enum_range(NULL::app.mood))[1], 'renamed {r}'); END $$"
        )
    ],
    "exchange two enum labels": lambda t, r: [
        "ALTER TYPE app.mood RENAME VALUE 'sad' TO 'swap'",
        "ALTER TYPE app.mood RENAME VALUE 'o''k' TO 'sad'",
        "ALTER TYPE app.mood RENAME VALUE 'swap' TO 'o''k'",
    ],
    "add an attribute": lambda t, r: [f'ALTER TYPE app.pair ADD ATTRIBUTE "x{r}" text CASCADE'],
    "drop an attribute": lambda t, r: ["ALTER TYPE app.pair DROP ATTRIBUTE b CASCADE"],
    "rename what a regclass names": lambda t, r: [f'ALTER TABLE app.anchor RENAME TO "anchor {r}"'],
    "move what a regclass names": lambda t, r: ["ALTER TABLE app.anchor SET SCHEMA public"],
    "rename the schema of what a regclass names": lambda t, r: [
        "ALTER SCHEMA public RENAME TO public2",
        "ALTER SCHEMA public2 RENAME TO public",
        "ALTER TABLE app.anchor SET SCHEMA public",
        f'ALTER SCHEMA public RENAME TO "public {r}"',
    ],
    "truncate": lambda t, r: [f"TRUNCATE {t.name} CASCADE"],
    "truncate and fill in one transaction": lambda t, r: [
        "BEGIN",
        f"TRUNCATE {t.name}",
        *insert(t, 20, r),
        "COMMIT",
    ],
    "vacuum": lambda t, r: [f"VACUUM {t.name}"],
    "vacuum and freeze": lambda t, r: [f"VACUUM (FREEZE) {t.name}"],
    "vacuum full": lambda t, r: [f"VACUUM FULL {t.name}"],
    "cluster": lambda t, r: [
        f"CREATE INDEX ON {t.name} ({_column(t, r)[0]} DESC)",
        (
            "DO $$ DECLARE i regclass; BEGIN SELECT indexrelid INTO i FROM pg_index"
            f" WHERE indrelid = '{t.name.replace(chr(39), chr(39) * 2)}'::regclass LIMIT 1;"
            f" EXECUTE format('CLUSTER %s USING %I', '{t.name.replace(chr(39), chr(39) * 2)}',"
            " (SELECT relname FROM pg_class WHERE oid = i)); END $$"
        ),
    ],
    "make it logged": lambda t, r: [f"ALTER TABLE {t.name} SET LOGGED"],
    "make it unlogged": lambda t, r: [f"ALTER TABLE {t.name} SET UNLOGGED"],
    "lock rows": lambda t, r: ["BEGIN", f"SELECT FROM {t.name} FOR UPDATE", "COMMIT"],
    "savepoints": lambda t, r: [
        "BEGIN",
        *insert(t, 10, r),
        "SAVEPOINT a",
        *update(t, 2, r),
        *delete(t, 3, r),
        "ROLLBACK TO a",
        "SAVEPOINT b",
        *insert(t, 5, r + 1),
        "RELEASE b",
        "COMMIT" if r % 3 else "ROLLBACK",
    ],
    "many transaction ids": lambda t, r: [
        (
            "DO $$ BEGIN FOR i IN 1..300 LOOP BEGIN PERFORM pg_current_xact_id(); RAISE EXCEPTION 'x';"
            " EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$"
        )
    ],
}
"""What happens to tables and types, by name; numbers choose the column and the new names."""
