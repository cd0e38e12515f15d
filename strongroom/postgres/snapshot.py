"""One consistent view: locks first, then the exported snapshot, held by one session.

The order matters. A TRUNCATE or a rewriting ALTER between listing and locking would make a table look
empty, so tables are listed, locked in a fresh transaction before anything takes its snapshot, and listed
again inside it; if the two lists differ, everything starts over.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from strongroom.deadline import Deadline
from strongroom.errors import CatalogUnsteady, MissingRight, TableChanged
from strongroom.format.documents import Finding, SequenceState, SnapshotFacts, TableFacts
from strongroom.postgres.connection import (
    Connection,
    abandon,
    connect,
    snapshot_transaction,
    translated,
)
from strongroom.postgres.digest import quote_identifier
from strongroom.postgres.introspection import list_sequences, list_tables, read_snapshot_facts

_ATTEMPTS = 8


@dataclass(frozen=True)
class HeldSnapshot:
    """An exported snapshot and what exists in it. `name` is what other sessions import."""

    name: str
    facts: SnapshotFacts
    tables: tuple[TableFacts, ...]
    sequences: tuple[SequenceState, ...]
    findings: tuple[Finding, ...]
    connection: Connection


@contextmanager
def hold_snapshot(conninfo: Mapping[str, str], deadline: Deadline) -> Iterator[HeldSnapshot]:
    """Lock all tables in scope against rewriting, export a snapshot, and hold both until the block ends.

    The locks are ACCESS SHARE: readers and writers go on, DROP, TRUNCATE and ALTER wait. Raises
    `CatalogUnsteady` if tables keep changing, `MissingRight` if one of the user's tables cannot be read.
    """
    with connect(conninfo, deadline, application_name="strongroom snapshot") as connection:
        for _ in range(_ATTEMPTS):
            deadline.check()
            held = _try_to_hold(connection)
            if held is not None:
                break
            connection.execute("ROLLBACK")
        else:
            raise CatalogUnsteady(attempts=_ATTEMPTS)
        try:
            yield held
        finally:
            # If the server has cut this session, those who read know: `require_held`.
            abandon(connection)


def require_held(connection: Connection, snapshot: str) -> None:
    """Raise `SnapshotLost` unless the session that exported the snapshot still holds it, and so its locks.

    To be called after reading: if the locks had gone before, a TRUNCATE could have emptied a table under it.
    """
    with snapshot_transaction(connection, snapshot):
        pass


def _try_to_hold(connection: Connection) -> HeldSnapshot | None:
    """Lock, export, and list again; None if the tables changed meanwhile."""
    listed = {(t.oid, t.schema, t.name) for t in list_tables(connection, with_keys=False).tables}
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        _lock(connection, sorted((schema, name) for _, schema, name in listed))
    except TableChanged:
        return None
    with translated("the snapshot"):
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    found = list_tables(connection)
    if {(t.oid, t.schema, t.name) for t in found.tables} != listed:
        return None
    return HeldSnapshot(
        name=str(row[0]) if row else "",
        facts=read_snapshot_facts(connection),
        tables=found.tables,
        sequences=list_sequences(connection),
        findings=found.findings,
        connection=connection,
    )


def _lock(connection: Connection, tables: list[tuple[str, str]]) -> None:
    """Take ACCESS SHARE on every table, children apart, in one statement and in a fixed order."""
    if not tables:
        return
    names = ", ".join(f"ONLY {quote_identifier(s)}.{quote_identifier(n)}" for s, n in tables)
    try:
        with translated("the tables in scope"):
            connection.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE")
    except MissingRight as error:
        raise MissingRight(object="SELECT on every table", detail=error.context["detail"]) from error
