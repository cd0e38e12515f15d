"""The embedded server: how it starts, whom it lets in, and that it is gone whenever it should be."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import strongroom
from strongroom.errors import DataDirectoryUnsuitable, EmbeddedStartFailed
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.postgres.programs import reachable_by_others
from tests.processes import left_after, working_in


def ask(dsn: str, query: str) -> object:
    """Return the one value that a query gives."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Make a folder that other users can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="sr-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


# ---------------------------------------------------------------- what it is


@pytest.mark.parametrize("major", [16, 18])
def test_is_like_hosted(major: int, request: pytest.FixtureRequest) -> None:
    """The server is of the asked version, in UTF-8, with supabase_admin as its one superuser."""
    server: EmbeddedPostgres = request.getfixturevalue(f"postgres{major}")
    dsn = server.dsn("supabase_admin", "postgres")
    assert ask(dsn, "SELECT current_setting('server_version_num')::int / 10000") == major
    assert ask(dsn, "SHOW server_encoding") == "UTF8"
    assert ask(dsn, "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolsuper") == "supabase_admin"


def test_is_throw_away_by_default(postgres18: EmbeddedPostgres) -> None:
    """Without a folder of its own the server does not wait for the disk."""
    dsn = postgres18.dsn("supabase_admin", "postgres")
    assert [ask(dsn, f"SHOW {name}") for name in ("fsync", "synchronous_commit")] == ["off", "off"]


def test_settings_are_taken() -> None:
    """Settings given by the caller win over the defaults, also with blanks and quotes in them."""
    settings = {"shared_buffers": "16MB", "application_name": "it's me"}
    with EmbeddedPostgres(settings=settings) as server:
        dsn = server.dsn("supabase_admin", "postgres")
        assert [ask(dsn, f"SHOW {name}") for name in settings] == list(settings.values())


