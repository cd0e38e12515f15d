"""The preflight of the source's database: every question that decides whether a backup can be taken.

Answers are data and nothing is raised for a bad one; only a deadline that runs out is. The session that asks
is given no settings, since what is asked first is whether it is ours alone. Example:

    answers = check_database(settings.conninfo(), deadline, clock, parallelism=2, size_limit=0)
    [check for check in answers.checks if not check.passed]
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from strongroom.clock import Clock
from strongroom.deadline import Deadline
from strongroom.errors import (
    ChannelBindingImpossible,
    MissingRight,
    RowSecurityActive,
    StrongroomError,
)
from strongroom.operations.checks import held, not_asked, refused, warned
from strongroom.operations.messages import Check
from strongroom.postgres.client_programs import needs_bridge
from strongroom.postgres.connection import Connection, open_session
from strongroom.postgres.programs import embedded_program
from strongroom.postgres.source_facts import ServerState, TableRights, read_server_state, read_table_rights
from strongroom.postgres.usable_source import (
    NEWEST_MAJOR,
    OLDEST_MAJOR,
    address_of,
    require_own_sessions,
    require_pg_dump,
    require_primary,
    require_supported_version,
    server_major,
)
from strongroom.quantities import size_text

_CLOCK_SECONDS = 60.0
_SESSIONS_BESIDE = 2
"""Sessions that a backup needs beside those of its units: the snapshot's and the catalog's."""
_STORED_SHARE = 3
"""A full backup usually stores about a third of what the tables take on the server's disk."""
_NAMED = 5


@dataclass(frozen=True)
class DatabaseAnswers:
    """The answers, and about how much a full backup would store; None if that could not be asked."""

    checks: tuple[Check, ...]
    estimated_bytes: int | None


def check_database(
    conninfo: Mapping[str, str], deadline: Deadline, clock: Clock, *, parallelism: int, size_limit: int
) -> DatabaseAnswers:
    """Ask everything about the database. Raises `DeadlineExceeded` and nothing else on purpose."""
    try:
        connection = open_session(conninfo, deadline, application_name="strongroom check")
    except StrongroomError as error:
        deadline.check()
        return unreachable(error)
    with connection:
        asked = _Questions(connection, conninfo, deadline, clock, parallelism, size_limit)
        return DatabaseAnswers(asked.all(), asked.estimated_bytes)


def unreachable(error: StrongroomError) -> DatabaseAnswers:
    """Return the answers where there is no connection, and so nothing else could be asked."""
    rest = (not_asked(name, "there is no connection") for name in _Questions.NAMES[1:])
    return DatabaseAnswers((refused("connection", error), *rest), None)


# ---------------------------------------------------------------- the questions


