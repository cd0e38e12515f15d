"""One child process, seen from its parent: started, spoken to, ended. `strongroom.child` is the other side.

Errors come back as the same class that the child raised; a process that dies without an answer becomes an
error too. Most callers want `strongroom.children`, which ends what it starts.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Generic, Protocol, Self, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from strongroom.child import GRACE_SECONDS, RELEASE_LINE, Failure, Line, Order
from strongroom.deadline import Deadline
from strongroom.errors import ChildDied, ChildFailed, DeadlineExceeded, StrongroomError, WorkCancelled
from strongroom.operations.context import Progress
from strongroom.operations.messages import Message

Answer = TypeVar("Answer", bound=Message)

_TAIL_LINES = 12
_TAIL_LINE_LENGTH = 300
_SECRET_NAME = re.compile(r"pass|secret|token|url|credential", re.IGNORECASE)


class Sendable(Protocol):
    """Settings, as a child needs them: `strongroom.config.Settings` is one."""

    def to_child(self) -> bytes:
        """Return JSON with secrets, from which the class's `from_child` rebuilds the settings."""
        ...


def ignore_progress(_progress: Progress) -> None:
    """Take progress and tell nobody."""


class Child(Generic[Answer]):
    """One operation in one process. `run` blocks; `end_soon` and `kill` may come from any thread."""

    def __init__(
        self,
        operation: str,
        settings: Sendable,
        request: Message,
        answer: type[Answer],
        *,
        deadline: Deadline,
    ) -> None:
        self.operation = operation
        self._settings = settings
        self._request = request
        self._answer = answer
        self._deadline = deadline
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._ended = False
        self._overdue = False
        self._closed = False
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._draining: threading.Thread | None = None
        self._fence: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def another(self) -> "Child[Answer]":
        """Make a child with the same order, which is not started yet."""
        return Child(self.operation, self._settings, self._request, self._answer, deadline=self._deadline)

    @property
    def pid(self) -> int:
        """The process, which is also the leader of its own session and group; 0 before it was started."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process and hand it its order; does nothing if it was started before."""
        with self._starting:
            if self._process is not None:
                return
            if self._ended:
                raise WorkCancelled(operation=self.operation)
            self._deadline.check()
            self._process = process = subprocess.Popen(
                # -P and our own path: a module in the current folder must not shadow one of ours.
                [sys.executable, "-P", "-m", "strongroom.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
                },
                start_new_session=True,
            )
            self._watch_errors(_pipe(process.stderr))
            self._watch_time()
        self._write(self._order() + b"\n")

    def wait_announcement(self) -> Answer:
        """Wait until the operation announces something, and return it."""
        self.start()
        while (line := self._next_line()) is not None:
            if line.announce:
                return msgspec.json.decode(line.announce, type=self._answer)
            if line.error is not None:
                raise self._revived(line.error)
        raise self._death()

    def run(self, on_progress: Callable[[Progress], None] = ignore_progress) -> Answer:
        """Wait for the end of the operation and return its report, or raise its error."""
        try:
            self.start()
            while (line := self._next_line()) is not None:
                if line.progress is not None:
                    on_progress(line.progress)
                if line.error is not None:
                    raise self._revived(line.error)
                if line.result:
                    return msgspec.json.decode(line.result, type=self._answer)
            raise self._death()
        finally:
            self.kill()

    def release(self) -> None:
        """Tell an operation that holds something to let go of it, and to end with its report."""
        self._write(RELEASE_LINE)

    def end_soon(self) -> None:
        """Tell the process to end, and see to it in the background that it does; never waits."""
        with self._starting:
            self._ended = True
        if self._process is not None and not self._closed:
            self._signal(signal.SIGTERM)
            # Not a daemon: the interpreter waits for it, so that no child is left when it exits.
            threading.Thread(target=self.kill, name=f"end {self.operation}").start()

    def kill(self) -> None:
        """End the process: SIGTERM, and SIGKILL after `GRACE_SECONDS`. Returns when it is gone."""
        with self._starting:
            self._ended = True
        process = self._process
        if process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            process.wait()
        self._close(process)

    # ------------------------------------------------------------ the process

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, unless it has ended."""
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def _watch_time(self) -> None:
        """Kill a child that has not noticed its deadline."""
        left = max(0.0, self._deadline.remaining()) + GRACE_SECONDS
        if left < threading.TIMEOUT_MAX:
            self._fence = threading.Timer(left, self._overrun)
            self._fence.daemon = True
            self._fence.start()

    def _overrun(self) -> None:
        self._overdue = True
        self.kill()

    def _close(self, process: subprocess.Popen[bytes]) -> None:
        """Close the pipes of a process that is gone; a reader in another thread has seen its end by now."""
        if self._fence is not None:
            self._fence.cancel()
        with self._writing, contextlib.suppress(BrokenPipeError):
            _pipe(process.stdin).close()
        with self._reading:
            _pipe(process.stdout).close()
            self._closed = True

    # ------------------------------------------------------------ the pipes

    def _order(self) -> bytes:
        left = self._deadline.remaining()
        order = Order(
            operation=self.operation,
            settings=msgspec.Raw(self._settings.to_child()),
            request=msgspec.Raw(msgspec.json.encode(self._request)),
            remaining_seconds=None if left == float("inf") else left,
            limit_seconds=self._deadline.limit_seconds,
            setting=self._deadline.setting,
            parent=os.getpid(),
        )
        return msgspec.json.encode(order)

    def _write(self, data: bytes) -> None:
        """Write to the child. If it is gone already, its last words or its death say why."""
        if self._process is None:
            return
        with self._writing, contextlib.suppress(BrokenPipeError, ValueError):
            pipe = _pipe(self._process.stdin)
            pipe.write(data)
            pipe.flush()

    def _next_line(self) -> Line | None:
        """Return the next line from the child; None when there will be no more."""
        with self._reading:
            if self._closed or self._process is None:
                return None
            data = _pipe(self._process.stdout).readline()
        return msgspec.json.decode(data, type=Line) if data else None

    def _watch_errors(self, pipe: IO[bytes]) -> None:
        """Keep the last lines of standard error, and keep the pipe from filling up."""

        def drain() -> None:
            with pipe:
                for line in pipe:
                    self._tail.append(line.decode(errors="replace").rstrip()[:_TAIL_LINE_LENGTH])

        self._draining = threading.Thread(target=drain, name=f"errors of {self.operation}", daemon=True)
        self._draining.start()

    # ------------------------------------------------------------ the errors

    def _revived(self, failure: Failure) -> StrongroomError:
        """Return the child's error as the class that it was there."""
        if self._overdue:
            return self._deadline_exceeded()
        for kind in _error_classes(StrongroomError):
            if failure.code and kind.__dict__.get("code") == failure.code:
                return kind(**failure.context)
        return self._failed(failure.detail or failure.code)

    def _death(self) -> StrongroomError:
        """Return the error for a process that ended without an answer."""
        assert self._process is not None  # noqa: S101  (only reached after `start`)
        status = self._process.wait()
        if self._overdue:
            return self._deadline_exceeded()
        if self._ended:
            return WorkCancelled(operation=self.operation)
        if status < 0:
            return ChildDied(operation=self.operation, how=signal.Signals(-status).name)
        return self._failed(f"it ended with status {status} and no answer")

    def _deadline_exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(setting=self._deadline.setting, limit_seconds=self._deadline.limit_seconds)

    def _failed(self, detail: str) -> ChildFailed:
        if self._draining is not None:
            self._draining.join(GRACE_SECONDS)
        secrets = sorted(_secrets(msgspec.json.decode(self._settings.to_child())), key=len, reverse=True)
        output = "\n".join(self._tail)
        for secret in secrets:
            output = output.replace(secret, "…")
            detail = detail.replace(secret, "…")
        return ChildFailed(operation=self.operation, detail=detail, output=output)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    """Return the pipe, which a process that was started with pipes always has."""
    if pipe is None:
        raise RuntimeError("the process was started without this pipe")
    return pipe


def _error_classes(root: type[StrongroomError]) -> Iterator[type[StrongroomError]]:
    """Yield a class and all classes below it."""
    yield root
    for kind in root.__subclasses__():
        yield from _error_classes(kind)


def _secrets(document: object, *, within_secret: bool = False) -> Iterator[str]:
    """Yield the texts of the settings that must not be shown, by their names, and passwords in URLs."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _secrets(value, within_secret=bool(_SECRET_NAME.search(key)))
    elif isinstance(document, list):
        for value in document:
            yield from _secrets(value, within_secret=within_secret)
    elif isinstance(document, str) and within_secret and document:
        yield document
        with contextlib.suppress(ValueError):
            password = urlsplit(document).password
            if password:
                yield from {password, unquote(password)}