def test_port_asks_for_a_password(postgres18: EmbeddedPostgres) -> None:
    """Over TCP the right password opens, a wrong one and none do not; over the socket none is needed."""
    with psycopg.connect(postgres18.dsn("supabase_admin", "postgres"), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS visitor")
        connection.execute("CREATE ROLE visitor LOGIN PASSWORD 'it''s a \\ secret'")
    dsn = postgres18.tcp_dsn("visitor", "postgres", r"it's a \ secret")
    assert ask(dsn, "SELECT current_user") == "visitor"
    assert ask(postgres18.dsn("visitor", "postgres"), "SELECT current_user") == "visitor"
    for password in ("wrong", None):
        with pytest.raises(psycopg.OperationalError):
            ask(postgres18.tcp_dsn("visitor", "postgres", password), "SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        ask(postgres18.tcp_dsn("supabase_admin", "postgres", "guess"), "SELECT 1")
    with psycopg.connect(postgres18.dsn("supabase_admin", "postgres"), autocommit=True) as connection:
        # Roles belong to the whole server, which other tests compare.
        connection.execute("DROP ROLE visitor")


def test_no_port_unless_asked() -> None:
    """A server that was not asked for a port listens on its socket alone, and says so when asked."""
    with EmbeddedPostgres() as server:
        assert ask(server.dsn("supabase_admin", "postgres"), "SHOW listen_addresses") == ""
        with pytest.raises(EmbeddedStartFailed):
            server.tcp_dsn("postgres", "postgres")


def test_socket_is_private(postgres18: EmbeddedPostgres) -> None:
    """Nobody but the server's user and root reaches the socket, on which everybody is trusted."""
    assert postgres18.socket_directory.stat().st_mode & 0o077 == 0
    assert postgres18.socket_directory.parent.stat().st_mode & 0o077 == 0


def test_long_temporary_folder(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary folder too deep for a socket's path is no obstacle."""
    deep = open_folder / ("d" * 90)
    deep.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with EmbeddedPostgres() as server:
        assert ask(server.dsn("supabase_admin", "postgres"), "SELECT 1") == 1


# ---------------------------------------------------------------- data that stay


def test_given_folder_is_kept(open_folder: Path) -> None:
    """Data in a given folder outlive the server, are durable, and open again."""
    data = open_folder / "data"
    with EmbeddedPostgres(data_directory=data) as server:
        dsn = server.dsn("supabase_admin", "postgres")
        assert ask(dsn, "SHOW fsync") == "on"
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedPostgres(data_directory=data) as server:
        assert ask(server.dsn("supabase_admin", "postgres"), "SELECT answer FROM kept") == 42


def test_folder_of_another_version(open_folder: Path) -> None:
    """A folder that another major version made is refused, and named."""
    (open_folder / "PG_VERSION").write_text("15\n")
    with pytest.raises(DataDirectoryUnsuitable) as refused, EmbeddedPostgres(data_directory=open_folder):
        pass
    assert "Postgres 15" in refused.value.render()


def test_folder_of_something_else(open_folder: Path) -> None:
    """A folder with other files is refused, and its files stay as they were."""
    (open_folder / "letter.txt").write_text("mine")
    with pytest.raises(DataDirectoryUnsuitable), EmbeddedPostgres(data_directory=open_folder):
        pass
    assert [path.name for path in open_folder.iterdir()] == ["letter.txt"]


# ---------------------------------------------------------------- failures


def test_log_is_in_the_hint() -> None:
    """A server that does not come up says why, in the words of its own log, and leaves nothing behind."""
    server = EmbeddedPostgres(settings={"shared_buffers": "a lot"})
    with pytest.raises(EmbeddedStartFailed) as failed:
        server.start()
    assert 'invalid value for parameter "shared_buffers"' in failed.value.advice()
    assert not server.socket_directory.parent.exists()


def test_taken_port_is_an_error() -> None:
    """A port that the caller named and somebody else holds is an error, not another port."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        server = EmbeddedPostgres(tcp_port=holder.getsockname()[1])
        with pytest.raises(EmbeddedStartFailed) as failed:
            server.start()
    assert "could not bind" in failed.value.advice()


# ---------------------------------------------------------------- the end


def test_stop_leaves_nothing() -> None:
    """After `stop` there is no process and no file; a second `stop` and a new `start` are no errors."""
    server = EmbeddedPostgres()
    for _ in range(2):
        server.start()
        data = server.data_directory
        # The client is still there when the server is stopped.
        connection = psycopg.connect(server.dsn("supabase_admin", "postgres"))
        assert working_in(data) != []
        server.stop()
        server.stop()
        assert working_in(data) == []
        assert not data.parent.exists()
        connection.close()


def test_starts_outside_the_main_thread() -> None:
    """A server started by a thread outlives that thread, and leaves SIGTERM alone."""
    before = signal.getsignal(signal.SIGTERM)
    server = EmbeddedPostgres()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        assert ask(server.dsn("supabase_admin", "postgres"), "SELECT 1") == 1
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        server.stop()


def test_sigterm_is_given_back() -> None:
    """SIGTERM is ours only while a server runs, and never when somebody else has it already."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with EmbeddedPostgres() as server:
            assert server.is_running
            others = [signal.getsignal(signal.SIGTERM)]
        assert others[0] is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) in {signal.SIG_DFL, others[0]}
        signal.signal(signal.SIGTERM, mine := lambda *_: None)
        with EmbeddedPostgres():
            assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


START = """
    import json, os, signal, sys, time
    from strongroom.postgres.embedded import EmbeddedPostgres
    server = EmbeddedPostgres()
    server.start()
    print(json.dumps(str(server.data_directory)), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def child() -> Iterator["Child"]:
    """Run a program that starts a server; end it after the test if it is still there."""
    child = Child()
    yield child
    child.end()


class Child:
    """A Python process of its own that starts a server and then does what its script says."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.data = Path()

    def run(self, then: str) -> "subprocess.Popen[str]":
        """Start the process and return once its server runs."""
        script = textwrap.dedent(START) + textwrap.dedent(then)
        self.process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.data = Path(json.loads(self.process.stdout.readline()))
        assert working_in(self.data) != []
        # Only now may the script go on, and perhaps end at once.
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.process

    def end(self) -> None:
        """Kill the process."""
        if self.process is not None:
            self.process.kill()
            with contextlib.suppress(BrokenPipeError):
                self.process.communicate()


def test_sigterm_stops_it_first(child: Child) -> None:
    """A process that gets SIGTERM dies of it, and its server is gone by then, with its files."""
    process = child.run("signal.pause()")
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM
    assert working_in(child.data) == []
    assert not child.data.parent.exists()


@pytest.mark.parametrize(
    ("then", "status"),
    [("", 0), ("raise SystemExit(3)", 3), ("raise RuntimeError('oh')", 1)],
    ids=["normal end", "exit status", "uncaught error"],
)
def test_end_of_the_process_stops_it(child: Child, then: str, status: int) -> None:
    """However Python ends, a server that nobody stopped is gone by then."""
    assert child.run(then).wait(30) == status
    assert working_in(child.data) == []
    assert not child.data.parent.exists()


def test_sigkill_orphans_nothing(child: Child) -> None:
    """When its process is killed outright, the server stops by itself, and its files go too."""
    process = child.run("signal.pause()")
    process.kill()
    process.wait(30)
    assert left_after(child.data.parent) == []


def test_fork_does_not_keep_it(child: Child) -> None:
    """A forked child that outlives the killed parent does not keep the parent's server alive."""
    process = child.run(
        """
        if os.fork() == 0:
            os.setsid()
            print(os.getpid(), flush=True)
            os.close(1)
            time.sleep(60)
            os._exit(0)
        signal.pause()
        """
    )
    assert process.stdout is not None
    forked = int(process.stdout.readline())
    try:
        process.kill()
        process.wait(30)
        assert left_after(child.data.parent) == []
        os.kill(forked, 0)
    finally:
        os.kill(forked, signal.SIGKILL)


def test_fork_does_not_stop_it(child: Child) -> None:
    """A forked child that exits in good order leaves the parent's server running."""
    process = child.run(
        """
        forked = os.fork()
        if forked == 0:
            sys.exit(0)
        os.waitpid(forked, 0)
        print(server.is_running, flush=True)
        signal.pause()
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    assert working_in(child.data) != []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; the rest runs as one")
def test_ordinary_user() -> None:
    """An ordinary user starts the server as themselves."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    pythons = [Path(sys.executable), Path("/usr/bin") / version, Path("/usr/local/bin") / version]
    python = next((path for path in pythons if path.exists() and reachable_by_others(path)), None)
    modules = [Path(strongroom.__file__).parents[1], Path(psycopg.__file__).parents[1]]
    if python is None or not all(reachable_by_others(path) for path in modules):
        pytest.skip("NOT PROVEN: every Python that could run this is closed to other users")
    script = textwrap.dedent(START) + "print(server.data_directory.stat().st_uid)"
    done = subprocess.run(
        [python, "-c", script],
        user="nobody",
        group="nogroup",
        extra_groups=[],
        cwd="/",
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(map(str, modules))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(done.stdout.splitlines()[1]) != 0
