"""Running statements at a destination: all of them or an error, or each apart with refusals as findings.

For example:

    run_all(connection, [Statement("schema private", 'CREATE SCHEMA "private"')])
    findings = attempt_all(connection, statements, code="attachment-refused")
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg

from strongroom.errors import LimitError, StatementRefused, StrongroomError, Transient
from strongroom.format.documents import Finding, Severity
from strongroom.postgres.connection import Connection, translate

_TOGETHER = 100


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL that works on one object. `is_secret` keeps its text, and the server's words on it, to ourselves."""

    object: str
    sql: str
    is_secret: bool = False


def run_all(connection: Connection, statements: Sequence[Statement]) -> None:
    """Run all statements in one transaction. Raises `StatementRefused` for the one that fails."""
    if not statements:
        return
    with connection.transaction():
        for start in range(0, len(statements), _TOGETHER):
            _run_some(connection, statements[start : start + _TOGETHER])


def _run_some(connection: Connection, statements: Sequence[Statement]) -> None:
    """Run some statements in one round trip; if that fails, one by one to learn which it is."""
    try:
        with connection.transaction():
            connection.execute(";\n".join(statement.sql for statement in statements).encode())
    except psycopg.Error as error:
        if _must_end(error):
            raise translate(error) from None
        for statement in statements:
            run(connection, statement)


def run(connection: Connection, statement: Statement) -> None:
    """Run one statement. Raises `StatementRefused`, or an error that may pass."""
    try:
        connection.execute(statement.sql.encode())
    except psycopg.Error as error:
        problem = _must_end(error)
        if problem is not None:
            raise problem from error
        raise StatementRefused(
            object=statement.object, detail=_words(error, statement), sqlstate=error.sqlstate or ""
        ) from None


def attempt_all(
    connection: Connection, statements: Iterable[Statement], *, code: str, severity: Severity = "warning"
) -> tuple[Finding, ...]:
    """Run each statement apart; return a finding, with the SQL to run by hand, for each that is refused.

    Errors that may pass, and the deadline, are raised.
    """
    return tuple(
        finding
        for statement in statements
        if (finding := _attempt(connection, statement, code, severity)) is not None
    )


def _attempt(connection: Connection, statement: Statement, code: str, severity: Severity) -> Finding | None:
    try:
        # In a transaction this is a savepoint.
        with connection.transaction():
            connection.execute(statement.sql.encode())
    except psycopg.Error as error:
        problem = _must_end(error)
        if problem is not None:
            raise problem from error
        sql = (
            "its statement, which is not shown since it may hold a secret"
            if statement.is_secret
            else statement.sql
        )
        return Finding(
            severity=severity,
            code=code,
            object=statement.object,
            expected="made as it was in the backup",
            observed=f"{_words(error, statement)} [{error.sqlstate}]",
            advice=f"Run as a role that may (on Supabase: the SQL editor of the dashboard): {sql}",
        )
    return None


def _must_end(error: psycopg.Error) -> StrongroomError | None:
    """Return the error to raise where trying the next statement makes no sense."""
    problem = translate(error)
    return problem if isinstance(problem, Transient | LimitError) else None


def _words(error: psycopg.Error, statement: Statement) -> str:
    return "refused" if statement.is_secret else (error.diag.message_primary or "refused")
