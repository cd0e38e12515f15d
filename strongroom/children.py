"""Running engine operations in child processes: the parent's side of `strongroom.child`.

An operation that blocks (libpq, compression, pg_dump) cannot be interrupted from another thread, and shares
one interpreter lock with everything else. In a process of its own it can be killed at any moment and uses a
core of its own. Errors come back as the same class that the child raised. Example:

    run_in_child("check_source", settings, CheckSource(), CheckReport, deadline=deadline)
    with hold_in_child("begin_backup", settings, request, PlanReport, deadline=deadline) as plan:
        run_in_children(orders, settings, UnitReport, deadline=deadline, parallelism=2)

`await_child` and `HeldChild` are the same for asyncio. What is started here is ended here: every way out
of these functions ends the process and, within `GRACE_SECONDS`, kills it. Only with a `Crew` does a process
that has answered stay for the next operation, until the crew is closed.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from strongroom.child_process import Answer, Child, Crew, Sendable, ignore_progress
from strongroom.deadline import Deadline
from strongroom.errors import ChildDied
from strongroom.operations.context import Progress
from strongroom.operations.messages import Message

Value = TypeVar("Value")


# ---------------------------------------------------------------- without asyncio


def run_in_child(
    operation: str,
    settings: Sendable,
    request: Message,
    answer: type[Answer],
    *,
    deadline: Deadline,
    on_progress: Callable[[Progress], None] = ignore_progress,
) -> Answer:
    """Run one operation in a child process and return its report; raise the error that the child raised."""
    with Child(operation, settings, request, answer, deadline=deadline) as child:
        return child.run(on_progress)


def run_in_children(
    orders: Sequence[tuple[str, Message]],
    settings: Sendable,
    answer: type[Answer],
    *,
    deadline: Deadline,
    parallelism: int,
    on_progress: Callable[[Progress], None] = ignore_progress,
) -> list[Answer]:
    """Run operations with their requests, `parallelism` at a time; return the reports in the same order.

    The first error ends all the others and is raised once they are gone. `on_progress` is called from
    several threads.
    """
    with Crew() as crew, ThreadPoolExecutor(parallelism, thread_name_prefix="children") as pool:
        children = [
            Child(name, settings, request, answer, deadline=deadline, crew=crew) for name, request in orders
        ]
        futures = [pool.submit(child.run, on_progress) for child in children]
        try:
            for done in as_completed(futures):
                done.result()
        finally:
            for child in children:
                child.end_soon()
        return [future.result() for future in futures]


@contextmanager
def hold_in_child(
    operation: str, settings: Sendable, request: Message, announcement: type[Answer], *, deadline: Deadline
) -> Iterator[Answer]:
    """Start an operation that announces something and then holds it; let go at the end of the block."""
    with Child(operation, settings, request, announcement, deadline=deadline) as child:
        yield child.wait_announcement()
        child.release()
        child.run()


# ---------------------------------------------------------------- with asyncio


async def await_child(
    operation: str,
    settings: Sendable,
    request: Message,
    answer: type[Answer],
    *,
    deadline: Deadline,
    on_progress: Callable[[Progress], None] = ignore_progress,
    crew: Crew | None = None,
) -> Answer:
    """Run one operation in a child process; cancelling the await ends the process.

    `on_progress` is called in the event loop's thread.
    """
    loop = asyncio.get_running_loop()
    child = Child(operation, settings, request, answer, deadline=deadline, crew=crew)

    def relay(progress: Progress) -> None:
        with contextlib.suppress(RuntimeError):
            # The loop may be closed by now: then nobody looks at progress.
            loop.call_soon_threadsafe(on_progress, progress)

    try:
        return await _in_own_thread(lambda: child.run(relay))
    finally:
        # No await here: it would not run to its end in a cancelled scope.
        child.end_soon()


class HeldChild(Generic[Answer]):
    """An operation that holds something for as long as the block runs: the snapshot of a backup.

    `begin` returns what the operation announces; beginning again, after an error, starts a new process.
    """

    def __init__(
        self,
        operation: str,
        settings: Sendable,
        request: Message,
        announcement: type[Answer],
        *,
        deadline: Deadline,
        crew: Crew | None = None,
    ) -> None:
        self._child = Child(operation, settings, request, announcement, deadline=deadline, crew=crew)
        self._end: asyncio.Future[Answer] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.end_soon()
        if self._end is not None:
            self._end.cancel()

    async def begin(self) -> Answer:
        """Start the operation and return its announcement."""
        self._child.end_soon()
        self._child = child = self._child.another()
        announced = await _in_own_thread(child.wait_announcement)
        self._end = asyncio.ensure_future(_in_own_thread(child.run))
        # Nobody may be left to ask why it ended: then asyncio need not complain.
        self._end.add_done_callback(lambda end: end.cancelled() or end.exception())
        return announced

    async def during(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Await `work`. If what is held gets lost meanwhile, cancel the work and raise why it was lost."""
        doing = asyncio.ensure_future(work)
        end = self._begun()
        either: set[asyncio.Future[Any]] = {doing, end}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                end.result()
                raise ChildDied(operation=self._child.operation, how="it let go too early")
            return doing.result()
        finally:
            if not doing.done():
                doing.cancel()
                await asyncio.wait({doing})

    async def release(self) -> Answer:
        """Tell the operation that what it holds is no longer needed, and return its report."""
        self._child.release()
        return await asyncio.shield(self._begun())

    def _begun(self) -> asyncio.Future[Answer]:
        if self._end is None:
            raise RuntimeError("nothing is held: begin was not called")
        return self._end


async def _in_own_thread(work: Callable[[], Value]) -> Value:
    """Run blocking work in a thread that no other work has to wait for."""
    pool = ThreadPoolExecutor(1)
    try:
        return await asyncio.wrap_future(pool.submit(work))
    finally:
        pool.shutdown(wait=False)