@dataclass
class _Questions:
    connection: Connection
    conninfo: Mapping[str, str]
    deadline: Deadline
    clock: Clock
    parallelism: int
    size_limit: int
    estimated_bytes: int | None = None
    _server: ServerState | None = None
    _tables: TableRights | None = None

    NAMES = (
        "connection",
        "encryption",
        "server version",
        "pg_dump",
        "primary server",
        "own sessions",
        "clock",
        "time limits",
        "free connections",
        "extensions",
        "long transactions",
        "prepared transactions",
        "table rights",
        "row-level security",
        "size",
    )

    def all(self) -> tuple[Check, ...]:
        """Ask in an order in which no answer depends on a later one."""
        asks: tuple[Callable[[str], Check], ...] = (
            self._connection,
            self._encryption,
            self._version,
            self._pg_dump,
            self._primary,
            self._own_sessions,
            self._clock,
            self._time_limits,
            self._free_connections,
            self._extensions,
            self._long_transactions,
            self._prepared_transactions,
            self._table_rights,
            self._row_security,
            self._size,
        )
        return tuple(self._ask(name, ask) for name, ask in zip(self.NAMES, asks, strict=True))

    def _ask(self, name: str, ask: Callable[[str], Check]) -> Check:
        if self.connection.closed:
            return not_asked(name, "the connection was cut")
        try:
            return ask(name)
        except StrongroomError as error:
            # A question has a time limit of its own; only the end of ours ends the preflight.
            self.deadline.check()
            return refused(name, error)

    # ------------------------------------------------------------ the way there

    def _connection(self, name: str) -> Check:
        info = self.connection.info
        return held(
            name, f"Logged in at {address_of(self.connection)} as {info.user}, database {info.dbname}."
        )

    def _encryption(self, name: str) -> Check:
        mode = self.conninfo.get("sslmode") or "prefer"
        encrypted = self.connection.pgconn.ssl_in_use
        state = "encrypted" if encrypted else "not encrypted"
        if _is_near(self.connection.info.host, self.conninfo):
            return held(name, f"The server is on this machine; the connection is {state}.")
        if encrypted and mode == "verify-full":
            return held(name, "The connection is encrypted, and the certificate is that of the server named.")
        return warned(
            name,
            f"The server is remote, the connection is {state}, and with sslmode={mode} nobody checks that it is "
            "the server that it says it is.",
            "Set sslmode=verify-full and sslrootcert to the CA file of the project (Supabase: Settings, Database, "
            "SSL certificate).",
        )

    def _version(self, name: str) -> Check:
        require_supported_version(self.connection)
        observed = (
            f"Postgres {server_major(self.connection)}; {OLDEST_MAJOR} to {NEWEST_MAJOR} are supported."
        )
        return held(name, observed)

    def _pg_dump(self, name: str) -> Check:
        program = require_pg_dump(self.connection)
        bridged = needs_bridge(program, self.conninfo)
        if bridged and self.conninfo.get("channel_binding") == "require":
            raise ChannelBindingImpossible(program="pg_dump")
        whose = "the embedded one" if program.embedded else str(program.path)
        way = "; it has no TLS, so Strongroom's bridge speaks it" if bridged else ""
        return held(name, f"pg_dump {program.major}, {whose}{way}.")

    def _primary(self, name: str) -> Check:
        require_primary(self.connection, self.deadline)
        return held(name, "The server is a primary.")

    def _own_sessions(self, name: str) -> Check:
        require_own_sessions(self.connection, self.conninfo, self.deadline)
        return held(
            name, "Two connections kept a session each, and the second read the snapshot of the first."
        )

    # ------------------------------------------------------------ the server

    def _state(self) -> ServerState:
        if self._server is None:
            self._server = read_server_state(self.connection, self.clock)
        return self._server

    def _clock(self, name: str) -> Check:
        skew = self._state().clock_skew.total_seconds()
        observed = (
            f"The server's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's."
        )
        if abs(skew) <= _CLOCK_SECONDS:
            return held(name, observed)
        remedy = (
            "Let both clocks be set by NTP (`timedatectl set-ntp true`). Ids, leases and retention go by this "
            "machine's clock, and one that is wrong can make an old backup the newest."
        )
        return Check(name=name, passed=False, observed=observed, remedy=remedy)

    def _time_limits(self, name: str) -> Check:
        left = {key: value for key, value in self._state().limits.items() if value not in {"0", ""}}
        if not left:
            return held(name, "The time limits of the role can be lifted for the session.")
        named = ", ".join(f"{key}={value}" for key, value in left.items())
        remedy = (
            f"Find out what keeps the setting in place, or lift it for the role: "
            f"`ALTER ROLE {self.connection.info.user} SET {next(iter(left))} = 0`."
        )
        return Check(
            name=name, passed=False, observed=f"A limit stays although it was lifted: {named}.", remedy=remedy
        )

    def _free_connections(self, name: str) -> Check:
        free, wanted = self._state().free_connections, self.parallelism + _SESSIONS_BESIDE
        observed = f"{free} connections are free, a backup uses up to {wanted}."
        if free >= wanted:
            return held(name, observed)
        remedy = (
            "Lower backup.parallelism, end idle sessions, or back up at a quieter hour. A pooler may have a lower "
            "limit of its own."
        )
        return warned(name, observed, remedy)

    def _extensions(self, name: str) -> Check:
        installed = self._state().extensions
        lacking = [extension for extension in installed if extension not in embedded_extensions()]
        if not lacking:
            return held(name, f"Installed: {', '.join(installed) or 'none'}.")
        return warned(
            name,
            f"Installed: {', '.join(installed)}. The embedded Postgres, which runs drills, lacks "
            f"{', '.join(lacking)}.",
            "Backups hold what uses these extensions, and a Supabase project restores it. For drills, give a "
            "destination of your own that has them.",
        )

    def _long_transactions(self, name: str) -> Check:
        state = self._state()
        blind = "" if state.sees_all_sessions else " Sessions of other roles are hidden from this role."
        if not state.long_transactions:
            return held(name, f"No transaction is older than an hour.{blind}")
        return warned(
            name,
            f"{state.long_transactions} transactions are older than an hour, the oldest "
            f"{_hours(state.oldest_transaction)}.{blind}",
            "End them if they were forgotten (pg_stat_activity names them): until they end, incremental backups "
            "read again every row that is newer than the oldest of them, and the server cannot vacuum.",
        )

    def _prepared_transactions(self, name: str) -> Check:
        state = self._state()
        if not state.prepared_transactions:
            return held(name, "No transaction is left prepared.")
        return warned(
            name,
            f"{state.prepared_transactions} prepared transactions wait for their commit; their rows are in no backup.",
            "Finish them with COMMIT PREPARED or ROLLBACK PREPARED (pg_prepared_xacts names them): they act like "
            "transactions that never end.",
        )

    # ------------------------------------------------------------ the tables

    def _rights(self) -> TableRights:
        if self._tables is None:
            self._tables = read_table_rights(self.connection)
            self.estimated_bytes = self._tables.size // _STORED_SHARE
        return self._tables

    def _table_rights(self, name: str) -> Check:
        rights = self._rights()
        if rights.unreadable:
            error = MissingRight(
                object="SELECT on every table", detail=f"it may not read {_list(rights.unreadable)}"
            )
            return refused(name, error)
        hidden = f" The platform keeps {_list(rights.withheld)} to itself." if rights.withheld else ""
        return held(name, f"The role may read all {rights.readable} tables in scope.{hidden}")

    def _row_security(self, name: str) -> Check:
        rights = self._rights()
        if rights.filtered:
            return refused(
                name,
                RowSecurityActive(object=_list(rights.filtered), detail="its policies apply to this role"),
            )
        why = (
            "it is a superuser or has BYPASSRLS"
            if rights.bypasses
            else "no table in scope has policies for it"
        )
        return held(name, f"Row-level security hides no row from the role: {why}.")

    def _size(self, name: str) -> Check:
        total = self._rights().size
        estimate = self.estimated_bytes or 0
        observed = f"The tables take {size_text(total)}; a full backup stores about {size_text(estimate)}."
        if not self.size_limit or estimate <= self.size_limit:
            return held(name, observed)
        return warned(
            name,
            f"{observed} backup.max_backup_size is {size_text(self.size_limit)}.",
            f"Set backup.max_backup_size to {2 * estimate} or more, or to 0 for no limit. A backup that grows "
            "beyond it fails, and is not listed.",
        )


# ---------------------------------------------------------------- wording


def embedded_extensions() -> frozenset[str]:
    """Return the names of the extensions that the newest embedded Postgres carries."""
    try:
        folder = embedded_program("psql", NEWEST_MAJOR).path.parent.parent / "share"
    except StrongroomError:
        return frozenset()
    return frozenset(path.stem for path in folder.glob("**/extension/*.control"))


def _is_near(host: str, conninfo: Mapping[str, str]) -> bool:
    """Tell whether nobody on a network is between us and the server."""
    address = conninfo.get("hostaddr") or host
    return not address or address.startswith(("/", "@", "127.")) or address in {"localhost", "::1"}


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def _hours(age: dt.timedelta) -> str:
    return f"{age.total_seconds() / 3600:.1f} h"
