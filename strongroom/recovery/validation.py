"""Asking a recovered database as its application would: as each API role, the user's SQL checks, health addresses.

Every question is an answer with `passed`; one that could not be asked has not passed. Nothing is written, and no
value of a row gets into an answer. For example:

    checks = [*check_roles(connection), *check_smoke(connection, settings.recovery.smoke_checks)]
    checks += check_health("https://app.example.com/health", limit_seconds=10)

Addresses are asked directly, without the proxies that the environment may name.
"""

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import psycopg

from strongroom.deadline import Deadline
from strongroom.errors import SourceUnavailable, StatementTimedOut, StrongroomError, Transient
from strongroom.operations.messages import Check
from strongroom.postgres.connection import Connection, abandon, translate, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery_settings import SmokeCheck
from strongroom.supabase.scope import is_managed_schema

API_ROLES = ("anon", "authenticated", "service_role")
LOGIN_ROLE = "authenticator"
"""The role as which PostgREST logs in before it takes one of the others."""

_REDIRECTS = 3

_ROLES = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY (%s)"
# Small tables first: where a policy hides every row, all of them are looked at.
_READABLE = """
SELECT n.nspname::text, c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^strongroom_'
  AND has_schema_privilege(%(role)s, n.oid, 'USAGE') AND has_table_privilege(%(role)s, c.oid, 'SELECT')
ORDER BY c.relkind = 'p', c.relpages, c.reltuples DESC, 1, 2
"""


# ---------------------------------------------------------------- roles


def check_roles(connection: Connection, deadline: Deadline) -> Iterator[Check]:
    """Ask as each API role that exists: whether it can be taken, answers, and reads a table that it may read."""
    with translated("the roles"):
        present = {name for (name,) in connection.execute(_ROLES, [[*API_ROLES, LOGIN_ROLE]])}
    for role in API_ROLES:
        if role in present:
            yield _check_role(connection, role, deadline)
        else:
            yield Check(
                name=f"role {role}",
                passed=False,
                observed="there is no such role",
                remedy="Nothing to do, unless the application uses Supabase's API.",
                severity="warning",
            )
    yield Check(
        name=f"role {LOGIN_ROLE}",
        passed=LOGIN_ROLE in present,
        observed="there" if LOGIN_ROLE in present else "there is no such role",
        remedy="PostgREST logs in as this role: make it, if the application uses Supabase's API.",
        severity="warning",
    )


def _check_role(connection: Connection, role: str, deadline: Deadline) -> Check:
    name = f"role {role}"
    with translated("the tables of a role"):
        readable = connection.execute(_READABLE, {"role": role}).fetchall()
    tables = [(schema, table) for schema, table in readable if not is_managed_schema(schema)]
    try:
        with _as_application(connection, role, deadline):
            connection.execute("SELECT 1")
            if tables:
                schema, table = tables[0]
                connection.execute(
                    f"SELECT 1 FROM {quote_identifier(schema)}.{quote_identifier(table)} LIMIT 1"
                )
    except psycopg.Error as error:
        return _refused(
            name, translate(error, role), "Look at the role's grants and at the policies of its tables."
        )
    if not tables:
        return Check(name=name, passed=True, observed="answers, and may read no table")
    return Check(name=name, passed=True, observed=f"answers, and reads {tables[0][0]}.{tables[0][1]}")


@contextmanager
def _as_application(connection: Connection, role: str, deadline: Deadline) -> Iterator[None]:
    """Run a block in a read-only transaction, as a role, with the settings that sessions of their own would have."""
    deadline.check()
    try:
        connection.execute("BEGIN READ ONLY")
        # Our sessions see all rows or fail, and have an empty search path; the application's have neither.
        connection.execute("SET LOCAL row_security = on")
        connection.execute("SET LOCAL search_path TO DEFAULT")
        connection.execute(
            "SELECT set_config('statement_timeout', %s, true)", [str(deadline.statement_timeout_ms())]
        )
        if role:
            connection.execute(f"SET LOCAL ROLE {quote_identifier(role)}")
        yield
    finally:
        abandon(connection)


def _refused(name: str, error: StrongroomError, remedy: str) -> Check:
    """Return that a question was not answered; a lost connection is raised, since nothing more can be asked."""
    if isinstance(error, SourceUnavailable):
        raise error
    return Check(
        name=name,
        passed=False,
        observed=error.render(),
        remedy=remedy,
        code=error.code,
        transient=isinstance(error, Transient | StatementTimedOut),
    )


# ---------------------------------------------------------------- the user's SQL


