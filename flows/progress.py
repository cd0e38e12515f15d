"""The progress of a flow, as an artifact that moves while the flow runs.

async with progress_shown("backup-of-quantforge") as board:
    report = await board.watch(weight, lambda: work.do(capture_unit, request))
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from strongroom.operations.context import Progress
from tasks.work import progress_of_task

Value = TypeVar("Value")

_INTERVAL_SECONDS = 2.0
"""How often the artifact is written; children report more often."""


class Board:
    """How far each part of a flow has come; a part weighs as much as it has bytes to move."""

    def __init__(self) -> None:
        self._weights: list[float] = []
        self._done: list[float] = []

    def expect(self, weight: float) -> Callable[[Progress], None]:
        """Add a part of this weight, and return what to call with its progress."""
        part = len(self._weights)
        self._weights.append(max(1.0, weight))
        self._done.append(0.0)

        def report(progress: Progress) -> None:
            self._done[part] = min(1.0, progress.done / progress.total) if progress.total else 1.0

        return report

    def percent(self) -> float:
        """Return the progress of all parts together, 0 to 100."""
        whole = sum(self._weights)
        done = sum(weight * part for weight, part in zip(self._weights, self._done, strict=True))
        return round(100 * done / whole, 1) if whole else 0.0

    def watch(
        self, weight: float, job: Callable[[], Coroutine[Any, Any, Value]]
    ) -> Callable[[], Coroutine[Any, Any, Value]]:
        """Add a part now, and return a job whose tasks report to it."""
        report = self.expect(weight)

        async def watched() -> Value:
            # A job is an asyncio task of its own, with a context of its own: this reaches no other job.
            progress_of_task.set(report)
            value = await job()
            report(Progress(done=1, total=1, unit="objects", label=""))
            return value

        return watched


@asynccontextmanager
async def progress_shown(key: str, description: str) -> AsyncIterator[Board]:
    """Show a board as a progress artifact for as long as the block runs; complete if the block succeeds."""
    board = Board()
    artifact = await acreate_progress_artifact(progress=0.0, key=key, description=description)

    async def keep_showing() -> None:
        shown = 0.0
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            if board.percent() != shown:
                shown = board.percent()
                # A server that is away for a moment is no reason to stop the work.
                with contextlib.suppress(Exception):
                    await aupdate_progress_artifact(artifact, progress=shown)

    showing = asyncio.ensure_future(keep_showing())
    try:
        yield board
    finally:
        showing.cancel()
    with contextlib.suppress(Exception):
        await aupdate_progress_artifact(artifact, progress=100.0)
