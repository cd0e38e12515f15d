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
from strongroom.decoding import decode_as
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


_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_ARENA_MAX": "2"}
"""Has glibc give buffers of chunks and packs back to the system at once: a sixth less at the peak."""


def _import_path() -> str:
    return os.pathsep.join(path or str(Path.cwd()) for path in sys.path)


class Worker:
    """A process that carries out orders, one at a time, and the pipes to it. Started by being made."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # -P and our own path: a module in the current folder must not shadow one of ours.
            [sys.executable, "-P", "-m", "strongroom.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_MEMORY, **os.environ, "PYTHONPATH": _import_path()},
            start_new_session=True,
        )
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._closed = False
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._draining = threading.Thread(target=self._drain, name=f"errors of {self.pid}", daemon=True)
        self._draining.start()

    @property
    def pid(self) -> int:
        """The process, which is also the leader of its own session and group."""
        return self._process.pid

    def runs(self) -> bool:
        """Tell whether the process is there."""
        return self._process.poll() is None

    def write(self, data: bytes) -> None:
        """Write to the process. If it is gone already, its last words or its death say why."""
        with self._writing, contextlib.suppress(BrokenPipeError, ValueError):
            pipe = _pipe(self._process.stdin)
            pipe.write(data)
            pipe.flush()

    def next_line(self) -> Line | None:
        """Return the next line from the process; None when there will be no more."""
        with self._reading:
            data = b"" if self._closed else _pipe(self._process.stdout).readline()
        return decode_as(Line, data) if data else None

    def wait(self) -> int:
        """Wait for the end of the process and return its status, negative after a signal."""
        return self._process.wait()

    def output(self) -> str:
        """Return the last lines of standard error, once there will be no more."""
        self._draining.join(GRACE_SECONDS)
        return "\n".join(self._tail)

    def end_soon(self) -> None:
        """Tell the process to end, and see to it in the background that it does; never waits."""
        if not self._closed:
            self._signal(signal.SIGTERM)
            # Not a daemon: the interpreter waits for it, so that no process is left when it exits.
            threading.Thread(target=self.kill, name=f"end {self.pid}").start()

    def kill(self) -> None:
        """End the process: SIGTERM, and SIGKILL after `GRACE_SECONDS`. Returns when it is gone."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._close()

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, unless it has ended."""
        if self.runs():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def _close(self) -> None:
        """Close the pipes of a process that is gone; a reader in another thread has seen its end by now."""
        with self._writing, contextlib.suppress(BrokenPipeError):
            _pipe(self._process.stdin).close()
        with self._reading:
            _pipe(self._process.stdout).close()
            self._closed = True

    def _drain(self) -> None:
        """Keep the last lines of standard error, and keep the pipe from filling up."""
        with _pipe(self._process.stderr) as pipe:
            for line in pipe:
                self._tail.append(line.decode(errors="replace").rstrip()[:_TAIL_LINE_LENGTH])


class Crew:
    """Processes that have carried out an order and wait for the next; ended when the crew is closed."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self) -> Worker:
        """Return a process that is idle, or a new one."""
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.runs():
                    return worker
                worker.end_soon()
        return Worker()

    def give_back(self, worker: Worker) -> None:
        """Keep a process that has answered for the next order, unless the crew is closed."""
        with self._lock:
            if not self._closed:
                self._idle.append(worker)
                return
        worker.end_soon()

    def close(self) -> None:
        """Tell the idle processes to end; those that still work end when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end_soon()


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
        crew: Crew | None = None,
    ) -> None:
        self.operation = operation
        self._settings = settings
        self._request = request
        self._answer = answer
        self._deadline = deadline
        self._crew = crew
        self._worker: Worker | None = None
        self._starting = threading.Lock()
        self._ended = False
        self._overdue = False
        self._fence: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def another(self) -> "Child[Answer]":
        """Make a child with the same order, which is not started yet."""
        return Child(
            self.operation,
            self._settings,
            self._request,
            self._answer,
            deadline=self._deadline,
            crew=self._crew,
        )

    @property
    def pid(self) -> int:
        """The process; 0 before it was started and after it was given back."""
        worker = self._worker
        return 0 if worker is None else worker.pid

    def start(self) -> Worker:
        """Have a process start on the order; does nothing if it was started before."""
        with self._starting:
            if self._worker is not None:
                return self._worker
            if self._ended:
                raise WorkCancelled(operation=self.operation)
            self._deadline.check()
            worker = self._worker = self._crew.take() if self._crew else Worker()
            self._watch_time()
        worker.write(self._order() + b"\n")
        return worker

    def wait_announcement(self) -> Answer:
        """Wait until the operation announces something, and return it."""
        worker = self.start()
        while (line := worker.next_line()) is not None:
            if line.announce:
                return decode_as(self._answer, line.announce)
            if line.error is not None:
                raise self._revived(line.error, worker)
        raise self._death(worker)

    def run(self, on_progress: Callable[[Progress], None] = ignore_progress) -> Answer:
        """Wait for the end of the operation and return its report, or raise its error."""
        try:
            worker = self.start()
            while (line := worker.next_line()) is not None:
                if line.progress is not None:
                    on_progress(line.progress)
                if line.error is not None:
                    raise self._revived(line.error, worker)
                if line.result:
                    report = decode_as(self._answer, line.result)
                    self._give_back()
                    return report
            raise self._death(worker)
        finally:
            self.kill()

    def release(self) -> None:
        """Tell an operation that holds something to let go of it, and to end with its report."""
        if self._worker is not None:
            self._worker.write(RELEASE_LINE)

    def end_soon(self) -> None:
        """Tell the process to end, and see to it in the background that it does; never waits."""
        worker = self._end()
        if worker is not None:
            worker.end_soon()

    def kill(self) -> None:
        """End the process: SIGTERM, and SIGKILL after `GRACE_SECONDS`. Returns when it is gone."""
        worker = self._end()
        if worker is not None:
            worker.kill()

    # ------------------------------------------------------------ inside

    def _end(self) -> Worker | None:
        """Begin nothing any more, and return the process if there is one to end."""
        with self._starting:
            self._ended = True
            if self._fence is not None:
                self._fence.cancel()
            return self._worker

    def _give_back(self) -> None:
        """Leave the process to the crew; whoever wants to end this child from now on finds none."""
        with self._starting:
            worker = self._worker
            if self._crew is None or worker is None or self._ended:
                return
            self._worker = None
        self._crew.give_back(worker)

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

    # ------------------------------------------------------------ the errors

    def _revived(self, failure: Failure, worker: Worker) -> StrongroomError:
        """Return the child's error as the class that it was there."""
        if self._overdue:
            return self._deadline_exceeded()
        for kind in _error_classes(StrongroomError):
            if failure.code and kind.__dict__.get("code") == failure.code:
                return kind(**failure.context)
        return self._failed(failure.detail or failure.code, worker)

    def _death(self, worker: Worker) -> StrongroomError:
        """Return the error for a process that ended without an answer."""
        status = worker.wait()
        if self._overdue:
            return self._deadline_exceeded()
        if self._ended:
            return WorkCancelled(operation=self.operation)
        if status < 0:
            return ChildDied(operation=self.operation, how=signal.Signals(-status).name)
        return self._failed(f"it ended with status {status} and no answer", worker)

    def _deadline_exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(setting=self._deadline.setting, limit_seconds=self._deadline.limit_seconds)

    def _failed(self, detail: str, worker: Worker) -> ChildFailed:
        output = worker.output()
        secrets = _secrets(msgspec.json.decode(self._settings.to_child()))
        for secret in sorted(secrets, key=len, reverse=True):
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
