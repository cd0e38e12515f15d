"""The whole cycle without a repository: read a source, restore definitions, copy rows, restore the rest.

captured = capture(source)
findings = restore(captured, source, destination)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from strongroom.deadline import Deadline
from strongroom.format.documents import Finding, SequenceState, TableFacts
from strongroom.postgres.connection import Connection, connect
from strongroom.postgres.database_facts import DatabaseFacts, decode_facts, encode_facts
from strongroom.postgres.digest import captured_columns, quote_identifier
from strongroom.postgres.facts_reading import read_facts
from strongroom.postgres.introspection import list_sequences, list_tables
from strongroom.postgres.large_objects import read_large_objects
from strongroom.postgres.schema_archive import dump_schema
from strongroom.postgres.schema_comparison import compare
from strongroom.postgres.schema_description import describe_schema
from strongroom.recovery.empty_destination import restore_after_rows, restore_before_rows
from strongroom.supabase.vault_secrets import read_vault_secrets
from tests.databases import Database


@dataclass(frozen=True)
class Captured:
    """What a backup would hold, but for rows."""

    facts: DatabaseFacts
    archive: bytes
    tables: tuple[TableFacts, ...]
    sequences: tuple[SequenceState, ...]
    large_objects: bytes
    secrets: bytes
    findings: tuple[Finding, ...]


@contextmanager
def session(database: Database, user: str = "postgres") -> Iterator[Connection]:
    """Open a session of the engine."""
    with connect(database.conninfo(user), Deadline.never()) as connection:
        yield connection


def capture(source: Database) -> Captured:
    """Read everything but rows in one exported snapshot, as role postgres."""
    never = Deadline.never()
    with session(source) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        facts = decode_facts(encode_facts(read_facts(connection)))
        archive = dump_schema(
            source.conninfo(), str(row[0] if row else ""), never, facts.server_version // 10000
        )
        findings = list(archive.findings)
        large_objects = b"".join(read_large_objects(connection, findings))
        secrets = read_vault_secrets(connection)
        found = list_tables(connection)
        sequences = tuple(list_sequences(connection))
    findings += [*secrets.findings, *found.findings, *facts.findings]
    return Captured(
        facts, archive.content, found.tables, sequences, large_objects, secrets.content, tuple(findings)
    )


def restore(captured: Captured, source: Database, destination: Database) -> tuple[Finding, ...]:
    """Restore everything into an empty destination, as role postgres."""
    findings = before(captured, destination)
    copy_rows(captured.tables, source, destination)
    return findings + after(captured, destination)


def before(captured: Captured, destination: Database) -> tuple[Finding, ...]:
    """Restore what comes before the rows."""
    return restore_before_rows(destination.conninfo(), captured.archive, captured.facts, Deadline.never())


def after(captured: Captured, destination: Database) -> tuple[Finding, ...]:
    """Restore what comes after the rows; the large objects arrive in pieces that cut frames anywhere."""
    content = captured.large_objects
    return restore_after_rows(
        destination.conninfo(),
        captured.archive,
        captured.facts,
        captured.sequences,
        Deadline.never(),
        jobs=2,
        large_objects=[content[start : start + 99_991] for start in range(0, len(content), 99_991)],
        secrets=captured.secrets,
    )


def copy_rows(tables: tuple[TableFacts, ...], source: Database, destination: Database) -> None:
    """Copy all rows, with triggers off; what the platform put into its tables by itself goes first."""
    with session(source) as reader, session(destination) as writer:
        writer.execute("SET session_replication_role = replica")
        for table in tables:
            name = f"{quote_identifier(table.schema)}.{quote_identifier(table.name)}"
            if table.managed:
                writer.execute(f"DELETE FROM ONLY {name}")
            _copy(reader, writer, name, [quote_identifier(c.name) for c in captured_columns(table.columns)])


def _copy(reader: Connection, writer: Connection, name: str, columns: list[str]) -> None:
    if not columns:
        row = reader.execute(f"SELECT count(*) FROM ONLY {name}").fetchone()
        for _ in range(int(row[0]) if row else 0):
            writer.execute(f"INSERT INTO {name} DEFAULT VALUES")
        return
    listed = ", ".join(columns)
    with (
        reader.cursor().copy(f"COPY (SELECT {listed} FROM ONLY {name}) TO STDOUT") as rows,
        writer.cursor().copy(f"COPY {name} ({listed}) FROM STDIN") as into,
    ):
        for piece in rows:
            into.write(piece)


def differences(source: Database, destination: Database) -> list[str]:
    """Compare the two databases' definitions; return `code object` of each difference."""
    with session(source) as one, session(destination) as other:
        return [f"{f.code} {f.object}" for f in compare(describe_schema(one), describe_schema(other))]


def value(database: Database, query: str, user: str = "postgres") -> object:
    """Return the one value that a query gives."""
    with session(database, user) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None
