"""Connections to Postgres: made, set up and translated in one place.

Session settings are made with SQL after connecting, because poolers drop start-up options. What they pin
down is the text form of values: the same row must give the same COPY text in every session, on every
server. Example:

    with connect(conninfo, deadline) as connection, snapshot_transaction(connection, "00000003-1B-1"):
        connection.execute("SELECT …")
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import psycopg
from psycopg import errors as pg
from psycopg.pq import TransactionStatus

from strongroom.deadline import Deadline
from strongroom.errors import (
    DestinationFull,
    LoginRefused,
    MissingRight,
    RowSecurityActive,
    SnapshotLost,
    SourceQueryFailed,
    SourceUnavailable,
    StatementTimedOut,
    StrongroomError,
    TableChanged,
    TlsRefused,
)

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

SESSION_SETTINGS: Mapping[str, str] = {
    "client_encoding": "UTF8",
    "search_path": "",
    "row_security": "off",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmloption": "content",
    "array_nulls": "on",
    "lc_monetary": "C",
    "synchronize_seqscans": "off",
    "max_parallel_workers_per_gather": "0",
    "quote_all_identifiers": "off",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "0",
}
"""Set in every session; `client_encoding` because a role or PGCLIENTENCODING may say something else,
`lc_monetary` because the text of `money` depends on it, `array_nulls` because without it a null comes in as a word, no
parallel workers because rows and their tuple ids are paired by their order."""

_CANCEL_SECONDS = 2.0

_KEEPALIVE = {
    "keepalives": "1",
    "keepalives_idle": "20",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "45000",
}


def connect(
    conninfo: Mapping[str, str], deadline: Deadline, *, application_name: str = "strongroom"
) -> Connection:
    """Open a session in autocommit with the text form of all values pinned down.

    Raises `SourceUnavailable` (transient), `LoginRefused`, `TlsRefused`, `DeadlineExceeded`.
    """
    connection = open_session(conninfo, deadline, application_name=application_name)
    try:
        with translated():
            apply_settings(connection, deadline)
    except BaseException:
        connection.close()
        raise
    return connection


def open_session(
    conninfo: Mapping[str, str], deadline: Deadline, *, application_name: str = "strongroom"
) -> Connection:
    """Open a session in autocommit and set nothing: behind a transaction pooler it would be set for others."""
    deadline.check()
    limit = min(30.0, max(2.0, deadline.remaining()))
    given = {**_KEEPALIVE, "connect_timeout": str(int(limit)), **conninfo}
    with translated():
        # Only None makes psycopg never prepare, which a transaction pooler would break.
        return psycopg.connect(
            "",
            autocommit=True,
            prepare_threshold=None,
            application_name=application_name,
            **given,  # type: ignore[arg-type]
        )


def apply_settings(connection: Connection, deadline: Deadline) -> None:
    """Set `SESSION_SETTINGS` and the statement timeout that the deadline leaves, in one round trip."""
    settings = {**SESSION_SETTINGS, "statement_timeout": str(deadline.statement_timeout_ms())}
    if connection.info.server_version >= 170000:
        # New in 17, and it would end the transaction that holds the snapshot.
        settings["transaction_timeout"] = "0"
    connection.execute(
        "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s (name, value)",
        [list(settings), list(settings.values())],
    )


@contextmanager
def snapshot_transaction(connection: Connection, snapshot: str) -> Iterator[None]:
    """Run a block inside the exported snapshot, reading only; raise `SnapshotLost` if nobody holds it any more."""
    # SET TRANSACTION SNAPSHOT takes a literal only; the name is hexadecimal and dashes.
    if not all(character in "0123456789ABCDEFabcdef-" for character in snapshot):
        raise SourceQueryFailed(object="snapshot", detail="malformed snapshot name", sqlstate="")
    with translated(f"snapshot {snapshot}"):
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        try:
            _import(connection, snapshot)
            yield
        except BaseException:
            abandon(connection)
            raise
        connection.execute("COMMIT")


def _import(connection: Connection, snapshot: str) -> None:
    try:
        connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
    except (pg.InvalidParameterValue, pg.UndefinedObject, pg.ObjectNotInPrerequisiteState) as error:
        # The name was exported by this very backup, so its session is gone, whichever way the server words it.
        raise SnapshotLost from error


def abandon(connection: Connection) -> None:
    """End a transaction whose outcome does not matter, without hiding why that is so by an error of its own."""
    if connection.closed:
        return
    with suppress(psycopg.Error):
        if connection.info.transaction_status == TransactionStatus.ACTIVE:
            # In the middle of a COPY nothing can be sent but the request to cancel.
            connection.cancel_safe(timeout=_CANCEL_SECONDS)
            connection.close()
        else:
            connection.rollback()


@contextmanager
def translated(object_name: str = "") -> Iterator[None]:
    """Turn psycopg's errors into coded ones; `object_name` says what was being worked on."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, object_name) from error


