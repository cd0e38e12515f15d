"""Operations that do next to nothing, for the tests of what carries operations: children, tasks and flows.

They run in child processes as `tests.flows.fake_operations:<name>`; a request is a word that says what to do.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import psycopg

from strongroom.config import RepositorySettings, Settings, SourceSettings
from strongroom.errors import DeadlineExceeded, SourceUnavailable, UnknownBackup
from strongroom.operations.context import Context, Progress
from strongroom.operations.messages import Message

ROOM = "tests.flows.fake_operations"


class Ask(Message):
    """A word for the operation, and a folder where it may leave marks."""

    word: str = ""
    folder: str = ""


class Told(Message):
    """The operation's answer."""

    word: str
    pid: int = 0


def settings_for(
    folder: Path, database_url: str = "postgresql://postgres:hunter2secret@db/postgres"
) -> Settings:
    """Make settings whose repository is in `folder`."""
    return Settings(
        source=SourceSettings.model_validate({"name": "quantforge", "database_url": database_url}),
        repository=RepositorySettings.model_validate(
            {"locations": [{"name": "local", "role": "local", "url": f"file://{folder}"}]}
        ),
    )


def echo(settings: Settings, request: Ask, context: Context) -> Told:
    """Answer with the word, the source's name and what is left of the time."""
    limited = context.deadline.remaining() < 1000
    return Told(word=f"{request.word} {settings.source.name} {limited}", pid=os.getpid())


def chatter(settings: Settings, request: Ask, context: Context) -> Told:
    """Print on both standard streams, from Python and from C, before answering."""
    print("a library prints")  # noqa: T201  (that is the point)
    print("and warns", file=sys.stderr)  # noqa: T201
    ctypes.CDLL(None).puts(b"as C does")
    subprocess.run(["/bin/sh", "-c", "echo so does a program; cat"], check=True)
    return Told(word="said")


def count(settings: Settings, request: Ask, context: Context) -> Told:
    """Report progress in three steps, far enough apart to be sent."""
    for done in range(1, 4):
        context.progress(Progress(done=done, total=3, unit="rows", label=request.word))
        time.sleep(0.21)
    return Told(word="counted")


def fail(settings: Settings, request: Ask, context: Context) -> Told:
    """Raise what the word names."""
    if request.word == "transient":
        raise SourceUnavailable(detail="the line was cut")
    if request.word == "limit":
        raise DeadlineExceeded(setting="backup.max_backup_duration", limit_seconds=1.5)
    if request.word == "foreseen":
        raise UnknownBackup(backup="b1")
    if request.word == "code":
        raise TypeError("an int is no str")
    if request.word == "password":
        print("connecting with hunter2secret", file=sys.stderr)  # noqa: T201
    raise ValueError(f"the row (42, {'ecila'[::-1]}) is odd")


def fail_once(settings: Settings, request: Ask, context: Context) -> Told:
    """Fail for a passing or a lasting reason as long as the folder has fewer marks than asked for."""
    kind, _, times = request.word.partition(" ")
    marks = len(list(Path(request.folder).iterdir()))
    (Path(request.folder) / str(marks)).touch()
    if marks < int(times):
        raise SourceUnavailable(detail="cut") if kind == "transient" else UnknownBackup(backup="b1")
    return Told(word=f"attempt {marks + 1}")


def die(settings: Settings, request: Ask, context: Context) -> NoReturn:
    """End without an answer: by a signal, or by leaving."""
    if request.word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(7)


def last(settings: Settings, request: Ask, context: Context) -> Told:
    """Run for ten minutes; write down who we are, clean up if told to end, or refuse to.

    Or fail, once two others have written themselves down.
    """
    folder = Path(request.folder)
    if "fail" in request.word:
        while len(list(folder.glob("*.pid"))) < 2:
            time.sleep(0.02)
        raise UnknownBackup(backup="b1")
    if "stubborn" in request.word:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    program = None
    try:
        if "program" in request.word:
            program = subprocess.Popen(["sleep", "600"], start_new_session=True)
            (folder / f"{program.pid}.pid").touch()
        (folder / f"{os.getpid()}.pid").touch()
        if "polite" in request.word:
            while True:
                context.deadline.check()
                time.sleep(0.02)
        time.sleep(600)
    finally:
        if program is not None:
            program.kill()
            program.wait()
        (folder / f"{os.getpid()}.cleaned").touch()
    return Told(word="never")


def query(settings: Settings, request: Ask, context: Context) -> Told:
    """Have the server sleep for ten minutes."""
    with psycopg.connect(**settings.conninfo(), application_name=request.word, autocommit=True) as connection:  # type: ignore[arg-type]
        (Path(request.folder) / f"{os.getpid()}.pid").touch()
        connection.execute("SELECT pg_sleep(600)")
    return Told(word="never")


def hold(settings: Settings, request: Ask, context: Context) -> Told:
    """Announce something and hold it until released; write down when it is let go."""
    if request.word == "refuse":
        raise UnknownBackup(backup="b1")
    context.announce(Told(word="held", pid=os.getpid()))
    context.wait_for_release()
    if request.folder:
        (Path(request.folder) / "released").touch()
    return Told(word="let go")
