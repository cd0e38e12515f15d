"""The entrypoint of a deployment whose runs, in processes of their own, use the operations of `fake_recovery`."""

import tasks.work
from flows.recovery import recover
from tests.flows import fake_recovery

tasks.work.OPERATIONS = fake_recovery.ROOM

__all__ = ["recover"]
