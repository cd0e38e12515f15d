"""What carries an operation as a Prefect task: a child process, the time that is left, retries, progress.

    work = Work(settings, Deadline.after(600, "backup.max_backup_duration"))
    report = await work.do(check_source, CheckSource())

A task takes `(work, request)` and returns a report of `strongroom.operations.messages`: ids, digests and
counts, which Prefect may persist; neither rows nor keys nor addresses.
"""

from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from strongroom.child import GRACE_SECONDS
from strongroom.child_process import Answer, Crew, ignore_progress
from strongroom.children import HeldChild, await_child
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import Transient
from strongroom.operations.context import Progress
from strongroom.operations.messages import Message

Request = TypeVar("Request")
Report = TypeVar("Report")
Step: TypeAlias = Task[["Work", Request], Coroutine[Any, Any, Report]]

OPERATIONS = ""
"""What stands before the name of an operation: nothing, except in tests with operations of their own."""

FENCE_SECONDS = 3 * GRACE_SECONDS
"""How much later than the engine's deadline Prefect's timeouts are, so that the engine's coded error wins."""

progress_of_task: ContextVar[Callable[[Progress], None]] = ContextVar(
    "progress_of_task", default=ignore_progress
)
"""Who is told of the progress of the tasks that are started from here on."""

onlooker: ContextVar[Callable[[Message | Progress], None]] = ContextVar("onlooker", default=lambda _: None)
"""Who else sees every report and all progress of the tasks that are started from here on: a terminal."""


class Work:
    """What all tasks of a flow share: the settings, the deadline, and the processes that wait for work.

    Not a dataclass: Prefect walks through those on the way into a task, down into the secrets.
    """

    def __init__(self, settings: Settings, deadline: Deadline, crew: Crew | None = None) -> None:
        self.settings = settings
        self.deadline = deadline
        self._crew = crew

    async def do(self, step: Step[Request, Report], request: Request) -> Report:
        """Run one task on a request, with the retries of the settings and within the time that is left."""
        self.deadline.check()
        left = self.deadline.remaining()
        limited = step.with_options(
            retries=self.settings.backup.max_retries,
            retry_delay_seconds=self.settings.backup.retry_delay,
            timeout_seconds=None if left == float("inf") else left + FENCE_SECONDS,
        )
        report = await limited(self, request)
        if isinstance(report, Message):
            onlooker.get()(report)
        return report

    def within(self, seconds: float, setting: str) -> "Work":
        """Return the same work with a deadline of its own, if that comes first."""
        own = Deadline.after(seconds, setting)
        return Work(self.settings, own, self._crew) if own.at < self.deadline.at else self

    def hold(self, operation: str, request: Message, announcement: type[Answer]) -> HeldChild[Answer]:
        """Return an operation that will hold something, for use as an asynchronous context manager."""
        return HeldChild(
            OPERATIONS + operation,
            self.settings,
            request,
            announcement,
            deadline=self.deadline,
            crew=self._crew,
        )

    async def carry(self, operation: str, request: Message, answer: type[Answer]) -> Answer:
        """Run an operation in a child process and return its report. This is what tasks consist of."""
        report_progress, look_on = progress_of_task.get(), onlooker.get()

        def on_progress(progress: Progress) -> None:
            report_progress(progress)
            look_on(progress)

        return await await_child(
            OPERATIONS + operation,
            self.settings,
            request,
            answer,
            deadline=self.deadline,
            on_progress=on_progress,
            crew=self._crew,
        )


async def is_transient(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect to try again only after an error that may pass. Async, as the tasks that it judges."""
    try:
        await state.aresult()
    except Transient:
        return True
    except BaseException:  # noqa: BLE001  (whatever it is, it is no reason to try again)
        return False
    return False


def options() -> dict[str, Any]:
    """Return the options that all tasks have in common.

    No tags: for a task that has any, Prefect asks its server for a slot each time, and a server on SQLite that is just
    writing down the states of other tasks has it ask again two seconds later. That made 18 s of a flow of 20 tasks.
    """
    return {
        "retry_condition_fn": is_transient,
        "cache_policy": NO_CACHE,
        "persist_result": False,
    }
