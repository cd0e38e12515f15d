"""The context that every operation is given: its deadline, clock, randomness, and how it reports.

Operations are plain functions `(settings, request, context) -> report`; they run in this process or in a
child (`strongroom.children`) without knowing which.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from strongroom.clock import Clock, system_clock
from strongroom.deadline import Deadline
from strongroom.operations.messages import Message


class Progress(msgspec.Struct, frozen=True):
    """How far a work has come: `done` of `total` in `unit` ("bytes", "rows", "objects"), and at what."""

    done: int
    total: int
    unit: str
    label: str


def _ignore(_: object) -> None:
    """Report to nobody."""


def _release_at_once() -> None:
    """Hold nothing."""


@dataclass(frozen=True)
class Context:
    """What surrounds an operation; the defaults suit a call from a script without a limit."""

    deadline: Deadline
    clock: Clock = system_clock
    random: Callable[[int], bytes] = os.urandom
    progress: Callable[[Progress], None] = _ignore
    announce: Callable[[Message], None] = _ignore
    wait_for_release: Callable[[], None] = _release_at_once
