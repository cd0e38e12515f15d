"""The child's side of `strongroom.children`: `python -m strongroom.child` runs operations and answers.

An order (operation, settings with their secrets, request, time limit) comes as one line of JSON on standard
input, never in arguments or environment. Answers leave as lines of JSON on standard output: progress,
an announcement, and at the end a result or an error. Whatever libraries print goes to standard error.
After a result the child waits for another order, because importing the engine takes longer than much of
its work; after an error it ends.

The child ends itself when its parent is gone, by two signs: the end of standard input, which also comes
across containers, and on Linux a signal from the kernel. SIGTERM becomes an exception in the main thread,
so that `finally` blocks stop what the operation has started and psycopg cancels its query.
"""

import contextlib
import faulthandler
import importlib
import os
import queue
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn, TypeAlias, get_type_hints

import msgspec

from strongroom.deadline import Deadline
from strongroom.decoding import decode_as
from strongroom.errors import OperationUnknown, StrongroomError, WorkCancelled
from strongroom.operations.context import Context, Progress
from strongroom.operations.messages import Message

GRACE_SECONDS = 3.0
"""How long an operation may take to clean up after it was told to end, before it is killed."""

RELEASE_LINE = b"release\n"

_PROGRESS_INTERVAL_SECONDS = 0.2
_PARENT_IS_GONE = signal.SIGHUP
_TEST_OPERATION = re.compile(r"(tests(?:\.\w+)+):(\w+)")
_HARMLESS_TEXT = (AttributeError, ImportError, NameError, NotImplementedError, OSError, TypeError)
"""Unforeseen errors whose text is about code and files; the text of others could hold row values."""

_Operation: TypeAlias = Callable[[object, object, Context], Message]


class Order(msgspec.Struct, frozen=True):
    """What a child is asked to do. `remaining_seconds` is None where there is no limit."""

    operation: str
    settings: msgspec.Raw
    request: msgspec.Raw
    remaining_seconds: float | None
    limit_seconds: float
    setting: str
    parent: int


class Failure(msgspec.Struct, frozen=True):
    """An error on its way to the parent. An unforeseen one has no code; `detail` is its kind and place."""

    code: str = ""
    context: dict[str, str | int | float | bool | None] = {}
    detail: str = ""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line from child to parent; exactly one field is set."""

    progress: Progress | None = None
    announce: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: Failure | None = None


class Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception. psycopg cancels its query in the server when a KeyboardInterrupt passes."""


