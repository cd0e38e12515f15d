"""Whether a destination can take a backup: everything that can be known before the first write.

For example:

    findings = check_destination(connection, manifest, facts)      # raises what makes a restore impossible
"""

from collections.abc import Iterable
from typing import Any

import psycopg

from strongroom.errors import (
    DestinationIsSource,
    DestinationNotEmpty,
    DestinationOlder,
    DestinationRightMissing,
    ExtensionMissing,
    PlatformMissing,
)
from strongroom.format.documents import Finding, Manifest, TableFacts
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.database_facts import DatabaseFacts
from strongroom.postgres.digest import captured_columns, quote_identifier
from strongroom.recovery.journal import SCHEMA as JOURNAL
from strongroom.recovery.sessions import require_writable
from strongroom.supabase.scope import (
    is_managed_schema,
    is_platform_role,
    is_platform_routine,
    is_reserved_role,
)

_NAMED = 5

_SERVER = """
SELECT (SELECT system_identifier::text FROM pg_control_system()),
       (SELECT oid::int8 FROM pg_database WHERE datname = current_database()), current_database()::text,
       current_user::text, has_database_privilege(current_database(), 'CREATE')
"""

# What is there that neither Postgres nor an extension made; the row types of tables are the tables'.
_OBJECTS = """
SELECT n.nspname AS schema, c.relname AS name, 'relation' AS kind, c.oid, 'pg_class'::regclass AS class
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
UNION ALL
SELECT n.nspname, p.proname || '(' || oidvectortypes(p.proargtypes) || ')', 'function', p.oid, 'pg_proc'::regclass
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
UNION ALL
SELECT n.nspname, t.typname, 'type', t.oid, 'pg_type'::regclass
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE coalesce(c.relkind, 'c') = 'c' AND NOT (t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc)
UNION ALL
SELECT '', m.oid::text, 'large object', m.oid, 'pg_largeobject_metadata'::regclass FROM pg_largeobject_metadata m
"""
_USER_OBJECTS = f"""
SELECT o.schema, o.name, o.kind FROM ({_OBJECTS}) o
WHERE o.schema !~ '^pg_' AND o.schema <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e')
ORDER BY 1, 3, 2
"""

_PLATFORM_ROWS = (("auth", "users"), ("auth", "identities"), ("storage", "buckets"), ("storage", "objects"))

_COLUMNS = """
SELECT n.nspname, c.relname, array_agg(a.attname::text) FILTER (WHERE a.attname IS NOT NULL)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') GROUP BY 1, 2
"""

_LOOKUPS = {"relation": "to_regclass", "function": "to_regprocedure", "type": "to_regtype"}


def check_destination(
    connection: Connection, manifest: Manifest, facts: DatabaseFacts, *, is_resumed: bool = False
) -> tuple[Finding, ...]:
    """Raise what forbids a restore there, and return what will be different afterwards.

    `is_resumed` leaves out whether the destination is empty, when a restore of this backup into it was begun
    before. Raises `DestinationReadOnly`, `DestinationIsSource`, `DestinationOlder`,
    `DestinationRightMissing`, `ExtensionMissing`, `PlatformMissing`, `DestinationNotEmpty`.
    """
    with translated("the destination"):
        _check_server(connection, manifest)
        _check_version(connection, facts)
        _check_extensions(connection, facts)
        _check_platform(connection, manifest, facts)
        if not is_resumed:
            _check_empty(connection)
        return _roles_that_stay(connection, facts)


def _check_server(connection: Connection, manifest: Manifest) -> None:
    """Look at the server's state, at whether it is the source, and at what the role may do."""
    require_writable(connection)
    row: tuple[Any, ...] = connection.execute(_SERVER).fetchone() or ()
    system, oid, database, role, may_create = row
    if (system, oid) == (manifest.snapshot.system_identifier, manifest.snapshot.database_oid):
        raise DestinationIsSource(database=database)
    if not may_create:
        raise DestinationRightMissing(role=role, right=f"create schemas in database {database}")
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege as error:
        raise DestinationRightMissing(role=role, right="set session_replication_role") from error


def _check_version(connection: Connection, facts: DatabaseFacts) -> None:
    source, destination = facts.server_version // 10000, connection.info.server_version // 10000
    if destination < source:
        raise DestinationOlder(source=source, destination=destination)


