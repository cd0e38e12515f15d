"""Whether a server can be backed up at all: version, primary, and sessions that stay the same.

What is behind an address is found out by trying, never by its port or name. Nothing is set on the way: behind
a transaction pooler a setting would stay in a session that others go on to use. Example:

    require_usable_source(settings.conninfo(), deadline)
"""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from strongroom.deadline import Deadline
from strongroom.errors import (
    ServerTooNew,
    ServerTooOld,
    SessionNotGiven,
    SnapshotNotShared,
    SourceQueryFailed,
    SourceUnavailable,
    StandbySource,
    TransactionPooler,
)
from strongroom.postgres.connection import Connection, abandon, open_session, translated
from strongroom.postgres.programs import Program, find_program

OLDEST_MAJOR, NEWEST_MAJOR = 15, 18
"""The major versions of Postgres that this version of Strongroom was tried with."""

ANSWER_SECONDS = 8.0
"""How long a probe may wait for an answer: a pooler without a free session lets it wait for minutes."""

_ROUNDS_BEHIND_POOLER = 6

_PID = "SELECT pg_backend_pid()"


def require_usable_source(conninfo: Mapping[str, str], deadline: Deadline) -> None:
    """Refuse a source of which no good backup can be made, before anything is begun.

    Raises `ServerTooOld`, `ServerTooNew`, `ProgramMissing`, `StandbySource`, `TransactionPooler`,
    `SnapshotNotShared`, `SessionNotGiven` (transient), and what connecting raises.
    """
    with open_session(conninfo, deadline, application_name="strongroom check") as connection:
        require_supported_version(connection)
        require_pg_dump(connection)
        require_primary(connection, deadline)
        require_own_sessions(connection, conninfo, deadline)


def server_major(connection: Connection) -> int:
    """Return the server's major version, which it tells at the login."""
    return connection.info.server_version // 10000


def require_supported_version(connection: Connection) -> None:
    """Refuse versions that were never tried: what they add to the catalog would be lost unnoticed."""
    major = server_major(connection)
    if major < OLDEST_MAJOR:
        raise ServerTooOld(major=major, oldest=OLDEST_MAJOR)
    if major > NEWEST_MAJOR:
        raise ServerTooNew(major=major, newest=NEWEST_MAJOR)


def require_pg_dump(connection: Connection) -> Program:
    """Return the pg_dump that is going to be used; raise `ProgramMissing` if all are older than the server."""
    return find_program("pg_dump", at_least=server_major(connection))


def require_primary(connection: Connection, deadline: Deadline) -> None:
    """Refuse a standby: it has no transaction ids of its own, by which new rows are told from old ones."""
    with _answering(connection, deadline), translated("the state of the server"):
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    if row is None or row[0]:
        raise StandbySource(address=address_of(connection))


def require_own_sessions(first: Connection, conninfo: Mapping[str, str], deadline: Deadline) -> None:
    """Try whether each connection keeps its server session, and whether two of them can share a snapshot."""
    with open_session(conninfo, deadline, application_name="strongroom check") as second:
        _require_kept_processes(first, second, deadline)
        _require_shared_snapshot(first, second, deadline)


def address_of(connection: Connection) -> str:
    """Return host and port for people."""
    return f"{connection.info.host}:{connection.info.port}"


# ---------------------------------------------------------------- trying


def _require_kept_processes(first: Connection, second: Connection, deadline: Deadline) -> None:
    """Ask both connections in turn which server process they talk to, each once while the other holds its own.

    A transaction pooler gives what one connection just left to the other, or sends the first one on. Where others
    use it too, it may by chance do neither, so that a pooler of whatever kind is asked more than once.
    """
    processes: dict[Connection, set[int]] = {first: set(), second: set()}
    rounds = 1 if _is_direct(first, deadline) and _is_direct(second, deadline) else _ROUNDS_BEHIND_POOLER
    for holder, other in ((second, first), (first, second)) * rounds:
        processes[other].add(_process(other, deadline))
        with _transaction(holder, deadline, _PID) as process:
            processes[holder].add(int(process))
            # Before the other is asked again: of a pooler with one session it would get no answer now.
            _require_apart(processes)
            processes[other].add(_process(other, deadline))
        _require_apart(processes)


def _require_apart(processes: Mapping[Connection, set[int]]) -> None:
    """Raise `TransactionPooler` unless each connection has had one server process, and each its own."""
    first, second = processes
    if processes[first] & processes[second]:
        detail = "two connections were given the same server process"
    elif any(len(seen) > 1 for seen in processes.values()):
        detail = "one connection was given different server processes in turn"
    else:
        return
    raise TransactionPooler(address=address_of(first), detail=detail)


def _is_direct(connection: Connection, deadline: Deadline) -> bool:
    """Tell whether the process that answers is the one that took the login: poolers take logins themselves."""
    return connection.info.backend_pid == _process(connection, deadline)


def _require_shared_snapshot(first: Connection, second: Connection, deadline: Deadline) -> None:
    """Export a snapshot on one connection and import it on the other."""
    with _transaction(first, deadline, "SELECT pg_export_snapshot()") as name:
        try:
            with _transaction(second, deadline, f"SET TRANSACTION SNAPSHOT '{name}'"):
                pass
        except SourceQueryFailed as error:
            raise SnapshotNotShared(address=address_of(first), detail="it does not know it") from error


def _process(connection: Connection, deadline: Deadline) -> int:
    with _answering(connection, deadline), translated("the server process"):
        row = connection.execute(_PID).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def _transaction(connection: Connection, deadline: Deadline, statement: str) -> Iterator[str]:
    """Begin a transaction with a statement, in one round trip, and give its answer; nothing is left behind."""
    try:
        with _answering(connection, deadline), translated("a transaction"):
            cursor = connection.execute(f"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; {statement}")
            while cursor.nextset():
                pass
            row = cursor.fetchone() if cursor.description else None
        yield str(row[0]) if row else ""
    finally:
        abandon(connection)


@contextmanager
def _answering(connection: Connection, deadline: Deadline) -> Iterator[None]:
    """Cut the connection if a statement has no answer in time; the server never sees it, so it cannot."""
    deadline.check()
    seconds = min(ANSWER_SECONDS, deadline.remaining())
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.start()
    try:
        yield
    except SourceUnavailable as error:
        if not late.is_set():
            raise
        deadline.check()
        raise SessionNotGiven(address=address_of(connection), seconds=seconds) from error
    finally:
        timer.cancel()
        timer.join()
