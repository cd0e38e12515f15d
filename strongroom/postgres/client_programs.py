"""Running pg_dump, pg_restore and psql: settings by environment only, ended at the deadline, no orphans.

Nothing secret is in the arguments: the connection goes into the program's environment, which is made anew.
PGOPTIONS is never set, because poolers drop it. A program without TLS is given the `TlsBridge` for every
TCP connection unless `sslmode=disable` says that none is wanted. For example:

    schema = read_program(pg_dump, ["-Fc", "--schema-only"], conninfo, deadline=deadline)
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from psycopg import pq

from strongroom.deadline import Deadline
from strongroom.errors import ProgramUnusable
from strongroom.postgres.passwords import stored_password
from strongroom.postgres.program_failures import translate_failure
from strongroom.postgres.programs import Program
from strongroom.postgres.tls_bridge import TlsBridge
from strongroom.postgres.tls_context import tls_mode

_STDERR_KEPT = 256 * 1024
_READ = 256 * 1024
# How long a program may take to cancel its queries once it was asked to end.
_GRACE_SECONDS = 2.0
_LOOK_SECONDS = 0.5

Consumer = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class ProgramOutcome:
    """How a program ended: its status, and the end of what it said on stderr (it may name rows)."""

    status: int
    stderr: str


def run_program(
    program: Program,
    arguments: Sequence[str],
    conninfo: Mapping[str, str],
    *,
    deadline: Deadline,
    stdout: Consumer | None = None,
    stdin: bytes = b"",
    pass_fds: Sequence[int] = (),
    check: bool = True,
) -> ProgramOutcome:
    """Run a program against the database of `conninfo`, and return once it has ended.

    `stdout` is called with each piece of the program's output (`file.write`, `parts.append`). With
    `check=False` a non-zero status is returned instead of raised: pg_restore's says only that some
    statement failed. `pass_fds` are open in the program under the same numbers (`/dev/fd/7`).

    Raises `DeadlineExceeded`, `SourceUnavailable`, `LoginRefused`, kinds of `TlsRefused`,
    `ServerNewerThanProgram`, `ProgramUnusable`, `ProgramFailed`. Whatever is raised, by `stdout` too, the
    program and its children are gone by then.
    """
    deadline.check()
    settings = effective_conninfo(conninfo)
    with _reachable(program, settings) as (near, bridge):
        environment = program_environment(near)
        outcome = _run(
            program, arguments, environment, deadline, stdout=stdout, stdin=stdin, pass_fds=pass_fds
        )
        if bridge is not None and bridge.failure is not None and outcome.status != 0:
            raise bridge.failure
    if check and outcome.status != 0:
        raise translate_failure(program, outcome.status, outcome.stderr, settings.get("password", ""))
    return outcome


def read_program(
    program: Program, arguments: Sequence[str], conninfo: Mapping[str, str], *, deadline: Deadline
) -> bytes:
    """Run a program and return its output, whole, in memory. Raises what `run_program` raises."""
    parts: list[bytes] = []
    run_program(program, arguments, conninfo, deadline=deadline, stdout=parts.append)
    return b"".join(parts)


# ---------------------------------------------------------------- settings


def effective_conninfo(conninfo: Mapping[str, str]) -> dict[str, str]:
    """Return `conninfo` with what it leaves open taken from the PG… environment and the password file."""
    settings = {
        option.keyword.decode(): os.environ[option.envvar.decode()]
        for option in pq.Conninfo.get_defaults()
        if option.envvar and os.environ.get(option.envvar.decode())
    }
    settings |= {name: value for name, value in conninfo.items() if value}
    if not settings.get("password"):
        password = stored_password(settings)
        if password is not None:
            settings["password"] = password
    return settings


def program_environment(conninfo: Mapping[str, str]) -> dict[str, str]:
    """Return a fresh environment that holds the connection and nothing of ours."""
    kept = ("PATH", "HOME", "TMPDIR")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    # Messages in English and in UTF-8, because we read them.
    environment |= {"LC_ALL": "C", "PGCLIENTENCODING": "UTF8", "PGAPPNAME": "strongroom"}
    for option in pq.Conninfo.get_defaults():
        value = conninfo.get(option.keyword.decode())
        if option.envvar and value and option.keyword != b"options":
            environment[option.envvar.decode()] = value
    return environment


def needs_bridge(program: Program, conninfo: Mapping[str, str]) -> bool:
    """Tell whether the program needs help with TLS: it has none, and the connection may want it."""
    address = conninfo.get("hostaddr") or conninfo.get("host") or ""
    local = not address or address.startswith(("/", "@"))
    return not program.tls and not local and tls_mode(conninfo) != "disable"


@contextmanager
def _reachable(
    program: Program, conninfo: dict[str, str]
) -> Iterator[tuple[Mapping[str, str], TlsBridge | None]]:
    """Yield the settings under which the program reaches the server, and the bridge that it takes."""
    if not needs_bridge(program, conninfo):
        yield conninfo, None
        return
    with TlsBridge(conninfo) as bridge:
        yield bridge.conninfo, bridge


# ---------------------------------------------------------------- the process


def _run(
    program: Program,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    deadline: Deadline,
    *,
    stdout: Consumer | None,
    stdin: bytes,
    pass_fds: Sequence[int],
) -> ProgramOutcome:
    try:
        process = subprocess.Popen(
            [str(program.path), *arguments],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramUnusable(program=program.path, detail=error.strerror or error) from error
    with process:
        try:
            stderr = _Exchange(process, stdout, stdin).run(deadline)
            status = _await_end(process, deadline)
        except BaseException:
            _end(process)
            raise
    return ProgramOutcome(status, stderr.decode("utf-8", "replace"))


class _Exchange:
    """Feeds a process and drains it, all three streams at once."""

    def __init__(self, process: subprocess.Popen[bytes], stdout: Consumer | None, stdin: bytes) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("the process was started without pipes")
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._outputs_open = 2
        self._consume = stdout
        self._left = memoryview(stdin)
        self._said = bytearray()
        self._selector = selectors.DefaultSelector()

    def run(self, deadline: Deadline) -> bytes:
        """Return the end of stderr once both outputs are closed."""
        with self._selector:
            self._watch()
            while self._outputs_open:
                deadline.check()
                for key, _ in self._selector.select(max(0.0, min(_LOOK_SECONDS, deadline.remaining()))):
                    self._serve(key.fileobj)
        return bytes(self._said)

    def _watch(self) -> None:
        for stream in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(stream.fileno(), False)
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._selector.register(self._stderr, selectors.EVENT_READ)
        if self._left:
            self._selector.register(self._stdin, selectors.EVENT_WRITE)
        else:
            self._stdin.close()

    def _serve(self, stream: object) -> None:
        if stream is self._stdin:
            self._feed()
        elif stream is self._stdout:
            data = self._drain(self._stdout.fileno())
            if data and self._consume is not None:
                self._consume(data)
        else:
            self._said += self._drain(self._stderr.fileno())
            del self._said[:-_STDERR_KEPT]

    def _drain(self, number: int) -> bytes:
        try:
            data = os.read(number, _READ)
        except BlockingIOError:
            return b""
        if not data:
            self._selector.unregister(number)
            self._outputs_open -= 1
        return data

    def _feed(self) -> None:
        try:
            self._left = self._left[os.write(self._stdin.fileno(), self._left[:_READ]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            # The program reads no more: its status says whether that was all right.
            self._left = memoryview(b"")
        if not self._left:
            self._selector.unregister(self._stdin)
            self._stdin.close()


def _await_end(process: subprocess.Popen[bytes], deadline: Deadline) -> int:
    """Wait for a process that has closed its outputs."""
    while True:
        deadline.check()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(max(0.0, min(_LOOK_SECONDS, deadline.remaining())))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and its children: first so that they cancel their queries, then in any case."""
    with suppress(ProcessLookupError):
        # The interrupt, because pg_dump, pg_restore and psql all answer it with a request to cancel.
        os.killpg(process.pid, signal.SIGINT)
        limit = time.monotonic() + _GRACE_SECONDS
        while process.poll() is None and time.monotonic() < limit:
            time.sleep(0.02)
        # Its workers may still be there when it is not.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
