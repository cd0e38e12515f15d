"""Ways to run operations without an orchestrator: in this process, or in child processes.

Both serve `strongroom.whole`; flows have a way of their own, with retries and states.
"""

import importlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

from strongroom.child_process import ignore_progress
from strongroom.children import hold_in_child, run_in_child, run_in_children
from strongroom.clock import Clock, system_clock
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.operations.context import Context, Progress
from strongroom.operations.messages import Message

Answer = TypeVar("Answer", bound=Message)
OnProgress = Callable[[Progress], None]


class Runner(Protocol):
    """Runs operations by their names: one, many at once, or one that holds something."""

    def run(self, operation: str, request: Message, answer: type[Answer]) -> Answer:
        """Run one operation and return its report."""
        ...

    def run_all(self, orders: Sequence[tuple[str, Message]], answer: type[Answer]) -> list[Answer]:
        """Run operations with their requests, in any order, and return the reports in the order given."""
        ...

    def hold(self, operation: str, request: Message, answer: type[Answer]) -> AbstractContextManager[Answer]:
        """Start an operation, give its announcement to the block, and release it at the block's end."""
        ...


class InChildren:
    """Runs operations in child processes, `settings.backup.parallelism` at a time."""

    def __init__(
        self, settings: Settings, deadline: Deadline, on_progress: OnProgress = ignore_progress
    ) -> None:
        self._settings = settings
        self._deadline = deadline
        self._on_progress = on_progress

    def run(self, operation: str, request: Message, answer: type[Answer]) -> Answer:
        """Run one operation in a child."""
        return run_in_child(
            operation, self._settings, request, answer, deadline=self._deadline, on_progress=self._on_progress
        )

    def run_all(self, orders: Sequence[tuple[str, Message]], answer: type[Answer]) -> list[Answer]:
        """Run a child for each; the first error ends the others."""
        return run_in_children(
            orders,
            self._settings,
            answer,
            deadline=self._deadline,
            parallelism=self._settings.backup.parallelism,
            on_progress=self._on_progress,
        )

    def hold(self, operation: str, request: Message, answer: type[Answer]) -> AbstractContextManager[Answer]:
        """Hold what the operation holds in a child."""
        return hold_in_child(operation, self._settings, request, answer, deadline=self._deadline)


class InThisProcess:
    """Runs operations one after the other in this process; what holds something gets a thread."""

    def __init__(
        self,
        settings: Settings,
        deadline: Deadline,
        on_progress: OnProgress = ignore_progress,
        clock: Clock = system_clock,
    ) -> None:
        self._settings = settings
        self._context = Context(deadline=deadline, clock=clock, progress=on_progress)

    def run(self, operation: str, request: Message, answer: type[Answer]) -> Answer:
        """Call the operation."""
        report = self._call(operation, request, self._context)
        if not isinstance(report, answer):
            raise TypeError(f"{operation} answered with {type(report).__name__}")
        return report

    def run_all(self, orders: Sequence[tuple[str, Message]], answer: type[Answer]) -> list[Answer]:
        """Call one after the other."""
        return [self.run(operation, request, answer) for operation, request in orders]

    @contextmanager
    def hold(self, operation: str, request: Message, answer: type[Answer]) -> Iterator[Answer]:
        """Call the operation in a thread and wait there for the end of the block."""
        said: queue.Queue[object] = queue.Queue()
        released = threading.Event()
        context = Context(
            deadline=self._context.deadline,
            clock=self._context.clock,
            progress=self._context.progress,
            announce=said.put,
            wait_for_release=lambda: _wait(released, self._context.deadline),
        )

        def work() -> None:
            try:
                self._call(operation, request, context)
            except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
                said.put(error)

        thread = threading.Thread(target=work, name=operation)
        thread.start()
        try:
            first = said.get()
            if isinstance(first, BaseException):
                raise first
            if not isinstance(first, answer):
                raise TypeError(f"{operation} announced {type(first).__name__}")
            yield first
        finally:
            released.set()
            thread.join()
        if not said.empty() and isinstance(last := said.get(), BaseException):
            raise last

    def _call(self, operation: str, request: Message, context: Context) -> object:
        module = importlib.import_module(f"strongroom.operations.{operation}")
        return getattr(module, operation)(self._settings, request, context)


def _wait(released: threading.Event, deadline: Deadline) -> None:
    while not released.wait(1.0):
        deadline.check()
