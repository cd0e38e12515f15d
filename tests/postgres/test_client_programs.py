"""Running Postgres programs: their surroundings, their streams, their end, and what their words mean."""

import os
import signal
import time
from pathlib import Path

import pytest

from strongroom.deadline import Deadline
from strongroom.errors import (
    DeadlineExceeded,
    LoginRefused,
    MissingRight,
    ProgramFailed,
    ProgramUnusable,
    ServerNewerThanProgram,
    SourceUnavailable,
    Transient,
)
from strongroom.postgres.client_programs import (
    effective_conninfo,
    needs_bridge,
    program_environment,
    read_program,
    run_program,
)
from strongroom.postgres.passwords import stored_password
from strongroom.postgres.program_failures import telling_lines
from strongroom.postgres.programs import Program, embedded_program
from tests.databases import MakeDatabase

PG_DUMP = embedded_program("pg_dump", 18)
PG_RESTORE = embedded_program("pg_restore", 18)
PSQL = embedded_program("psql", 18)
SHELL = Program("sh", Path("/bin/sh"), 18, tls=True, embedded=False)
NOWHERE = {"host": "/nonexistent", "user": "postgres", "dbname": "none"}


def limit(seconds: float = 60) -> Deadline:
    """Return the time that a program may take."""
    return Deadline.after(seconds, "backup.max_backup_duration")


# ---------------------------------------------------------------- streams


def test_streams_of_any_size() -> None:
    """Megabytes go in and come out at once, while stderr is long, and nothing blocks."""
    data = os.urandom(1 << 20) * 8
    parts: list[bytes] = []
    script = (
        "i=0; while [ $i -lt 3000 ]; do echo 'sh: a long complaint about nothing' >&2; i=$((i+1)); done; cat"
    )
    outcome = run_program(SHELL, ["-c", script], NOWHERE, deadline=limit(), stdout=parts.append, stdin=data)
    assert b"".join(parts) == data
    assert outcome.status == 0
    assert len(outcome.stderr) == 3000 * 35


def test_program_that_reads_nothing() -> None:
    """A program that leaves its input unread is judged by its status alone."""
    outcome = run_program(SHELL, ["-c", "exit 0"], NOWHERE, deadline=limit(), stdin=b"x" * (1 << 20))
    assert outcome.status == 0


def test_long_complaints_are_cut_at_their_beginning() -> None:
    """Of endless stderr only the end is kept."""
    script = "yes complaint | head -c 1000000 >&2; echo last >&2"
    outcome = run_program(SHELL, ["-c", script], NOWHERE, deadline=limit())
    assert len(outcome.stderr) == 256 * 1024
    assert outcome.stderr.endswith("last\n")


def test_open_files_are_passed(tmp_path: Path) -> None:
    """A file without a name on disk can be handed to a program by its number."""
    (tmp_path / "archive").write_bytes(b"content")
    with (tmp_path / "archive").open("rb") as file:
        number, parts = file.fileno(), list[bytes]()
        arguments = ["-c", f"cat /dev/fd/{number}"]
        run_program(SHELL, arguments, NOWHERE, deadline=limit(), stdout=parts.append, pass_fds=[number])
    assert b"".join(parts) == b"content"


# ---------------------------------------------------------------- surroundings


def test_environment_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stands in the environment; of ours nothing else does, and never PGOPTIONS."""
    monkeypatch.setenv("STRONGROOM_RECOVERY_PASSPHRASE", "secret")
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=1")
    conninfo = {"host": "h", "port": "1", "user": "u", "password": "p", "dbname": "d", "options": "-c a=b"}
    conninfo |= {"sslmode": "verify-full", "sslrootcert": "/ca"}
    environment = program_environment(conninfo)
    expected = {"PGHOST": "h", "PGPORT": "1", "PGUSER": "u", "PGPASSWORD": "p", "PGDATABASE": "d"}
    expected |= {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/ca"}
    ours = {"PATH", "HOME", "TMPDIR", "LC_ALL", "PGCLIENTENCODING", "PGAPPNAME"}
    assert {name: value for name, value in environment.items() if name not in ours} == expected


def test_environment_fills_what_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """PG… variables count where the connection string says nothing, as with libpq."""
    for name, value in {"PGSSLMODE": "require", "PGPASSWORD": "p", "PGUSER": "other"}.items():
        monkeypatch.setenv(name, value)
    settings = effective_conninfo({"host": "h", "user": "u"})
    assert {name: settings[name] for name in ("host", "user", "sslmode", "password")} == {
        "host": "h",
        "user": "u",
        "sslmode": "require",
        "password": "p",
    }


def test_password_file(tmp_path: Path) -> None:
    """The first line that fits gives the password, with libpq's wildcards and escapes."""
    path = tmp_path / "pgpass"
    path.write_text("# comment\nh:5432:d:other:no\nh\\:x:5432:*:u:a\\:b\\\\c\n*:*:*:u:last\n")
    path.chmod(0o600)
    conninfo = {"passfile": str(path), "host": "h:x", "user": "u", "dbname": "d"}
    assert stored_password(conninfo) == "a:b\\c"
    assert stored_password(conninfo | {"host": "elsewhere"}) == "last"
    assert stored_password(conninfo | {"user": "nobody"}) is None


def test_open_password_file_is_passed_over(tmp_path: Path) -> None:
    """A password file that others may read is not used."""
    path = tmp_path / "pgpass"
    path.write_text("*:*:*:*:secret\n")
    path.chmod(0o644)
    assert stored_password({"passfile": str(path), "user": "u"}) is None