class Channel:
    """The two pipes to the parent, taken away from descriptors 0 and 1 so that nothing else writes there."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._orders: BinaryIO = os.fdopen(os.dup(0), "rb")
        self._answers = os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self._writing = threading.Lock()
        self._next_progress = 0.0
        self._waiting: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._released = threading.Event()

    def open(self) -> None:
        """Watch standard input from a thread: for orders, a release, and its end."""
        threading.Thread(target=self._watch_orders, name="orders", daemon=True).start()

    def next_order(self) -> Order:
        """Wait for the next order."""
        order = self._waiting.get()
        self._released.clear()
        return order

    def send(self, line: Line) -> None:
        """Write one line, whole, whichever thread it comes from."""
        data = memoryview(msgspec.json.encode(line) + b"\n")
        with self._writing:
            while data:
                data = data[os.write(self._answers, data) :]

    def send_progress(self, progress: Progress) -> None:
        """Write a progress line, unless one was written a moment ago; the last of a work always goes."""
        now = time.monotonic()
        if now >= self._next_progress or progress.done >= progress.total:
            self._next_progress = now + _PROGRESS_INTERVAL_SECONDS
            self.send(Line(progress=progress))

    def wait_for_release(self, deadline: Deadline) -> None:
        """Return when the parent says that what is held is no longer needed."""
        left = deadline.remaining()
        while not self._released.wait(None if left == float("inf") else max(0.0, left)):
            deadline.check()
            left = deadline.remaining()

    def _watch_orders(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, _PARENT_IS_GONE})
        while line := self._orders.readline():
            if line == RELEASE_LINE:
                self._released.set()
            else:
                self._waiting.put(decode_as(Order, line))
        # No parent holds the other end any more. A signal to the process may reach any of its threads, and
        # would then not wake the main one out of a system call.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(1)


def main() -> None:
    """Run the operations that standard input asks for, until it ends or one of them fails."""
    signal.signal(signal.SIGTERM, _terminate)
    channel = Channel()
    channel.open()
    failed = False
    try:
        while not failed:
            failed = _obey(channel.next_order(), channel)
    except (Terminated, BrokenPipeError):
        failed = True
    _leave(1 if failed else 0)


def _obey(order: Order, channel: Channel) -> bool:
    """Carry out one order and answer; True if it failed."""
    try:
        with _limits_of(order):
            line = Line(result=msgspec.Raw(msgspec.json.encode(_perform(order, channel))))
    except StrongroomError as error:
        line = Line(error=Failure(error.code, _plain(error.context)))
    except KeyboardInterrupt:
        line = Line(error=Failure(WorkCancelled.code, {"operation": order.operation}))
    except BaseException as error:  # noqa: BLE001  (the border of the process: everything becomes an answer)
        _print_stack(error)
        line = Line(error=Failure(detail=_kind_and_place(error)))
    channel.send(line)
    return line.error is not None


def _perform(order: Order, channel: Channel) -> Message:
    """Find the operation, decode what it takes by its annotations, and call it."""
    operation = find_operation(order.operation)
    takes = get_type_hints(operation)
    settings = takes["settings"].from_child(bytes(order.settings))
    request = decode_as(takes["request"], order.request)
    deadline = _deadline(order)
    context = Context(
        deadline=deadline,
        progress=channel.send_progress,
        announce=lambda message: channel.send(Line(announce=msgspec.Raw(msgspec.json.encode(message)))),
        wait_for_release=lambda: channel.wait_for_release(deadline),
    )
    return operation(settings, request, context)


def find_operation(name: str) -> _Operation:
    """Return the function `name` of `strongroom.operations.name`; tests may say `tests.module:function`."""
    test = _TEST_OPERATION.fullmatch(name)
    if test is None and not name.isidentifier():
        raise OperationUnknown(operation=name)
    module, function = test.groups() if test else (f"strongroom.operations.{name}", name)
    try:
        found: _Operation = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise
        raise OperationUnknown(operation=name) from None
    return found


def _deadline(order: Order) -> Deadline:
    if order.remaining_seconds is None:
        return Deadline.never()
    return Deadline(time.monotonic() + order.remaining_seconds, order.setting, order.limit_seconds)


# ---------------------------------------------------------------- signals


@contextmanager
def _limits_of(order: Order) -> Iterator[None]:
    """End when the parent dies, and for certain some time after the limit of the order."""
    signal.signal(_PARENT_IS_GONE, lambda number, frame: _terminate_if_orphan(order.parent, number, frame))
    _ask_kernel_for_signal()
    if os.getppid() != order.parent:
        raise Terminated
    if order.remaining_seconds is not None:
        # A thread of C that needs no interpreter lock: also ends a call into a library that never returns.
        faulthandler.dump_traceback_later(max(0.0, order.remaining_seconds) + 4 * GRACE_SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _ask_kernel_for_signal() -> None:
    """Have Linux send a signal when the thread that started this process ends."""
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(_PARENT_IS_GONE))


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    _ignore_signals()
    raise Terminated


def _terminate_if_orphan(parent: int, number: int, frame: FrameType | None) -> None:
    """Tell the end of the parent from the end of the one thread of it that started us."""
    if os.getppid() != parent:
        _terminate(number, frame)


def _ignore_signals() -> None:
    """Let nothing interrupt the clean-up; who does not want to wait for it sends SIGKILL."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(_PARENT_IS_GONE, signal.SIG_IGN)


def _leave(status: int) -> NoReturn:
    """Exit without waiting for threads of libraries: the answer is out, and every file is closed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


# ---------------------------------------------------------------- errors


def _plain(context: dict[str, object]) -> dict[str, str | int | float | bool | None]:
    """Keep what JSON knows, so that numbers in a message are still formatted as numbers."""
    return {
        key: value if isinstance(value, str | int | float | bool | None) else str(value)
        for key, value in context.items()
    }


def _kind_and_place(error: BaseException) -> str:
    """Say what was raised where; the text only where it cannot hold values of rows."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    text = f" ({error})" if isinstance(error, _HARMLESS_TEXT) else ""
    return f"{type(error).__name__}{text}{place}"


def _print_stack(error: BaseException) -> None:
    """Print the stack of an unforeseen error and of its causes, without values."""
    seen: BaseException | None = error
    while seen is not None:
        sys.stderr.writelines(traceback.format_tb(seen.__traceback__))
        sys.stderr.write(_kind_and_place(seen) + "\n")
        seen = seen.__cause__ or seen.__context__


if __name__ == "__main__":
    main()
