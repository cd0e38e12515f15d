"""Many tasks side by side, a few at a time, all ended by the first that fails."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

Value = TypeVar("Value")


async def in_parallel(
    jobs: Sequence[Callable[[], Coroutine[Any, Any, Value]]], parallelism: int
) -> list[Value]:
    """Run all jobs, `parallelism` at a time; return their values in order.

    The first error cancels the others, waits until they are gone, and is raised as it is.
    """
    turns = asyncio.Semaphore(parallelism)

    async def take_turn(job: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        async with turns:
            return await job()

    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(take_turn(job)) for job in jobs]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in running]