def _check_extensions(connection: Connection, facts: DatabaseFacts) -> None:
    offered = {
        name
        for (name,) in connection.execute(
            "SELECT name FROM pg_available_extensions UNION SELECT extname FROM pg_extension"
        )
    }
    missing = [extension.name for extension in facts.extensions if extension.name not in offered]
    if missing:
        raise ExtensionMissing(extensions=", ".join(sorted(missing)))


# ---------------------------------------------------------------- the platform's part


def _check_platform(connection: Connection, manifest: Manifest, facts: DatabaseFacts) -> None:
    """Look for the platform's tables that the backup has rows of, and for what the user's objects refer to."""
    columns = {(schema, name): set(found or ()) for schema, name, found in connection.execute(_COLUMNS)}
    missing = [
        name
        for entry in manifest.tables
        if entry.facts.managed and entry.rows and not _is_made_here(entry.facts, facts)
        for name in _missing_of(entry.facts, columns)
    ]
    made = {extension.schema for extension in facts.extensions}
    for need in facts.needs:
        # What an extension makes is there once the extension is.
        if need.identity.split(".", 1)[0] in made - {"extensions"}:
            continue
        row = connection.execute(f"SELECT {_LOOKUPS[need.kind]}(%s) IS NULL", [need.identity]).fetchone()
        if row and row[0]:
            missing.append(f"{need.kind} {need.identity}")
    missing += _missing_roles(connection, facts)
    if missing:
        raise PlatformMissing(objects=_some(missing))


def _is_made_here(table: TableFacts, facts: DatabaseFacts) -> bool:
    """Tell whether the restore itself makes the table: the user's schema of migrations, or an extension's."""
    if table.schema == "supabase_migrations":
        return True
    extensions = {extension.name for extension in facts.extensions}
    by_extension = {"cron": "pg_cron", "pgmq": "pgmq"}
    if not is_managed_schema(table.schema):
        # A configuration table of an extension in a schema of the user's.
        return True
    return by_extension.get(table.schema) in extensions or table.schema in {"extensions", "tiger", "topology"}


def _missing_of(table: TableFacts, columns: dict[tuple[str, str], set[str]]) -> list[str]:
    """Return the table, or those of its columns, that the destination lacks."""
    found = columns.get((table.schema, table.name))
    name = f"{table.schema}.{table.name}"
    if found is None:
        return [name]
    return [f"{name}.{c.name}" for c in captured_columns(table.columns) if c.name not in found]


def _missing_roles(connection: Connection, facts: DatabaseFacts) -> list[str]:
    """Return the platform's roles to which the user's objects grant something and which are not there."""
    present = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    named = {g.grantee for a in facts.access if not a.managed for g in a.grants if g.grantee}
    return [
        f"role {name}"
        for name in sorted(named - present)
        if is_reserved_role(name) and not name.startswith(("cli_login_", "pg_"))
    ]


# ---------------------------------------------------------------- empty


def _check_empty(connection: Connection) -> None:
    found = [
        f"{kind} {schema}.{name}" if schema else f"{kind} {name}"
        for schema, name, kind in connection.execute(_USER_OBJECTS)
        if not is_managed_schema(schema) and schema != JOURNAL and not is_platform_routine(schema, name)
    ]
    for schema, name in _PLATFORM_ROWS:
        row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{schema}.{name}"]).fetchone()
        if row and row[0]:
            table = f"{quote_identifier(schema)}.{quote_identifier(name)}"
            filled = connection.execute(f"SELECT EXISTS (SELECT FROM {table})").fetchone()
            if filled and filled[0]:
                found.append(f"rows in {schema}.{name}")
    if found:
        raise DestinationNotEmpty(destination=connection.info.dbname, objects=_some(found))


def _roles_that_stay(connection: Connection, facts: DatabaseFacts) -> tuple[Finding, ...]:
    """Name custom roles of the server that other databases may use: they are altered, not made."""
    present = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    return tuple(
        Finding(
            severity="info",
            code="role-exists",
            object=f"role {role.name}",
            observed="the destination's server has a role of this name",
            advice="It keeps its password; its attributes and memberships become those of the backup.",
        )
        for role in facts.roles
        if role.name in present and not is_platform_role(role.name)
    )


def _some(names: Iterable[str]) -> str:
    """Name the first few."""
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
