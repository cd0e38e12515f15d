"""What a recovery has committed, in its own schema: written by the very transaction that committed it.

So whoever asks after a lost connection learns for certain whether it was committed, and what.
"""

from dataclasses import dataclass

import msgspec

from strongroom.decoding import decode_as
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.recovery_messages import ApplyReport
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery.staging_names import schema_of

COMMITTED = frozenset({"committed", "rolling-back", "rolled-back", "finished"})
"""The states of a run that has changed live."""


@dataclass(frozen=True)
class Applied:
    """What was committed, by which transaction, and the snapshot that it had while it kept writers away.

    `is_certain` if nothing of the user's, a trigger for replicas or a cascading key, can have acted on the rows.
    """

    report: ApplyReport
    snapshot: str
    xid: int
    is_certain: bool


def store_applied(connection: Connection, plan: RecoveryPlan, applied: Applied) -> None:
    """Write it down in the caller's transaction."""
    name = f"{quote_identifier(schema_of(plan))}.applied"
    with translated("the recovery's journal"):
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {name}"
            # With a key: of a table that is published without one, the server lets nobody delete.
            " (report text NOT NULL, snapshot text NOT NULL, xid int8 PRIMARY KEY, is_certain bool NOT NULL)"
        )
        connection.execute(f"DELETE FROM {name}")
        connection.execute(
            f"INSERT INTO {name} VALUES (%s, %s, %s, %s)",
            [
                msgspec.json.encode(applied.report).decode(),
                applied.snapshot,
                applied.xid,
                applied.is_certain,
            ],
        )


def read_applied(connection: Connection, plan: RecoveryPlan) -> Applied | None:
    """Return what the plan's run has committed, or None if it has not committed anything."""
    name = f"{quote_identifier(schema_of(plan))}.applied"
    with translated("the recovery's journal"):
        there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone()
        if there != (True,):
            return None
        row = connection.execute(f"SELECT report, snapshot, xid, is_certain FROM {name}").fetchone()
    if row is None:
        return None
    return Applied(decode_as(ApplyReport, row[0]), row[1], row[2], row[3])