def translate(error: psycopg.Error, object_name: str = "") -> StrongroomError:
    """Return the coded error that stands for `error`; row values never get into it."""
    state = error.sqlstate or ""
    text = _sentence(error, state)
    for kinds, make in _BY_KIND:
        if isinstance(error, kinds):
            return make(object_name, text)
    if state[:2] in _PASSING_CLASSES or not state:
        return _connection_error(text, state)
    return SourceQueryFailed(object=object_name, detail=text, sqlstate=state)


def _sentence(error: psycopg.Error, state: str) -> str:
    """Return the first line of what the server or libpq says, unless values can be in it."""
    if state[:2] in _CLASSES_WITH_VALUES:
        return type(error).__name__
    return (error.diag.message_primary or str(error)).strip().partition("\n")[0]


def _right_missing(object_name: str, text: str) -> StrongroomError:
    if "row-level security" in text:
        return RowSecurityActive(object=object_name, detail=text)
    return MissingRight(object=object_name, detail=text)


_PASSING_CLASSES = frozenset({"08", "40", "53", "55", "57"})
"""Connection, rollback, resources, object in use, operator intervention: SQLSTATE classes that may pass."""

_CLASSES_WITH_VALUES = frozenset({"22", "P0"})
"""Data exceptions quote the value, and what a function raises is the user's own text."""

_BY_KIND: tuple[tuple[tuple[type[psycopg.Error], ...], Callable[[str, str], StrongroomError]], ...] = (
    ((pg.QueryCanceled,), lambda name, _: StatementTimedOut(object=name or "the database")),
    (
        (pg.InvalidPassword, pg.InvalidAuthorizationSpecification, pg.InvalidCatalogName),
        lambda _, text: LoginRefused(detail=text),
    ),
    ((pg.DiskFull,), lambda _, text: DestinationFull(detail=text)),
    ((pg.InsufficientPrivilege,), _right_missing),
    (
        (pg.UndefinedTable, pg.UndefinedColumn, pg.InvalidColumnReference),
        lambda name, text: TableChanged(object=name, detail=text),
    ),
)


# A failed login comes without an SQLSTATE: these are the words of Postgres, PgBouncer and Supavisor.
_LOGIN_REFUSED = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no such user",
    "user not found",
    "not permitted to log in",
    "no pg_hba.conf entry",
)


def _connection_error(text: str, state: str) -> StrongroomError:
    """Tell apart the failures of a connection that come without an SQLSTATE of their own."""
    lowered = text.lower()
    if "no encryption" not in lowered and any(words in lowered for words in _LOGIN_REFUSED):
        return LoginRefused(detail=text)
    if (
        "certificate" in lowered
        or "no encryption" in lowered
        or "ssl error" in lowered
        or "does not support ssl" in lowered
    ):
        return TlsRefused(detail=text)
    return SourceUnavailable(detail=text, sqlstate=state)
