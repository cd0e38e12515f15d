"""The outer fence of a flow: when its time is over, everything that it has started ends.

The engine's deadline is what usually ends the work, with a coded error; this is for what does not look at it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect.logging import get_run_logger

from strongroom.child_process import Crew
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import DeadlineExceeded, StrongroomError
from tasks.work import FENCE_SECONDS, Work


@asynccontextmanager
async def limited(settings: Settings, seconds: float, setting: str) -> AsyncIterator[Work]:
    """Make the work that a flow does within so many seconds; log the advice of an error that ends it."""
    fence = seconds + FENCE_SECONDS if seconds > 0 else None
    try:
        with Crew() as crew:
            async with asyncio.timeout(fence):
                yield Work(settings, Deadline.after(seconds, setting), crew)
    except TimeoutError:
        error = DeadlineExceeded(setting=setting, limit_seconds=seconds)
        get_run_logger().error("%s: %s %s", error.code, error, error.advice())
        raise error from None
    except StrongroomError as error:
        get_run_logger().error("%s: %s %s", error.code, error, error.advice())
        raise