@pytest.mark.parametrize(
    ("conninfo", "expected"),
    [
        ({"host": "/run/postgresql", "sslmode": "require"}, False),
        ({"sslmode": "require"}, False),
        ({"host": "db.example"}, True),
        ({"hostaddr": "192.0.2.1", "sslmode": "verify-ca"}, True),
        ({"host": "db.example", "sslmode": "disable"}, False),
    ],
)
def test_when_the_bridge_is_taken(conninfo: dict[str, str], expected: bool) -> None:
    """A program without TLS gets the bridge for TCP unless TLS is switched off; one with TLS never does."""
    with_tls = Program("pg_dump", Path("/bin/pg_dump"), 18, tls=True, embedded=False)
    assert (needs_bridge(PG_DUMP, conninfo), needs_bridge(with_tls, conninfo)) == (expected, False)


# ---------------------------------------------------------------- the end


def test_deadline_ends_the_whole_group(tmp_path: Path) -> None:
    """At the deadline a program and its children are ended within seconds, also if they ignore requests."""
    children = tmp_path / "children"
    script = f"trap '' INT TERM; (sleep 60 & echo $! >> {children}; wait) & echo $! >> {children}; wait"
    before = time.monotonic()
    with pytest.raises(DeadlineExceeded) as exceeded:
        run_program(SHELL, ["-c", script], NOWHERE, deadline=limit(0.5))
    assert time.monotonic() - before < 10
    assert "backup.max_backup_duration" in exceeded.value.render()
    end = time.monotonic() + 10
    for number in children.read_text().split():
        # What was killed still needs a moment of a processor to die in.
        while _runs(int(number)) and time.monotonic() < end:
            time.sleep(0.01)
        assert not _runs(int(number))


def _runs(number: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        os.kill(number, 0)
        return (Path("/proc") / str(number) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_error_of_the_reader_ends_the_program(tmp_path: Path) -> None:
    """When the caller's own code fails over the output, its error comes through and the program is gone."""
    process = tmp_path / "process"

    def fail(_: bytes) -> None:
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        run_program(
            SHELL, ["-c", f"echo $$ > {process}; echo x; sleep 60"], NOWHERE, deadline=limit(), stdout=fail
        )
    assert not _runs(int(process.read_text()))


def test_program_that_is_not_there() -> None:
    """A program that cannot be run is a coded error."""
    missing = Program("pg_dump", Path("/nonexistent/pg_dump"), 18, tls=True, embedded=False)
    with pytest.raises(ProgramUnusable):
        read_program(missing, [], NOWHERE, deadline=limit())


# ---------------------------------------------------------------- what its words mean


def test_older_program(quantforge: MakeDatabase) -> None:
    """pg_dump older than the server is an error of its own, with both versions."""
    older = embedded_program("pg_dump", 16)
    with pytest.raises(ServerNewerThanProgram) as refused:
        read_program(older, ["--schema-only"], quantforge().conninfo(), deadline=limit())
    assert "server version: 18" in refused.value.render()


def test_unknown_database(quantforge: MakeDatabase) -> None:
    """A database that does not exist is a refused login."""
    with pytest.raises(LoginRefused):
        read_program(PG_DUMP, [], quantforge().conninfo() | {"dbname": "elsewhere"}, deadline=limit())


def test_no_server() -> None:
    """A socket that is not there is a transient error."""
    with pytest.raises(SourceUnavailable) as away:
        read_program(PG_DUMP, [], NOWHERE, deadline=limit())
    assert isinstance(away.value, Transient)


def test_missing_right(quantforge: MakeDatabase) -> None:
    """A role that may not read is told so."""
    with pytest.raises(MissingRight):
        read_program(PG_DUMP, [], quantforge().conninfo("authenticator"), deadline=limit())


def test_status_can_be_taken(platform_database: MakeDatabase) -> None:
    """With check=False a failed statement is a status, with its words; with check it is an error."""
    conninfo = platform_database().conninfo()
    arguments = ["-X", "-v", "ON_ERROR_STOP=1", "-c", "SELECT * FROM nowhere"]
    outcome = run_program(PSQL, arguments, conninfo, deadline=limit(), check=False)
    assert outcome.status == 1
    assert 'relation "nowhere" does not exist' in outcome.stderr
    with pytest.raises(ProgramFailed) as failed:
        run_program(PSQL, arguments, conninfo, deadline=limit())
    assert 'relation "nowhere" does not exist' in failed.value.render()


def test_killed_program() -> None:
    """A program that was killed is an error that says by what."""
    with pytest.raises(ProgramFailed) as failed:
        run_program(SHELL, ["-c", "kill -KILL $$"], NOWHERE, deadline=limit())
    assert failed.value.context["status"] == -signal.SIGKILL


def test_no_rows_and_no_secrets_in_errors() -> None:
    """Of stderr only sentences go on: no details, no statements, no row, and no password."""
    stderr = (
        'pg_restore: error: could not execute query: ERROR:  could not create unique index "a"\n'
        "DETAIL:  Key (email)=(row@example.org) is duplicated.\n"
        "Command was: CREATE UNIQUE INDEX a ON t (email);\n"
        "INSERT INTO t VALUES ('row');\n"
        "pg_restore: detail: row\n"
        "psql:file.sql:3: ERROR:  the word hunter2 is the password\n"
    )
    assert telling_lines(stderr, "hunter2") == [
        'could not execute query: ERROR:  could not create unique index "a"',
        "ERROR:  the word *** is the password",
    ]