def check_smoke(connection: Connection, checks: Sequence[SmokeCheck], deadline: Deadline) -> Iterator[Check]:
    """Ask the user's questions: each holds if it returns one row whose first column is true."""
    for check in checks:
        name = f"smoke check {check.name}"
        try:
            with _as_application(connection, check.role, deadline):
                # Asked for a binary answer, psycopg sends it as one statement; the server refuses a second one.
                cursor = connection.execute(check.sql, binary=True)
                rows = cursor.fetchmany(2) if cursor.description else []
        except psycopg.Error as error:
            yield _refused(name, translate(error, check.name), "Run the statement by hand, as the same role.")
            continue
        yield _judged(name, rows)


def _judged(name: str, rows: Sequence[tuple[Any, ...]]) -> Check:
    remedy = "The statement has to return one row whose first column is true."
    if len(rows) != 1 or not rows[0]:
        observed = (
            "it returned no row"
            if not rows
            else "it returned no column"
            if rows[0] == ()
            else "more than one row"
        )
        return Check(name=name, passed=False, observed=observed, remedy=remedy)
    holds = rows[0][0] is True
    return Check(
        name=name, passed=holds, observed="true" if holds else "not true", remedy="" if holds else remedy
    )


# ---------------------------------------------------------------- addresses


def check_health(url: str, limit_seconds: float) -> Check:
    """Ask an address by GET: it holds if it answers with a status of 2xx in time.

    Redirects are followed within the same host only. What the address may hold of a password or a token is not shown.
    """
    watch = _Watch(limit_seconds)
    name = f"health {_shown(url)}"
    try:
        for _ in range(_REDIRECTS + 1):
            status, location = _get(url, watch)
            if late := watch.sentence():
                # A head that was cut off in the middle looks like one that has ended.
                return _unhealthy(name, late, transient=True)
            if status not in {301, 302, 303, 307, 308}:
                return _answered(name, status)
            target = urljoin(url, location)
            if not _is_same_host(url, target):
                return _unhealthy(name, f"status {status}, to another host")
            url = target
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _unhealthy(name, watch.sentence() or _reason(error), transient=True)
    finally:
        watch.end()
    return _unhealthy(name, f"more than {_REDIRECTS} redirects")


def _answered(name: str, status: int) -> Check:
    if 200 <= status < 300:
        return Check(name=name, passed=True, observed=f"status {status}")
    return _unhealthy(name, f"status {status}", transient=status >= 500)


def _unhealthy(name: str, observed: str, *, transient: bool = False) -> Check:
    remedy = "Look at the application behind the address; it may need to be restarted after a recovery."
    return Check(name=name, passed=False, observed=observed, remedy=remedy, transient=transient)


class _Watch:
    """Ends a connection when the time is over, however slowly something arrives on it."""

    def __init__(self, limit_seconds: float) -> None:
        self._deadline = Deadline.after(limit_seconds, "recovery.health_timeout")
        self._limit = limit_seconds
        self._socket: socket.socket | None = None
        self._timer: threading.Timer | None = None
        self._is_over = False

    def left(self) -> float:
        """Return the seconds that are left."""
        return max(0.001, self._deadline.remaining())

    def over(self, connection: socket.socket) -> None:
        """Watch a connection from now on."""
        self.end()
        self._socket = connection
        self._timer = threading.Timer(self.left(), self._cut)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            self._timer = None

    def sentence(self) -> str:
        """Say that it took too long, if it did."""
        late = self._is_over or self._deadline.remaining() <= 0
        return f"no answer within {self._limit:g} s" if late else ""

    def _cut(self) -> None:
        self._is_over = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _get(url: str, watch: _Watch) -> tuple[int, str]:
    """Return the status that an address answers with, and where it points to."""
    parts = urlsplit(url)
    connection = _connection(parts, watch.left())
    try:
        connection.connect()
        if connection.sock is not None:
            watch.over(connection.sock)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers=_headers(parts))
        response = connection.getresponse()
        return response.status, response.getheader("Location") or ""
    finally:
        watch.end()
        connection.close()


def _connection(parts: SplitResult, timeout: float) -> http.client.HTTPConnection:
    host = parts.hostname
    if not host:
        raise ValueError("the address names no host")
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=timeout)


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"User-Agent": "strongroom", "Accept": "*/*", "Connection": "close"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return headers


def _is_same_host(url: str, target: str) -> bool:
    """Tell whether a redirect stays at a host, and does not leave TLS."""
    here, there = urlsplit(url), urlsplit(target)
    if there.scheme not in {"http", "https"} or (here.scheme == "https" and there.scheme == "http"):
        return False
    same_port = (here.scheme, here.port) == (there.scheme, there.port) or here.scheme != there.scheme
    return here.hostname == there.hostname and same_port


def _shown(url: str) -> str:
    """Return an address without what may be secret in it: user, password, and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "address"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _reason(error: Exception) -> str:
    """Say why there was no answer, in words that hold nothing of the answer."""
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, socket.gaierror):
        return "the host name is unknown"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not trusted"
    return f"no answer ({type(error).__name__})"
