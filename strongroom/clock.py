"""Clocks: the only place of the engine that asks what time it is.

Pure rooms take `now` as an argument; operations take a `Clock`, and tests pass a fixed one.
"""

import datetime as dt
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], dt.datetime]
"""Returns the present instant, aware and in UTC."""


def system_clock() -> dt.datetime:
    """Return the present instant in UTC."""
    return dt.datetime.now(dt.UTC)
