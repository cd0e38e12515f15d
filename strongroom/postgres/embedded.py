"""A Postgres server of our own: for the demo, for drills and trial restores, and for the tests.

The server runs below a small shell process, the keeper, in a session of its own. The keeper reads from a
pipe whose other end only this process holds. When that end closes, because `stop` closed it or because
this process is gone in whatever way, the keeper stops the server and removes what was temporary. So:

- leaving the `with` block, `stop`, a normal exit and an uncaught exception stop it before we go on;
- SIGTERM with its default action stops it before this process ends (only where the server was started in
  the main thread and nobody else handles SIGTERM: who does has the say, and the rest of this list holds);
- SIGKILL, a crash, or a killed process group: the keeper stops it within about a second;
- not covered: somebody kills the keeper as well, or the machine goes down.

For example:

    with EmbeddedPostgres(major=18) as postgres:
        psycopg.connect(postgres.dsn("supabase_admin", "postgres"))
"""

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
import time
import weakref
from pathlib import Path
from types import FrameType
from typing import IO, Self

from strongroom.errors import DataDirectoryUnsuitable, EmbeddedStartFailed, UnprivilegedUserMissing
from strongroom.postgres.programs import server_programs
from strongroom.postgres.socket_folders import new_socket_folder

# $1: the signal that stops the server, $2: what to remove, the rest: the command. The subshell keeps on
# signalling until the server is gone, because a server that is only just starting may ignore the first.
_KEEPER = """
signal=$1; trash=$2; shift 2
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
( read -r _ <&3; while kill -"$signal" "$server" 2>/dev/null; do sleep 0.1; done ) >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait "$server"; status=$?
kill "$watch" 2>/dev/null
rm -rf -- "$trash"
exit "$status"
"""

# Makes the cluster unless it is there, then becomes the server. C.UTF-8 does not exist everywhere.
_SERVER = """
bin=$1; data=$2; superuser=$3; hba=$4; sync=$5; shift 5
make() {
    "$bin/initdb" -D "$data" -U "$superuser" -E UTF8 --locale="$1" ${sync:+"$sync"} --no-instructions -A trust
}
if [ ! -e "$data/PG_VERSION" ]; then
    make C.UTF-8 || make C || exit 1
    printf '%s' "$hba" > "$data/pg_hba.conf" || exit 1
fi
exec "$bin/postgres" -D "$data" "$@"
"""

# The socket lies in a folder that only its owner enters, so whoever reaches it may be anybody inside.
ACCESS_RULES = """\
local all all trust
local replication all trust
host all all 127.0.0.1/32 scram-sha-256
"""

_THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_ALWAYS = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements hold rows: the log must not.
    "log_min_error_statement": "panic",
}
_LOG_LINES = 12
_PORT_ATTEMPTS = 5
_STOP_SECONDS = 30.0


