"""Children that are threads: for tests of what a flow does with answers, where a process for each would prove nothing.

They cannot be killed. Tests of limits, of cancelling and of what is left use true children.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec

from strongroom.child import find_operation
from strongroom.child_process import ignore_progress
from strongroom.deadline import Deadline
from strongroom.errors import WorkCancelled
from strongroom.operations.context import Context, Progress


class ThreadChild:
    """Stands for `strongroom.child_process.Child`; request and answer pass through JSON, as they do there."""

    def __init__(
        self,
        operation: str,
        settings: Any,
        request: Any,
        answer: Any,
        *,
        deadline: Deadline,
        crew: Any = None,
    ) -> None:
        self._order = (operation, settings, request, answer)
        self._deadline = deadline
        self._said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._let_go = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def another(self) -> "ThreadChild":
        """Make a child with the same order."""
        operation, settings, request, answer = self._order
        return ThreadChild(operation, settings, request, answer, deadline=self._deadline)

    def wait_announcement(self) -> Any:
        """Start, and return the first thing said."""
        self._start(ignore_progress)
        return self._next()

    def run(self, on_progress: Callable[[Progress], None] = ignore_progress) -> Any:
        """Start, unless that was done, and return the answer."""
        self._start(on_progress)
        return self._next()

    def release(self) -> None:
        """Let an operation that holds something end."""
        self._let_go.set()

    def end_soon(self) -> None:
        """Have an operation that waits give up."""
        self._ended = True
        self._let_go.set()

    def _start(self, on_progress: Callable[[Progress], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, args=(on_progress,), daemon=True)
            self._thread.start()

    def _next(self) -> Any:
        said = self._said.get()
        if isinstance(said, BaseException):
            raise said
        return msgspec.json.decode(said, type=self._order[3])

    def _work(self, on_progress: Callable[[Progress], None]) -> None:
        name, settings, request, _ = self._order
        try:
            operation = find_operation(name)
            asked = msgspec.json.decode(
                msgspec.json.encode(request), type=get_type_hints(operation)["request"]
            )
            context = Context(
                deadline=self._deadline,
                progress=on_progress,
                announce=lambda message: self._said.put(msgspec.json.encode(message)),
                wait_for_release=self._wait_for_release,
            )
            self._said.put(msgspec.json.encode(operation(settings, asked, context)))
        except BaseException as error:  # noqa: BLE001  (it is raised again where the answer is waited for)
            self._said.put(error)

    def _wait_for_release(self) -> None:
        self._let_go.wait()
        if self._ended:
            raise WorkCancelled(operation=self._order[0])
