"""Deadlines: how a time limit goes down into the engine.

A `Deadline` is made once, at the border, from a configured limit; loops look at it between chunks and
connections take their `statement_timeout` from what remains. Example:

    deadline = Deadline.after(600, "backup.max_backup_duration")
    for unit in units:
        deadline.check()
"""

import time
from dataclasses import dataclass
from typing import Self

from strongroom.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant of the monotonic clock after which work must stop, and the setting it came from."""

    at: float
    setting: str
    limit_seconds: float

    @classmethod
    def after(cls, seconds: float, setting: str) -> Self:
        """Make the deadline that is `seconds` from now; zero or less means no limit."""
        at = time.monotonic() + seconds if seconds > 0 else float("inf")
        return cls(at, setting, seconds)

    @classmethod
    def never(cls) -> Self:
        """Make the deadline that never comes."""
        return cls(float("inf"), "none", 0.0)

    def remaining(self) -> float:
        """Return the seconds that are left: negative once it has passed, `inf` without a limit."""
        return self.at - time.monotonic()

    def check(self) -> None:
        """Raise `DeadlineExceeded` if the time is over."""
        if self.remaining() <= 0:
            raise DeadlineExceeded(setting=self.setting, limit_seconds=self.limit_seconds)

    def statement_timeout_ms(self) -> int:
        """Return what to give to Postgres as `statement_timeout`: 0 (none) without a limit."""
        left = self.remaining()
        return 0 if left == float("inf") else max(1, int(left * 1000))
