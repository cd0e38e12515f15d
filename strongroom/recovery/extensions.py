"""Making the schemas, extensions and message queues that a backup names and a destination lacks.

For example:

    findings = make_schemas_and_extensions(connection, facts) + make_queues(connection, facts)
"""

from strongroom.format.documents import Finding
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.database_facts import DatabaseFacts, Extension, Queue
from strongroom.postgres.digest import quote_identifier, quote_literal
from strongroom.postgres.statements import Statement, attempt_all, run
from strongroom.supabase.scope import is_managed_schema, is_platform_role

_EXTENSION_SCHEMAS = """
SELECT e.extname, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
"""
_INSTALLED = "SELECT extname, extversion FROM pg_extension"
# An extension with a schema of its own makes it, and takes no other.
_FIXED_SCHEMA = (
    "SELECT schema FROM pg_available_extension_versions WHERE name = %s AND schema IS NOT NULL LIMIT 1"
)


def make_schemas_and_extensions(connection: Connection, facts: DatabaseFacts) -> tuple[Finding, ...]:
    """Make the schemas that role postgres may make, then the extensions; name other versions."""
    for schema in facts.schemas:
        if not is_managed_schema(schema.name) or not is_platform_role(schema.owner):
            _make_schema(connection, schema.name)
    installed = _installed(connection)
    for extension in facts.extensions:
        if extension.name not in installed:
            _make_extension(connection, extension)
    return _move_extensions(connection, facts) + _other_versions(facts, _installed(connection))


def _move_extensions(connection: Connection, facts: DatabaseFacts) -> tuple[Finding, ...]:
    """Move extensions that the destination has in another schema, where the user's objects expect them."""
    with translated("extensions"):
        schemas: dict[str, str] = dict(connection.execute(_EXTENSION_SCHEMAS).fetchall())
    return attempt_all(
        connection,
        [
            Statement(
                f"extension {e.name}",
                f"ALTER EXTENSION {quote_identifier(e.name)} SET SCHEMA {quote_identifier(e.schema)}",
            )
            for e in facts.extensions
            if schemas.get(e.name, e.schema) != e.schema
        ],
        code="extension-in-other-schema",
    )


def _other_versions(facts: DatabaseFacts, installed: dict[str, str]) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            severity="info",
            code="extension-version",
            object=f"extension {extension.name}",
            expected=extension.version,
            observed=installed.get(extension.name, "none"),
            advice="The destination's version is used.",
        )
        for extension in facts.extensions
        if installed.get(extension.name) != extension.version
    )


def _installed(connection: Connection) -> dict[str, str]:
    with translated("extensions"):
        rows: list[tuple[str, str]] = connection.execute(_INSTALLED).fetchall()
    return dict(rows)


def _make_schema(connection: Connection, name: str) -> None:
    """Make a schema unless it is there: the right to make one is not needed then."""
    with translated("schemas"):
        row = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", [name]).fetchone()
    if not row or not row[0]:
        run(connection, Statement(f"schema {name}", f"CREATE SCHEMA {quote_identifier(name)}"))


def _make_extension(connection: Connection, extension: Extension) -> None:
    with translated("extensions"):
        fixed = connection.execute(_FIXED_SCHEMA, [extension.name]).fetchone()
    where = ""
    if fixed is None:
        _make_schema(connection, extension.schema)
        where = f" SCHEMA {quote_identifier(extension.schema)}"
    sql = f"CREATE EXTENSION {quote_identifier(extension.name)}{where} CASCADE"
    run(connection, Statement(f"extension {extension.name}", sql))


def make_queues(connection: Connection, facts: DatabaseFacts) -> tuple[Finding, ...]:
    """Make the tables of the message queues of the extension pgmq, which it makes itself when called."""
    if not facts.queues:
        return ()
    with translated("message queues"):
        present = {
            name
            for (name,) in connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('pgmq') AND relkind IN ('r', 'p')"
            )
        }
    findings: tuple[Finding, ...] = ()
    for queue in facts.queues:
        if f"q_{queue.name}" not in present:
            findings += _make_queue(connection, queue)
    return findings


def _make_queue(connection: Connection, queue: Queue) -> tuple[Finding, ...]:
    name = f"message queue {queue.name}"
    if queue.partitioned:
        return (
            Finding(
                severity="error",
                code="queue-not-restored",
                object=name,
                observed="a partitioned queue; how it is partitioned is not in the backup",
                advice="Make it with pgmq.create_partitioned before the restore, then run the same command again.",
            ),
        )
    maker = "create_unlogged" if queue.unlogged else "create"
    run(connection, Statement(name, f"SELECT pgmq.{maker}({quote_literal(queue.name)})"))
    return ()
