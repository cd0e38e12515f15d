"""Tables that the server lets nobody update or delete from, because they are published without a usable identity.

A published table needs something by which subscribers find the row. Without a key it has none; and Postgres 18 refuses
a full identity where a generated column is not published. The application cannot update such rows either; a recovery
has to. The identity is changed for the length of its transaction, so that subscribers are still told of every row, and
put back before the commit:

    refused = refused_tables(connection, tables)            # before the transaction
    former = lend_identities(connection, refused)           # in it, the tables being locked ACCESS EXCLUSIVE
    return_identities(connection, former)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import errors as pg

from strongroom.errors import StrategyUnfit, StrongroomError
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery.comparison import Matched, written_columns

_IDENTITY = """
SELECT c.relreplident::text,
       (SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
        WHERE i.indrelid = c.oid AND i.indisreplident)
FROM pg_class c WHERE c.oid = %s
"""

_REFUSALS = (pg.InvalidColumnReference, pg.ObjectNotInPrerequisiteState)


@dataclass(frozen=True)
class Identity:
    """What a table is published with; `clause` follows REPLICA IDENTITY."""

    live: str
    clause: str


def refused_tables(connection: Connection, tables: Iterable[Matched]) -> tuple[Matched, ...]:
    """Return the tables from which the server lets nobody delete or update; it is asked for a plan only."""
    return tuple(table for table in tables if not _accepts(connection, table))


def lend_identities(connection: Connection, tables: Sequence[Matched]) -> tuple[Identity, ...]:
    """Give each table an identity that the server accepts, in the caller's transaction, and return the former ones.

    Raises `StrategyUnfit` if the role does not own the table, or no identity will do.
    """
    return tuple(_lend(connection, table) for table in tables)


def return_identities(connection: Connection, identities: Iterable[Identity]) -> None:
    """Put the identities back."""
    for identity in identities:
        with translated(identity.live):
            connection.execute(f"ALTER TABLE ONLY {identity.live} REPLICA IDENTITY {identity.clause}")


def _lend(connection: Connection, table: Matched) -> Identity:
    if not table.mapped.live.is_owner:
        raise _unfit(table, "the role, which does not own it, cannot change that")
    with translated(table.mapped.label):
        row = connection.execute(_IDENTITY, [table.mapped.live.oid]).fetchone()
    kind, index = row or ("d", None)
    former = {"d": "DEFAULT", "f": "FULL", "n": "NOTHING"}.get(
        kind, f"USING INDEX {quote_identifier(index or '')}"
    )
    keys = [one.name for one in table.mapped.live.indexes if one.is_key]
    for clause in ("DEFAULT", *(f"USING INDEX {quote_identifier(name)}" for name in keys), "FULL"):
        with translated(table.mapped.label):
            connection.execute(f"ALTER TABLE ONLY {table.live} REPLICA IDENTITY {clause}")
        if _accepts(connection, table):
            return Identity(table.live, former)
    raise _unfit(table, "no identity makes it")


def _accepts(connection: Connection, table: Matched) -> bool:
    column = next((quote_identifier(c.name) for c in written_columns(table.mapped) if c.identity != "a"), "")
    try:
        # In a transaction this is a savepoint, so that a refusal does not end it.
        with translated(table.mapped.label), connection.transaction():
            if "DELETE" not in table.mapped.live.missing_rights:
                connection.execute(f"EXPLAIN DELETE FROM ONLY {table.live} WHERE ctid = '(0,0)'::tid")
            if column:
                connection.execute(
                    f"EXPLAIN UPDATE ONLY {table.live} SET {column} = {column} WHERE ctid = '(0,0)'::tid"
                )
    except StrongroomError as error:
        if isinstance(error.__cause__, _REFUSALS):
            return False
        raise
    return True


def _unfit(table: Matched, why: str) -> StrategyUnfit:
    return StrategyUnfit(
        strategy=table.strategy,
        reason=f"{table.mapped.label} is published so that the server lets nobody update or delete, and {why}",
        instead="merge_missing, which does neither, or take the table out of its publication meanwhile",
    )
