"""What both command lines share, `strongroom` and `python -m strongroom`: settings, statuses, errors, JSON.

Standard output belongs to the answer; everything else goes to standard error. With `--json` the answer is
one JSON document, an error included. For example:

    with answering(as_json=True, debug=False) as answer:
        answer.give(list_backups(find_settings(None, os.environ), ListBackups(), context))
    sys.exit(answer.status)
"""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

import msgspec

from strongroom.config import DEFAULT_PATH, Settings, load_settings
from strongroom.errors import CommandMisused, StrongroomError, Unforeseen, UnknownBackup, WorkCancelled
from strongroom.ids import is_backup_id

DONE, FAILED, MISUSED = 0, 1, 2
"""Exit statuses. A wrong configuration or an unknown backup is a failure; misuse is what cannot be parsed."""

LATEST = "latest"

TO_HELP = (
    "The empty database to restore into. A password in an argument can be seen by every user of this machine: "
    "say - to have it read from standard input, or set STRONGROOM_DESTINATION_URL."
)


def find_configuration(given: Path | None) -> Path | None:
    """Return the file to read: the one given, which must be there, else the default one if it is."""
    if given is not None:
        return given
    return DEFAULT_PATH if DEFAULT_PATH.exists() else None


def find_settings(given: Path | None, environ: Mapping[str, str]) -> Settings:
    """Load the settings of a command; without any file the environment may suffice."""
    return load_settings(find_configuration(given), environ)


def check_backup_name(name: str) -> str:
    """Return what somebody gave for a backup; raise `UnknownBackup` if no backup can be called so."""
    if name != LATEST and not is_backup_id(name):
        raise UnknownBackup(backup=name)
    return name


def destination_variable(given: str | None) -> dict[str, str]:
    """Return the variable of the destination for what `--to` says; `-` stands for a line of standard input."""
    address = sys.stdin.readline().strip() if given == "-" else given
    if given is not None and not address:
        raise CommandMisused(problem="The destination is empty.", command="restore")
    return {"STRONGROOM_DESTINATION_URL": address} if address else {}


def as_strongroom_error(error: BaseException) -> StrongroomError:
    """Return the coded error for whatever ended a command; the text of foreign errors may hold anything."""
    if isinstance(error, StrongroomError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return WorkCancelled(operation="interrupted from outside")
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return Unforeseen(detail=type(error).__name__ + place)


class Answer:
    """The one answer of a command: where it is written to, whether as JSON, and the exit status."""

    def __init__(self, stream: IO[str], *, as_json: bool) -> None:
        self.stream = stream
        self.as_json = as_json
        self.status = DONE

    def give(self, value: object) -> None:
        """Write a value as the JSON document of this command; only where JSON was asked for."""
        if self.as_json:
            self.stream.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
            self.stream.flush()

    def fail(self, error: StrongroomError, report: object = None) -> None:
        """Say what went wrong and what to do, on standard error; the document holds the report as well."""
        sys.stderr.write(f"{error.code} {error.render()}\n{error.advice()}\n")
        found = {} if report is None else msgspec.to_builtins(report)
        self.give({**found, "error": error.document()})
        self.status = MISUSED if isinstance(error, CommandMisused) else FAILED


@contextmanager
def answering(*, as_json: bool, debug: bool) -> Iterator[Answer]:
    """Give the block something to answer with; turn what it raises into an error and an exit status.

    With JSON, descriptor 1 leads to standard error meanwhile: whatever libraries and children print there,
    standard output carries exactly one document. SIGTERM ends the block as Ctrl-C does, so that everything
    it has started is ended as well.
    """
    with _stream(apart=as_json) as stream, _termination_as_interrupt():
        answer = Answer(stream, as_json=as_json)
        try:
            yield answer
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the border of the program)
            if debug:
                traceback.print_exception(error)
            answer.fail(as_strongroom_error(error))


@contextmanager
def _stream(*, apart: bool) -> Iterator[IO[str]]:
    """Give standard output; `apart`, nobody but the holder of the stream writes to it."""
    if not apart:
        yield sys.stdout
        return
    sys.stdout.flush()
    descriptor = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as stream:
        try:
            yield stream
        finally:
            with contextlib.suppress(BrokenPipeError):
                sys.stdout.flush()
            os.dup2(descriptor, 1)
            os.close(descriptor)


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        # Through SIGINT, because asyncio turns that into an orderly cancellation.
        signal.raise_signal(signal.SIGINT)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, interrupt)}
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A script's background job is started so; it must still end in order when it is told to.
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
