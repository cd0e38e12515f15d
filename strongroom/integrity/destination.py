"""The one session in which a restored database is judged: reading only, and within the deadline.

Great Expectations is handed this session and never a connection string. What Postgres refuses while it
works is kept here in coded form, because Great Expectations turns every exception into a failed
expectation, and a cut connection or an exceeded deadline is not a damaged table.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from strongroom.deadline import Deadline
from strongroom.errors import DeadlineExceeded, RoleSeesNoRows, StrongroomError, Transient
from strongroom.format.documents import TableEntry
from strongroom.integrity.measurements import EQUALITY_OPERATORS, HIDING_TABLES, Equality
from strongroom.postgres.connection import Connection, connect, translate, translated

_NARROWED = 0.8
"""The statement timeout is set again when less than this share of it is left of the deadline."""


@dataclass
class DestinationSession:
    """A session that reads, what is left of its time, and what went wrong in it."""

    connection: Connection
    deadline: Deadline
    failures: list[StrongroomError] = field(default_factory=list)
    _timeout_ms: int = 0

    def before_statement(self, *_: object) -> None:
        """End the work at the deadline: stop here, or give the next statement only what is left."""
        try:
            self.deadline.check()
        except DeadlineExceeded as error:
            self.failures.append(error)
            raise
        left = self.deadline.statement_timeout_ms()
        if left and (not self._timeout_ms or left < self._timeout_ms * _NARROWED):
            self.connection.execute("SELECT set_config('statement_timeout', %s, false)", [str(left)])
            self._timeout_ms = left

    def on_error(self, context: Any) -> None:
        """Keep what the server refused (an SQLAlchemy `ExceptionContext`), in coded form."""
        error = context.original_exception
        if isinstance(error, psycopg.Error):
            self.failures.append(translate(error, "the restored database"))
        elif isinstance(error, StrongroomError):
            self.failures.append(error)

    def raise_what_is_no_verdict(self) -> None:
        """Raise the failure that says nothing about the data: the deadline, or a connection that was cut."""
        for failure in self.failures:
            if isinstance(failure, DeadlineExceeded):
                raise DeadlineExceeded(
                    setting=self.deadline.setting, limit_seconds=self.deadline.limit_seconds
                ) from failure
            if isinstance(failure, Transient):
                raise failure
        self.deadline.check()


@contextmanager
def open_destination(conninfo: Mapping[str, str], deadline: Deadline) -> Iterator[DestinationSession]:
    """Open the session and close it at the end."""
    connection = connect(conninfo, deadline, application_name="strongroom judge")
    try:
        with translated("the session"):
            connection.execute("SET default_transaction_read_only = on")
        yield DestinationSession(connection, deadline)
    finally:
        connection.close()


def refuse_blind_role(session: DestinationSession, tables: Sequence[TableEntry]) -> None:
    """Raise `RoleSeesNoRows` if row-level security applies to this role in any of the tables.

    Hidden rows would look like lost ones.
    """
    names = [entry.facts.schema for entry in tables], [entry.facts.name for entry in tables]
    with translated("row-level security"):
        row = session.connection.execute(HIDING_TABLES, names).fetchone()
        role = session.connection.execute("SELECT current_user").fetchone()
    if row is not None and row[0]:
        raise RoleSeesNoRows(role=role[0] if role else "", tables=row[0], first=row[1])


def read_equality(session: DestinationSession) -> Equality:
    """Return which columns are compared by an operator outside pg_catalog, and where that operator is."""
    with translated("the operators"):
        rows = session.connection.execute(EQUALITY_OPERATORS).fetchall()
    return {(schema, table, column): operator_schema for schema, table, column, operator_schema in rows}