class EmbeddedPostgres:
    """One embedded server: started by `start` or a `with` block, stopped by `stop` or its end.

    Without `data_directory` the data are temporary and durability is off; with one they stay, and are
    durable. `tcp_port` opens 127.0.0.1 for roles that have a password: 0 picks a free port, None opens
    nothing. `settings` override the server's configuration by name. `programs` is the `bin` folder of another
    build of the same major version; `access_rules` are the lines of a new cluster's pg_hba.conf.
    """

    def __init__(
        self,
        *,
        major: int = 18,
        data_directory: Path | None = None,
        superuser: str = "supabase_admin",
        tcp_port: int | None = None,
        settings: dict[str, str] | None = None,
        programs: Path | None = None,
        access_rules: str = ACCESS_RULES,
        start_seconds: float = 60.0,
    ) -> None:
        """Describe the server; nothing is started or written yet."""
        self.major = major
        self.superuser = superuser
        self._given_data = data_directory
        self._wanted_port = tcp_port
        self._settings = _ALWAYS | ({} if data_directory else _THROW_AWAY) | (settings or {})
        self._programs = programs
        self._access_rules = access_rules
        self._start_seconds = start_seconds
        self._keeper: subprocess.Popen[bytes] | None = None
        self._home = Path()
        self._port = 5432

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.stop()

    @property
    def socket_directory(self) -> Path:
        """The folder of the Unix socket: what libpq takes as `host`."""
        return self._home / "s"

    @property
    def port(self) -> int:
        """The port: of the loopback address if that is open, and in the socket's name in any case."""
        return self._port

    @property
    def data_directory(self) -> Path:
        """The folder of the cluster's files."""
        return self._given_data.resolve() if self._given_data else self._home / "data"

    @property
    def is_running(self) -> bool:
        """Whether the server was started here and has not ended."""
        return self._keeper is not None and self._keeper.poll() is None

    def start(self) -> None:
        """Make the cluster if it is not there, start the server, and return once it takes connections.

        Raises `EmbeddedStartFailed` with the end of the server's log, `DataDirectoryUnsuitable`,
        `EmbeddedMissing`, `UnprivilegedUserMissing`.
        """
        if self.is_running:
            return
        _watch_signals()
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            try:
                self._start_once()
            except EmbeddedStartFailed as failure:
                # Between finding a free port and binding it somebody else may have taken it.
                taken = self._wanted_port == 0 and "could not bind" in str(failure.context["log"])
                if not taken or attempt == _PORT_ATTEMPTS:
                    raise
            else:
                return

    def stop(self) -> None:
        """Stop the server and remove what was temporary; a server that is stopped already is no error."""
        keeper, self._keeper = self._keeper, None
        if keeper is None or keeper.stdin is None:
            return
        with contextlib.suppress(OSError):
            keeper.stdin.close()
        try:
            keeper.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(keeper.pid, signal.SIGKILL)
            keeper.wait(_STOP_SECONDS)
        shutil.rmtree(self._home, ignore_errors=True)
        _running.discard(self)
        _release_signals()

    def dsn(self, user: str, dbname: str, password: str | None = None) -> str:
        """Return the libpq connection string over the Unix socket, where every role is trusted."""
        return _conninfo(str(self.socket_directory), self._port, user, dbname, password)

    def tcp_dsn(self, user: str, dbname: str, password: str | None = None) -> str:
        """Return the connection string over the loopback address; roles without a password are refused."""
        if self._wanted_port is None:
            reason = "its loopback port was asked for, but it was started without one"
            raise EmbeddedStartFailed(major=self.major, reason=reason, log="Start it with tcp_port=0.")
        return _conninfo("127.0.0.1", self._port, user, dbname, password)

    # ------------------------------------------------------------ starting

    def _start_once(self) -> None:
        account = server_account()
        programs = self._programs or server_programs(self.major)
        self._home = _new_home(account)
        try:
            self._prepare_data(account)
            self._port = self._choose_port()
            with (self._home / "server.log").open("w+b") as log:
                self._launch(programs, account, log)
                self._await_connections(log)
        except BaseException:
            self.stop()
            shutil.rmtree(self._home, ignore_errors=True)
            raise

    def _prepare_data(self, account: pwd.struct_passwd | None) -> None:
        data = self.data_directory
        try:
            data.mkdir(mode=0o700, parents=bool(self._given_data), exist_ok=True)
            self._must_be_usable(data)
            if account is not None and data.stat().st_uid != account.pw_uid:
                _give_to(account, data)
            data.chmod(0o700)
        except OSError as failure:
            raise DataDirectoryUnsuitable(folder=data, reason=str(failure.strerror)) from failure

    def _must_be_usable(self, data: Path) -> None:
        version = data / "PG_VERSION"
        if version.exists():
            found = version.read_text().strip()
            if found != str(self.major):
                reason = f"it belongs to Postgres {found}, not {self.major}"
                raise DataDirectoryUnsuitable(folder=data, reason=reason)
        elif any(data.iterdir()):
            raise DataDirectoryUnsuitable(folder=data, reason="it holds files that are not of Postgres")

    def _choose_port(self) -> int:
        if self._wanted_port is None:
            return 5432
        if self._wanted_port:
            return self._wanted_port
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def _launch(self, programs: Path, account: pwd.struct_passwd | None, log: IO[bytes]) -> None:
        settings = self._settings | {
            "port": str(self._port),
            "unix_socket_directories": str(self.socket_directory),
            "unix_socket_permissions": "0700",
            "listen_addresses": "" if self._wanted_port is None else "127.0.0.1",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server = ["/bin/sh", "-c", _SERVER, "server", str(programs), str(self.data_directory)]
        # Data that stay deserve the orderly stop and the disk's word; a throw-away cluster does not.
        stop_signal, sync = ("INT", "") if self._given_data else ("QUIT", "--no-sync")
        server += [self.superuser, self._access_rules, sync, *options]
        try:
            self._keeper = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, "keeper", stop_signal, str(self._home), *server],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "PGTZ": "UTC"},
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        except (OSError, subprocess.SubprocessError) as failure:
            reason = "it could not be run"
            raise EmbeddedStartFailed(major=self.major, reason=reason, log=failure) from failure
        _running.add(self)

    def _await_connections(self, log: IO[bytes]) -> None:
        limit = time.monotonic() + self._start_seconds
        while not self._takes_connections():
            ended = not self.is_running
            if not ended and time.monotonic() < limit:
                time.sleep(0.02)
                continue
            reason = "it ended at once" if ended else f"it was not ready after {self._start_seconds:g} s"
            # The keeper may have removed the file by now; the open handle still reads it.
            log.seek(0)
            last = log.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
            raise EmbeddedStartFailed(major=self.major, reason=reason, log="\n".join(last))

    def _takes_connections(self) -> bool:
        """Read the server's own word in postmaster.pid, as pg_ctl does.

        The fifth line names the socket folder, which is new with every start, so a file left over from
        an earlier server is not believed; the eighth says `ready`.
        """
        try:
            lines = (self.data_directory / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[4] == str(self.socket_directory) and lines[7].strip() == "ready"


def _conninfo(host: str, port: int, user: str, dbname: str, password: str | None) -> str:
    words = {"host": host, "port": str(port), "user": user, "dbname": dbname}
    if password is not None:
        words["password"] = password
    return " ".join(f"{name}={_quoted(value)}" for name, value in words.items())


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def server_account() -> pwd.struct_passwd | None:
    """Return the user that the server has to run as when we are root, None when we are somebody else."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise UnprivilegedUserMissing


def _new_home(account: pwd.struct_passwd | None) -> Path:
    """Make the temporary folder of a server: private to the user that the server runs as."""
    home = new_socket_folder(for_others=account is not None)
    (home / "s").mkdir(mode=0o700)
    if account is not None:
        _give_to(account, home / "s")
        _give_to(account, home)
    return home


def _give_to(account: pwd.struct_passwd, path: Path) -> None:
    os.chown(path, account.pw_uid, account.pw_gid)


# ---------------------------------------------------------------- the end of this process

_running: weakref.WeakSet[EmbeddedPostgres] = weakref.WeakSet()


def _stop_all() -> None:
    for server in list(_running):
        server.stop()


def _forget_all() -> None:
    """In a forked child: let go of the pipes, so that the parent's end alone decides."""
    for server in list(_running):
        keeper, server._keeper = server._keeper, None  # noqa: SLF001 - this module's own class
        if keeper is not None and keeper.stdin is not None:
            keeper.stdin.close()
            # The child is nobody's parent: it must neither wait for the keeper nor warn about it.
            keeper.returncode = 0
    _running.clear()


def _watch_signals() -> None:
    """Take SIGTERM if nobody else did, to stop the servers before it ends this process."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _stop_and_end)


def _release_signals() -> None:
    """Give SIGTERM back once there is nothing left to stop."""
    if _running or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is _stop_and_end:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _stop_and_end(number: int, _frame: FrameType | None) -> None:
    _stop_all()
    # A stop that this signal interrupted has not finished: the keeper finishes it.
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_forget_all)
